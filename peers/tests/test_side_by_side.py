"""Tests of everything around the measurements; run by `python3 -m unittest discover peers/tests`."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from side_by_side import command, install, others, parameters, report, timing


CONJUGATE_INVARIANT = "ops_conjugate_invariant"


def op(name: str, ms: float, **changes) -> dict:
    """One row of `ops` as `nightloom bench ckks --json` prints it."""
    fields = {"degree": 8192, "limbs": 1, "special": 0, "prime_bits": 50}
    return fields | {"op": name, "ms": ms, "min_ms": ms, "runs": 21} | changes


def transform(forward_us: float, inverse_us: float = 1.0, **changes) -> dict:
    """One row of `ntt` as `nightloom bench ring --json` prints it."""
    fields = {"degree": 8192, "kernel": "avx2", "prime_bits": 50, "forward_us": forward_us, "inverse_us": inverse_us}
    return fields | {"forward_min_us": forward_us, "inverse_min_us": inverse_us, "runs": 101} | changes


def words(forward_us: float, inverse_us: float = 1.0, **changes) -> dict:
    """One row of `ntt` as `peer-ntt` prints it."""
    return transform(forward_us, inverse_us, **({"kernel": "u64", "vectors": "avx2"} | changes))


def ours(suite: str, **content) -> dict:
    machine = {"cpu": "Test CPU", "cores": 2, "features": ["avx2", "fma"]}
    return {"suite": suite, "version": "0.1.0", "machine": machine, "kernel": "avx2", "threads": 1, **content}


def theirs(suite: str, library: str, **content) -> dict:
    return parameters.report(suite, library, "1.0", **content)


class PrimitiveRows(unittest.TestCase):
    def test_a_ratio_is_the_median_over_rounds_of_their_time_by_ours(self):
        rounds = [
            [ours("ckks", ops=[op("add", own)]), theirs("ckks", "SEAL", ops=[op("add", other)])]
            for own, other in [(10.0, 30.0), (20.0, 50.0), (10.0, 90.0)]
        ]
        (row,) = report.primitive_rows(rounds)
        self.assertEqual((row.operation, row.parameters, row.ours), ("add", "8192, 1 limbs", 10.0))
        self.assertEqual(row.peers, (report.Ratio("SEAL", 50.0, 3.0, 2.5, 9.0),))

    def test_word_and_prime_sizes_of_one_library_are_different_peers(self):
        sizes = [words(4.0), words(6.0, prime_bits=60)]
        peers = theirs("ring", "tfhe-ntt", ntt=[*sizes, words(1.0, kernel="u32", prime_bits=30)])
        rows = report.primitive_rows([[ours("ring", ntt=[transform(2.0)]), peers]])
        self.assertEqual([row.operation for row in rows], ["forward", "inverse"])
        self.assertEqual(
            [(peer.peer, peer.ratio) for peer in rows[0].peers],
            [("tfhe-ntt u64, 50-bit", 2.0), ("tfhe-ntt u64, 60-bit", 3.0), ("tfhe-ntt u32, 30-bit", 0.5)],
        )

    def test_vectors_are_compared_with_their_like(self):
        own = ours("ring", ntt=[transform(2.0, kernel="avx512"), transform(3.0), transform(90.0, kernel="portable")])
        narrow = theirs("ring", "tfhe-ntt", ntt=[words(9.0)])
        wide = theirs("ring", "tfhe-ntt", ntt=[words(5.0, vectors="avx512")])
        rows = [row for row in report.primitive_rows([[own, narrow, wide]]) if row.operation == "forward"]
        found = [(row.parameters, row.ours, row.job["kernel"], [peer.ratio for peer in row.peers]) for row in rows]
        self.assertEqual(found, [("8192, avx2", 3.0, "avx2", [3.0]), ("8192, avx512", 2.0, "avx512", [2.5])])

    def test_the_kernel_that_was_selected_does_not_matter(self):
        own = ours("ring", ntt=[transform(3.0), transform(2.0, kernel="avx512")]) | {"kernel": "avx512"}
        row = report.primitive_rows([[own, theirs("ring", "tfhe-ntt", ntt=[words(9.0)])]])[0]
        self.assertEqual((row.ours, row.peers[0].ratio), (3.0, 3.0))

    def test_a_processor_without_wider_vectors_has_no_row_for_them(self):
        own = ours("ring", ntt=[transform(2.0)])
        rows = report.primitive_rows([[own, theirs("ring", "tfhe-ntt", ntt=[words(6.0)])]])
        self.assertEqual({row.parameters for row in rows}, {"8192, avx2"})

    def test_degrees_and_limbs_are_never_mixed(self):
        own = ours("ckks", ops=[op("add", 1.0, limbs=3)])
        for changes in ({"limbs": 4}, {"degree": 16384}):
            with self.subTest(changes):
                peers = theirs("ckks", "SEAL", ops=[op("add", 5.0, **({"limbs": 3} | changes))])
                (row,) = report.primitive_rows([[own, peers]])
                self.assertIsNone(row.ours)
                self.assertIsNone(row.peers[0].ratio)

    def test_rings_are_never_mixed(self):
        own = ours("ckks", ops=[op("add", 1.0)], ops_conjugate_invariant=[op("add", 2.0)])
        peers = theirs("ckks", "Lattigo", ops=[op("add", 5.0)], ops_conjugate_invariant=[op("add", 6.0)])
        rows = report.primitive_rows([[own, peers]])
        self.assertEqual([(row.list, row.peers[0].ratio) for row in rows], [("ops", 5.0), (CONJUGATE_INVARIANT, 3.0)])

    def test_a_ring_without_nightloom_is_left_out(self):
        own = ours("ckks", ops=[op("add", 1.0)])
        peers = theirs("ckks", "Lattigo", ops_conjugate_invariant=[op("add", 5.0)])
        self.assertEqual(report.primitive_rows([[own, peers]]), [])

    def test_special_primes_may_differ(self):
        own = ours("ckks", ops=[op("relinearize", 1.0, limbs=7, special=2)])
        peers = theirs("ckks", "SEAL", ops=[op("relinearize", 5.0, limbs=7, special=1)])
        (row,) = report.primitive_rows([[own, peers]])
        self.assertEqual((row.peers[0].ratio, row.job["special"]), (5.0, 2))

    def test_a_joint_operation_is_compared_with_the_sum_of_its_parts(self):
        own = ours("ckks", ops=[op("multiply", 1.0), op("relinearize", 2.0)])
        peers = theirs("ckks", "Lattigo", ops=[op("multiply_relinearize", 12.0)])
        (row,) = report.primitive_rows([[own, peers]])
        self.assertEqual((row.operation, row.ours, row.peers[0].ratio), ("multiply_relinearize", 3.0, 4.0))

    def test_a_joint_operation_that_was_measured_is_not_summed(self):
        own = ours("ckks", ops=[op("encode", 2.0), op("encrypt", 4.0), op("encode_encrypt", 5.0)])
        peers = theirs("ckks", "SEAL", ops=[op("encode", 6.0), op("encrypt", 4.0)])
        ratios = {row.operation: row.peers[0].ratio for row in report.primitive_rows([[own, peers]])}
        self.assertEqual(ratios, {"encode": 3.0, "encrypt": 1.0, "encode_encrypt": 2.0})

    def test_a_peer_that_missed_a_round_is_judged_by_the_others(self):
        own = ours("ckks", ops=[op("add", 1.0)])
        (row,) = report.primitive_rows([[own, theirs("ckks", "SEAL", ops=[op("add", 3.0)])], [own]])
        self.assertEqual(row.peers, (report.Ratio("SEAL", 3.0, 3.0, 3.0, 3.0),))

    def test_without_nightloom_the_peers_are_still_listed(self):
        (row,) = report.primitive_rows([[theirs("ckks", "SEAL", ops=[op("add", 3.0)])]])
        self.assertIsNone(row.ours)
        self.assertIn("| add       | 8192, 1 limbs | -         | 3 ms |", report.markdown("ckks", [row]))


class NetworkRows(unittest.TestCase):
    def result(self, network: str, images: int, evaluate_s: float) -> dict:
        return {"network": network, "images": images, "encrypt_s": 1.0, "evaluate_s": evaluate_s, "decrypt_s": 0.5}

    def test_batches_are_compared_by_image(self):
        own = ours("throughput", **self.result("cryptonets", 8192, 2.0))
        peers = theirs("throughput", "SEAL", **self.result("cryptonets", 4096, 10.0))
        rows = report.network_rows("cryptonets", [[own, peers]])
        evaluate = next(row for row in rows if row.operation == "evaluate, per image")
        self.assertEqual(evaluate.ours, 2.0 / 8192)
        self.assertEqual(evaluate.peers[0].ratio, 10.0)
        self.assertIn("SEAL 4096", evaluate.parameters)

    def test_reading_the_request_is_charged_to_nightloom_alone(self):
        own = ours("throughput", **self.result("cryptonets", 8, 2.0), load_s=2.0)
        peers = theirs("throughput", "SEAL", **self.result("cryptonets", 8, 8.0))
        rows = report.network_rows("cryptonets", [[own, peers]])
        ratios = {row.operation: row.peers[0].ratio for row in rows}
        self.assertEqual((ratios["evaluate, per image"], ratios["load and evaluate, per image"]), (4.0, 2.0))

    def test_one_image_is_never_compared_with_a_batch(self):
        own = ours("throughput", **self.result("e2dm", 8192, 2.0))
        peers = theirs("throughput", "TenSEAL", **self.result("e2dm", 1, 4.0))
        rows = report.network_rows("e2dm", [[own, peers]])
        self.assertEqual({row.ours for row in rows}, {None})
        self.assertEqual({peer.ratio for row in rows for peer in row.peers}, {None})

    def test_other_networks_are_left_out(self):
        own = ours("throughput", **self.result("cryptonets", 8192, 2.0))
        peers = theirs("throughput", "TenSEAL", **self.result("e2dm", 4096, 60.0))
        rows = report.network_rows("e2dm", [[own, peers]])
        self.assertEqual({row.ours for row in rows}, {None})


class FunctionalRows(unittest.TestCase):
    def op(self, us: float, **changes) -> dict:
        """One row of `ops` as `nightloom bench fe --json` prints it."""
        fields = {"scheme": "ddh", "op": "decrypt", "dim": 25, "weight_bits": 8, "keys": 6, "samples": 16}
        return fields | {"us": us, "min_us": us, "runs": 21} | changes

    def test_groups_are_different_peers_and_other_jobs_are_left_out(self):
        own = ours("fe", ops=[self.op(40.0), self.op(1.0, scheme="pad"), self.op(200.0, dim=784)])
        groups = [self.op(40_000.0, group="a"), self.op(80_000.0, group="b"), self.op(5.0, op="derive", group="a")]
        derive, decrypt = sorted(
            report.functional_rows([[own, theirs("fe", "pymife", ops=groups)]]), key=lambda row: row.ours is not None
        )
        self.assertIsNone(derive.ours)
        self.assertEqual([(peer.peer, peer.ratio) for peer in decrypt.peers], [("pymife, a", 1000.0), ("pymife, b", 2000.0)])
        self.assertIn("| decrypt", report.markdown("fe", [decrypt]))

    def test_rows_say_what_was_done(self):
        own, peers = ours("fe", ops=[self.op(40.0)]), theirs("fe", "pymife", ops=[self.op(80.0, group="a")])
        (row,) = report.json_lists(report.functional_rows([[own, peers]]))["functional"]
        expected = {"scheme": "ddh", "op": "decrypt", "dim": 25, "weight_bits": 8, "us": 40.0, "peer": "pymife, a"}
        expected |= {"peer_us": 80.0, "ratio": 2.0, "lowest_ratio": 2.0, "highest_ratio": 2.0}
        self.assertEqual(row, expected)

    def test_the_suite_asks_for_functional_encryption(self):
        self.assertEqual(command.SUITES["fe"].bench_arguments(), ["bench", "fe", "--threads", "1", "--json"])


class JsonLists(unittest.TestCase):
    def test_transforms_keep_one_row_with_the_ratios_of_both(self):
        own = ours("ring", ntt=[transform(2.0, 4.0)])
        peers = theirs("ring", "tfhe-ntt", ntt=[words(6.0, 8.0, inverse_unnormalised_us=7.0)])
        lists = report.json_lists(report.primitive_rows([[own, peers]]))
        self.assertEqual(list(lists), ["ntt"])
        (row,) = lists["ntt"]
        expected = {"degree": 8192, "kernel": "avx2", "prime_bits": 50, "forward_us": 2.0, "inverse_us": 4.0}
        expected |= {"peer": "tfhe-ntt u64, 50-bit", "peer_forward_us": 6.0, "peer_inverse_us": 8.0}
        expected |= {"ratio": 3.0, "lowest_ratio": 3.0, "highest_ratio": 3.0}
        expected |= {"inverse_ratio": 2.0, "inverse_lowest_ratio": 2.0, "inverse_highest_ratio": 2.0}
        self.assertEqual(row, expected)

    def test_each_kernel_has_a_row_of_transforms(self):
        own = ours("ring", ntt=[transform(2.0, 4.0, kernel="avx512"), transform(3.0, 4.0)])
        peers = theirs("ring", "tfhe-ntt", ntt=[words(6.0, 8.0), words(5.0, 8.0, vectors="avx512")])
        rows = report.json_lists(report.primitive_rows([[own, peers]]))["ntt"]
        self.assertEqual([(row["kernel"], row["ratio"]) for row in rows], [("avx2", 2.0), ("avx512", 2.5)])

    def test_operations_keep_their_list_and_have_a_row_for_each_peer(self):
        own = ours("ckks", ops=[op("add", 1.0)], ops_conjugate_invariant=[op("add", 2.0)])
        seal = theirs("ckks", "SEAL", ops=[op("add", 3.0), op("rotate", 9.0)])
        lattigo = theirs("ckks", "Lattigo", ops=[op("add", 4.0)], ops_conjugate_invariant=[op("add", 5.0)])
        lists = report.json_lists(report.primitive_rows([[own, seal, lattigo]]))
        expected = {"degree": 8192, "limbs": 1, "special": 0, "prime_bits": 50, "op": "add", "ms": 1.0}
        expected |= {"peer": "SEAL", "peer_ms": 3.0, "ratio": 3.0, "lowest_ratio": 3.0, "highest_ratio": 3.0}
        self.assertEqual(lists["ops"][0], expected)
        self.assertEqual([row["peer"] for row in lists["ops"]], ["SEAL", "Lattigo"])
        self.assertEqual([row["ratio"] for row in lists[CONJUGATE_INVARIANT]], [2.5])

    def test_networks_say_which_step_of_which_network(self):
        result = {"network": "cryptonets", "images": 10, "encrypt_s": 1.0, "evaluate_s": 2.0, "decrypt_s": 0.5}
        own, peers = ours("throughput", **result), theirs("throughput", "SEAL", **result | {"evaluate_s": 8.0})
        rows = report.json_lists(report.network_rows("cryptonets", [[own, peers]]))["networks"]
        evaluate = next(row for row in rows if row["step"] == "evaluate")
        expected = {"network": "cryptonets", "batch": True, "step": "evaluate", "image_s": 0.2, "peer": "SEAL"}
        expected |= {"peer_image_s": 0.8, "ratio": 4.0, "lowest_ratio": 4.0, "highest_ratio": 4.0}
        self.assertEqual(evaluate, expected)


class Alternation(unittest.TestCase):
    def side(self, text: str) -> list[str]:
        return [sys.executable, "-c", text]

    def test_order_turns_and_a_broken_side_is_tried_once(self):
        good = json.dumps(ours("ring", ntt=[transform(1.0)]))
        commands = [
            (report.OURS, self.side(f"print('''{good}''')"), False),
            ("broken", self.side("import sys; sys.exit('out of memory')"), False),
            ("odd", self.side("print('no JSON')"), False),
            ("empty", self.side("print('{\"suite\": \"ring\", \"version\": \"1\"}')"), False),
            ("slow", self.side(f"print('''{good}''')"), True),
        ]
        missing: dict[str, str] = {}
        rounds = command._alternate("ntt", commands, 3, missing)
        self.assertEqual([len(round_) for round_ in rounds], [2, 1, 1])
        self.assertEqual(set(missing), {"broken, suite ntt", "odd, suite ntt", "empty, suite ntt"})
        self.assertIn("out of memory", missing["broken, suite ntt"])
        self.assertIn("not a bench result", missing["odd, suite ntt"])
        self.assertIn("no measurement", missing["empty, suite ntt"])

    def test_suites_on_the_command_line(self):
        self.assertEqual(command._suites("ntt,tenseal"), ["ntt", "tenseal"])
        with self.assertRaises(argparse.ArgumentTypeError):
            command._suites("ntt,nothing")
        with self.assertRaises(argparse.ArgumentTypeError):
            command._positive("0")

    def test_nightloom_is_asked_for_the_network_of_the_suite(self):
        self.assertEqual(command.SUITES["ntt"].bench_arguments(), ["bench", "ring", "--threads", "1", "--json"])
        self.assertEqual(command.SUITES["tenseal"].bench_arguments()[:4], ["bench", "throughput", "--network", "e2dm"])

    def test_features_have_a_build_of_their_own(self):
        commands = []
        run, install._run = install._run, lambda command: commands.append(command) or '{"executable": "/a/peer"}'
        try:
            for side in command.SUITES["ntt"].sides:
                self.assertEqual(side.command(), ["/a/peer"])
        finally:
            install._run = run
        plain, wide = commands
        self.assertNotIn("--features", plain)
        self.assertEqual(wide[wide.index("--features") + 1], "avx512")
        self.assertTrue(wide[wide.index("--target-dir") + 1].endswith("/target/avx512"))

    def test_a_peer_without_a_wheel_says_why(self):
        with tempfile.TemporaryDirectory() as folder:
            peers, environments = install.PEERS, install.ENVIRONMENTS
            requirements = Path(folder, "requirements")
            requirements.mkdir()
            Path(requirements, "absent.txt").write_text("")
            install.PEERS, install.ENVIRONMENTS = Path(folder), Path(folder, ".venv")
            interpreters, install._interpreters = install._interpreters, lambda: [Path(sys.executable)]
            try:
                with self.assertRaisesRegex(install.NotInstalled, "nothing_of_this_name"):
                    install.python(install.Environment("absent", "import nothing_of_this_name"))
                self.assertFalse(Path(folder, ".venv", "absent").exists())
            finally:
                install.PEERS, install.ENVIRONMENTS = peers, environments
                install._interpreters = interpreters


class OtherWork(unittest.TestCase):
    def test_own_work_is_not_counted_as_that_of_others(self):
        observer = others.Observer()
        script = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
        before = others._own_seconds()
        subprocess.run([sys.executable, "-c", script], check=True)
        self.assertGreaterEqual(others._own_seconds() - before, 0.5)
        cores = observer.cores()
        self.assertTrue(cores is None or 0.0 <= cores <= os.cpu_count())

    def test_a_busy_machine_is_said_to_be_one(self):
        self.assertIn("do not quote", command._other_work({"ntt": 0.0, "ckks": 1.5}))
        self.assertNotIn("do not quote", command._other_work({"ntt": 0.01}))
        self.assertIn("not known", command._other_work({"ntt": None}))


class Formatting(unittest.TestCase):
    def test_times_have_three_digits_and_a_fitting_unit(self):
        for seconds, text in [(9.996e-4, "1 ms"), (2.5e-9, "2.5 ns"), (0.123456, "123 ms"), (1234.5, "1234 s")]:
            self.assertEqual(report._time(seconds, 1.0), text)
        self.assertEqual(report._time(None, 1.0), "-")


class Timing(unittest.TestCase):
    def test_every_call_gets_a_fresh_input(self):
        seen = []
        made = iter(range(10**9))
        result = timing.measure(seen.append, lambda: next(made))
        self.assertEqual(len(seen), len(set(seen)))
        self.assertLessEqual(result["min_ms"], result["ms"])
        self.assertGreaterEqual(result["runs"], timing.LEAST_RUNS)

    def test_peers_name_their_fields_as_nightloom_does(self):
        result = timing.measure(lambda _: None)
        row = parameters.row("add", parameters.PARAMETER_SETS[0], 1, 50, result)
        self.assertEqual(row.keys(), op("add", 1.0).keys())


if __name__ == "__main__":
    unittest.main()
