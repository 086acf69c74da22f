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


def primitive(op: str, median_ns: float, **changes) -> dict:
    """One result as `nightloom bench --json` prints it."""
    result = {
        "op": op,
        "ring": "standard",
        "degree": 8192,
        "limbs": 1,
        "special": 0,
        "prime_bits": 50,
        "median_ns": median_ns,
        "min_ns": median_ns,
        "runs": 101,
    }
    return result | changes


def ours(suite: str, *results: dict) -> dict:
    machine = {"cpu": "Test CPU", "cores": 2, "features": ["avx2", "fma"]}
    return {"suite": suite, "version": "0.1.0", "machine": machine, "threads": 1, "results": list(results)}


def theirs(suite: str, library: str, *results: dict) -> dict:
    named = [{"library": library, **result} for result in results]
    return parameters.report(suite, library, "1.0", named)


class PrimitiveRows(unittest.TestCase):
    def test_a_ratio_is_the_median_over_rounds_of_their_time_by_ours(self):
        op = "ntt_forward"
        rounds = [
            [ours("ring", primitive(op, own)), theirs("ring", "tfhe-ntt u64", primitive(op, other))]
            for own, other in [(10.0, 30.0), (20.0, 50.0), (10.0, 90.0)]
        ]
        (row,) = report.primitive_rows("ntt", rounds)
        self.assertEqual((row.operation, row.parameters, row.ours), ("ntt_forward", "8192", 10.0))
        (peer,) = row.peers
        self.assertEqual(peer, report.Ratio("tfhe-ntt u64, 50-bit", 50.0, 3.0, 2.5, 9.0))

    def test_prime_sizes_of_one_library_are_different_peers(self):
        peers = theirs("ring", "u64", primitive("ntt_forward", 4.0), primitive("ntt_forward", 6.0, prime_bits=60))
        (row,) = report.primitive_rows("ntt", [[ours("ring", primitive("ntt_forward", 2.0)), peers]])
        self.assertEqual([(peer.peer, peer.ratio) for peer in row.peers], [("u64, 50-bit", 2.0), ("u64, 60-bit", 3.0)])

    def test_rings_degrees_and_limbs_are_never_mixed(self):
        own = ours("ckks", primitive("add", 1.0, limbs=3))
        for changes in ({"limbs": 4}, {"degree": 16384}):
            with self.subTest(changes):
                peers = theirs("ckks", "SEAL", primitive("add", 5.0, **({"limbs": 3} | changes)))
                (row,) = report.primitive_rows("ckks", [[own, peers]])
                self.assertIsNone(row.ours)
                self.assertIsNone(row.peers[0].ratio)

    def test_a_ring_without_nightloom_is_left_out(self):
        own = ours("ckks", primitive("add", 1.0))
        peers = theirs("ckks", "Lattigo", primitive("add", 5.0, ring="conjugate-invariant"))
        self.assertEqual(report.primitive_rows("ckks", [[own, peers]]), [])

    def test_special_primes_may_differ(self):
        own = ours("ckks", primitive("relinearize", 1.0, limbs=7, special=2))
        peers = theirs("ckks", "SEAL", primitive("relinearize", 5.0, limbs=7, special=1))
        (row,) = report.primitive_rows("ckks", [[own, peers]])
        self.assertEqual(row.peers[0].ratio, 5.0)

    def test_a_joint_operation_is_compared_with_the_sum_of_its_parts(self):
        own = ours("ckks", primitive("multiply", 1.0), primitive("relinearize", 2.0))
        peers = theirs("ckks", "Lattigo", primitive("multiply_relinearize", 12.0))
        (row,) = report.primitive_rows("ckks", [[own, peers]])
        self.assertEqual((row.operation, row.ours, row.peers[0].ratio), ("multiply_relinearize", 3.0, 4.0))

    def test_encoding_and_encryption_are_compared_together(self):
        own = ours("ckks", primitive("encode", 1.0), primitive("encrypt_public", 4.0))
        peers = theirs("ckks", "SEAL", primitive("encode", 6.0), primitive("encrypt_public", 4.0))
        (row,) = report.primitive_rows("ckks", [[own, peers]])
        self.assertEqual((row.operation, row.ours, row.peers[0].ratio), ("encode_encrypt_public", 5.0, 2.0))

    def test_nightloom_decodes_when_it_decrypts(self):
        own = ours("ckks", primitive("decrypt", 2.0))
        peers = theirs("ckks", "SEAL", primitive("decrypt", 1.0), primitive("decode", 7.0))
        (row,) = report.primitive_rows("ckks", [[own, peers]])
        self.assertEqual((row.operation, row.ours, row.peers[0].ratio), ("decrypt_decode", 2.0, 4.0))

    def test_a_peer_that_missed_a_round_is_judged_by_the_others(self):
        own = ours("ckks", primitive("add", 1.0))
        rounds = [[own, theirs("ckks", "SEAL", primitive("add", 3.0))], [own]]
        (row,) = report.primitive_rows("ckks", rounds)
        self.assertEqual(row.peers, (report.Ratio("SEAL", 3.0, 3.0, 3.0, 3.0),))

    def test_without_nightloom_the_peers_are_still_listed(self):
        (row,) = report.primitive_rows("ckks", [[theirs("ckks", "SEAL", primitive("add", 3.0))]])
        self.assertIsNone(row.ours)
        self.assertIn("| add       | 8192, 1 limbs | -         | 3 ns |", report.markdown("ckks", [row]))


class NetworkRows(unittest.TestCase):
    def result(self, network: str, images: int, evaluate_s: float) -> dict:
        return {"network": network, "images": images, "encrypt_s": 1.0, "evaluate_s": evaluate_s, "decrypt_s": 0.5}

    def test_batches_are_compared_by_image(self):
        own = ours("throughput", self.result("cryptonets", 8192, 2.0))
        peers = theirs("throughput", "SEAL", self.result("cryptonets", 4096, 10.0))
        rows = report.network_rows("throughput", "cryptonets", [[own, peers]])
        evaluate = next(row for row in rows if row.operation == "evaluate, per image")
        self.assertEqual(evaluate.ours, 2.0 / 8192)
        self.assertEqual(evaluate.peers[0].ratio, 10.0)
        self.assertIn("SEAL 4096", evaluate.parameters)

    def test_reading_the_request_is_charged_to_nightloom_alone(self):
        own = ours("throughput", self.result("cryptonets", 8, 2.0) | {"load_s": 2.0})
        peers = theirs("throughput", "SEAL", self.result("cryptonets", 8, 8.0))
        rows = report.network_rows("throughput", "cryptonets", [[own, peers]])
        ratios = {row.operation: row.peers[0].ratio for row in rows}
        self.assertEqual((ratios["evaluate, per image"], ratios["load and evaluate, per image"]), (4.0, 2.0))

    def test_one_image_is_never_compared_with_a_batch(self):
        own = ours("throughput", self.result("e2dm", 8192, 2.0))
        peers = theirs("throughput", "TenSEAL", self.result("e2dm", 1, 4.0))
        rows = report.network_rows("tenseal", "e2dm", [[own, peers]])
        self.assertEqual({row.ours for row in rows}, {None})
        self.assertEqual({peer.ratio for row in rows for peer in row.peers}, {None})

    def test_other_networks_are_left_out(self):
        own = ours("throughput", self.result("cryptonets", 8192, 2.0))
        peers = theirs("throughput", "TenSEAL", self.result("e2dm", 4096, 60.0))
        rows = report.network_rows("tenseal", "e2dm", [[own, peers]])
        self.assertEqual({row.ours for row in rows}, {None})


class Alternation(unittest.TestCase):
    def side(self, text: str) -> list[str]:
        return [sys.executable, "-c", text]

    def test_order_turns_and_a_broken_side_is_tried_once(self):
        good = json.dumps(ours("ring", primitive("ntt_forward", 1.0)))
        commands = [
            (report.OURS, self.side(f"print('''{good}''')"), False),
            ("broken", self.side("import sys; sys.exit('out of memory')"), False),
            ("odd", self.side("print('no JSON')"), False),
            ("slow", self.side(f"print('''{good}''')"), True),
        ]
        missing: dict[str, str] = {}
        rounds = command._alternate("ntt", commands, 3, missing)
        self.assertEqual([len(round_) for round_ in rounds], [2, 1, 1])
        self.assertEqual(set(missing), {"broken, suite ntt", "odd, suite ntt"})
        self.assertIn("out of memory", missing["broken, suite ntt"])
        self.assertIn("not a bench result", missing["odd, suite ntt"])

    def test_suites_on_the_command_line(self):
        self.assertEqual(command._suites("ntt,tenseal"), ["ntt", "tenseal"])
        with self.assertRaises(argparse.ArgumentTypeError):
            command._suites("ntt,nothing")
        with self.assertRaises(argparse.ArgumentTypeError):
            command._positive("0")

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
        self.assertLessEqual(result["min_ns"], result["median_ns"])
        self.assertGreaterEqual(result["runs"], timing.LEAST_RUNS)


if __name__ == "__main__":
    unittest.main()
