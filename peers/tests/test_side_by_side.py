"""Tests of everything around the measurements; run by `python3 -m unittest discover peers/tests`."""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

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


def latency(network: str, evaluate_ms: float, images: int = 1, **changes) -> dict:
    """What `nightloom bench latency --json` prints of a request, as far as the suite compares it."""
    result = {"network": network, "images": images, "evaluate_ms": evaluate_ms, "setup_s": 2.0}
    result |= {"key_bytes": 16_000_000, "request_bytes": 180_000, "response_bytes": 29_000}
    return result | {"max_error": 0.004, "degree": 8192, "log_qp": 206.0} | changes


class LatencyRows(unittest.TestCase):
    def rounds(self) -> list[report.Round]:
        """Two rounds with two networks and two peers, one of which writes no ciphertexts."""
        unsized = {"request_bytes": None, "response_bytes": None}
        return [
            [
                ours("latency", **latency("e2dm", own)),
                theirs("latency", "TenSEAL", **latency("e2dm", 3000.0, setup_s=1.0, max_error=4.0)),
                theirs("latency", "Orion", **latency("e2dm", 200.0, key_bytes=112_000_000, log_qp=214.0) | unsized),
                ours("latency", **latency("lola", 40.0)),
                theirs("latency", "Orion", **latency("lola", 120.0) | unsized),
            ]
            for own in (20.0, 30.0)
        ]

    def test_a_ratio_is_formed_in_its_round_and_network(self):
        rows = report.latency_rows(self.rounds())
        e2dm, lola = [row for row in rows if row.operation == "evaluate"]
        self.assertEqual((e2dm.parameters, e2dm.ours), ("e2dm, one image", 25.0))
        self.assertEqual(e2dm.peers[0], report.Ratio("TenSEAL", 3000.0, 125.0, 100.0, 150.0))
        self.assertEqual(lola.parameters, "lola, one image")
        self.assertEqual(lola.peers, (report.Ratio("Orion", 120.0, 3.0, 3.0, 3.0),))

    def test_requests_of_other_sizes_are_never_compared(self):
        own = ours("latency", **latency("e2dm", 20.0, images=64))
        peers = theirs("latency", "Orion", **latency("e2dm", 200.0))
        (row,) = [row for row in report.latency_rows([[own, peers]]) if row.operation == "evaluate"]
        self.assertEqual((row.parameters, row.ours, row.peers[0].ratio), ("e2dm, one image", None, None))
        self.assertEqual(report.json_lists([row]), {})

    def test_everything_known_of_a_request_is_one_row(self):
        tenseal, orion, lola = report.json_lists(report.latency_rows(self.rounds()))["latency"]
        self.assertEqual((tenseal["peer"], lola["network"], lola["peer"]), ("TenSEAL", "lola", "Orion"))
        own = {"network": "e2dm", "images": 1, "evaluate_ms": 25.0, "setup_s": 2.0, "key_bytes": 16_000_000}
        own |= {"request_bytes": 180_000, "response_bytes": 29_000, "max_error": 0.004, "degree": 8192, "log_qp": 206.0}
        peer = {"peer": "Orion", "peer_evaluate_ms": 200.0, "peer_setup_s": 2.0, "peer_key_bytes": 112_000_000}
        peer |= {"peer_max_error": 0.004, "peer_degree": 8192, "peer_log_qp": 214.0}
        ratios = {"ratio": (200 / 20 + 200 / 30) / 2, "lowest_ratio": 200 / 30, "highest_ratio": 10.0}
        self.assertEqual(orion, own | peer | ratios)
        self.assertEqual((tenseal["peer_request_bytes"], tenseal["ratio"]), (180_000, 125.0))
        self.assertIsInstance(orion["peer_key_bytes"], int)

    def test_the_table_has_sizes_and_compares_no_parameters(self):
        text = report.markdown("latency", report.latency_rows(self.rounds()))
        table = [line for line in text.splitlines() if "|" in line]
        lines = {tuple(cell.strip() for cell in line.split("|")[1:3]): line for line in table}
        keys = lines["evaluation keys", "e2dm, one image"]
        self.assertIn("| 16 MB ", keys)
        self.assertIn("112 MB, **7x**", keys)
        self.assertRegex(lines["request", "e2dm, one image"], r"180 kB +\| 180 kB, \*\*1x\*\* +\| - +\|$")
        self.assertRegex(lines["bits of all primes", "e2dm, one image"], r"206 +\| 206 +\| 214 +\|$")
        self.assertIn("0.004", lines["largest error", "lola, one image"])

    def test_a_network_that_nightloom_did_not_answer_has_only_the_peers_times(self):
        (row, *_) = report.latency_rows([[theirs("latency", "Orion", **latency("mlp", 200.0))]])
        self.assertEqual((row.ours, row.peers), (None, (report.Ratio("Orion", 200.0, None, None, None),)))


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
        self.assertEqual(command.SUITES["fe"].jobs[0].bench_arguments(), ["bench", "fe", "--threads", "1", "--json"])


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
        self.assertEqual(command.SUITES["ntt"].jobs[0].bench_arguments(), ["bench", "ring", "--threads", "1", "--json"])
        (job,) = command.SUITES["tenseal"].jobs
        self.assertEqual(job.bench_arguments()[:4], ["bench", "throughput", "--network", "e2dm"])

    def test_single_images_are_asked_for_network_by_network(self):
        suite = command.SUITES["latency"]
        for job in suite.jobs:
            with self.subTest(job.network):
                self.assertEqual(job.bench_arguments()[:4], ["bench", "latency", "--network", job.network])
                self.assertEqual(suite.label(job), f"{report.OURS}, {job.network}")
                self.assertTrue(all(side.label.endswith(f", {job.network}") for side in job.sides))
        self.assertEqual(command.SUITES["tenseal"].label(command.SUITES["tenseal"].jobs[0]), report.OURS)

    def test_sides_of_nightloom_run_without_the_settings_of_the_peers(self):
        content = {"suite": "latency", "version": "1", "network": "e2dm"}
        script = f"import json, os; print(json.dumps({content!r} | {{'procs': os.environ.get('GOMAXPROCS')}}))"
        commands = [(label, self.side(script), False) for label in (f"{report.OURS}, e2dm", "Orion, e2dm")]
        with mock.patch.dict(os.environ):
            os.environ.pop("GOMAXPROCS", None)
            (documents,) = command._alternate("latency", commands, 1, {})
        self.assertEqual([document["procs"] for document in documents], [None, "1"])

    def test_what_did_not_install_is_tried_once(self):
        environment = install.Environment("never", "import nothing")
        with mock.patch.object(install, "_interpreters", return_value=[]) as interpreters:
            with mock.patch.object(Path, "read_bytes", return_value=b""):
                for _ in range(2):
                    with self.assertRaisesRegex(install.NotInstalled, "no Python"):
                        install.python(environment)
        interpreters.assert_called_once_with()

    def test_features_have_a_build_of_their_own(self):
        commands = []
        run, install._run = install._run, lambda command: commands.append(command) or '{"executable": "/a/peer"}'
        try:
            for side in command.SUITES["ntt"].jobs[0].sides:
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


class Security(unittest.TestCase):
    def test_the_table_is_that_of_nightloom(self):
        source = Path(install.ROOT, "crates", "he", "src", "security.rs").read_text()
        table = source.split("MAX_LOG_QP:", 1)[1].split("];", 1)[0].split("=", 1)[1]
        entries = {int(degree): int(bits) for degree, bits in re.findall(r"\((\d+), (\d+)\)", table)}
        self.assertEqual(parameters.MAX_LOG_QP, {degree: entries[degree] for degree in parameters.MAX_LOG_QP})


class Formatting(unittest.TestCase):
    def test_sizes_have_three_digits_and_a_fitting_unit(self):
        for size, text in [(28_903, "28.9 kB"), (999, "999 bytes"), (999_600, "1 MB"), (1_971_485_312, "1.97 GB")]:
            self.assertEqual(report._value(size, "bytes"), text)

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

    def test_the_first_request_warms_up_and_is_still_checked(self):
        slow = iter([0.05, 0.0, 0.0])
        done = timing.requests([1, 2, 3], lambda x: 10 * x, lambda y: time.sleep(next(slow)) or y + 1, lambda z: -z)
        self.assertEqual((done.request, done.response, done.results), (30, 31, [-11, -21, -31]))
        self.assertEqual(done.times.keys(), {"encrypt_ms", "evaluate_ms", "evaluate_min_ms", "decrypt_ms", "runs"})
        self.assertEqual(done.times["runs"], 2)
        self.assertLess(done.times["evaluate_ms"], 50.0)
        self.assertLessEqual(done.times["evaluate_min_ms"], done.times["evaluate_ms"])

    def test_peers_name_their_fields_as_nightloom_does(self):
        result = timing.measure(lambda _: None)
        row = parameters.row("add", parameters.PARAMETER_SETS[0], 1, 50, result)
        self.assertEqual(row.keys(), op("add", 1.0).keys())


if __name__ == "__main__":
    unittest.main()
