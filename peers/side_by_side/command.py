"""`peers/run`: installs and builds the sides, runs them in turn, prints the ratios."""

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from side_by_side import install, others, report
from side_by_side.install import PEERS, ROOT, Environment, NotInstalled

# One thread for every library. The three MALLOC settings let glibc keep its pages, as a long-running service would:
# without them, up to half of OpenFHE's time goes into returning memory to the system and getting it back cleared.
PEER_SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "GOMAXPROCS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 26),
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True)
class PythonSide:
    """A peer that runs as a module of this package in its own environment."""

    label: str
    environment: Environment
    module: str
    arguments: tuple[str, ...] = ()
    # Too slow to repeat: runs in the first round only.
    once: bool = False

    def command(self) -> list[str]:
        return [str(install.python(self.environment)), "-m", f"side_by_side.{self.module}", *self.arguments]


@dataclass(frozen=True)
class RustSide:
    """A peer that is a Rust package of its own workspace."""

    label: str
    manifest: Path
    package: str
    features: tuple[str, ...] = ()
    once: bool = False

    def command(self) -> list[str]:
        return [str(install.rust_binary(self.manifest, self.package, self.features))]


Side = PythonSide | RustSide


@dataclass(frozen=True)
class Job:
    """A `nightloom bench` run, and the peers that do the same."""

    bench: str
    sides: tuple[Side, ...]
    network: str | None = None

    def bench_arguments(self) -> list[str]:
        network = ["--network", self.network] if self.network else []
        return ["bench", self.bench, *network, "--threads", "1", "--json"]


@dataclass(frozen=True)
class Suite:
    """Jobs that make one table, the number of rounds by default, and how the rounds become rows."""

    rounds: int
    jobs: tuple[Job, ...]
    rows: Callable[[list[report.Round]], list[report.Row]]

    def label(self, job: Job) -> str:
        """What Nightloom's side of a job is called; a suite of several jobs has one for each network."""
        return report.OURS if len(self.jobs) == 1 else f"{report.OURS}, {job.network}"


def _single_images(network: str, *others: Side) -> Job:
    orion = PythonSide(f"Orion, {network}", install.ORION, "orion_latency", (network,))
    return Job("latency", (*others, orion), network)


TFHE_NTT = PEERS / "ntt" / "Cargo.toml"

SUITES = {
    "ntt": Suite(
        7,
        (
            Job(
                "ring",
                (
                    RustSide("tfhe-ntt, AVX2", TFHE_NTT, "peer-ntt"),
                    RustSide("tfhe-ntt, AVX-512", TFHE_NTT, "peer-ntt", ("avx512",)),
                ),
            ),
        ),
        report.primitive_rows,
    ),
    "ckks": Suite(
        3,
        (
            Job(
                "ckks",
                (
                    PythonSide("SEAL", install.SEAL, "seal_ckks"),
                    PythonSide("OpenFHE", install.OPENFHE, "openfhe_ckks"),
                    PythonSide("Lattigo", install.LATTIGO, "lattigo_ckks"),
                ),
            ),
        ),
        report.primitive_rows,
    ),
    "throughput": Suite(
        1,
        (
            Job(
                "throughput",
                (
                    PythonSide("SEAL, CryptoNets", install.SEAL, "seal_cryptonets"),
                    PythonSide("Lattigo, CryptoNets", install.LATTIGO, "lattigo_cryptonets"),
                ),
                network="cryptonets",
            ),
        ),
        partial(report.network_rows, "cryptonets"),
    ),
    "latency": Suite(
        2,
        (
            _single_images("e2dm", PythonSide("TenSEAL, e2dm", install.TENSEAL, "tenseal_e2dm")),
            *(_single_images(network) for network in ("cryptonets", "lola", "lola-small", "mlp", "lenet")),
        ),
        report.latency_rows,
    ),
    "tenseal": Suite(
        3,
        (
            Job(
                "throughput",
                (PythonSide("TenSEAL, batch", install.TENSEAL, "tenseal_e2dm", ("--batch",), once=True),),
                network="e2dm",
            ),
        ),
        partial(report.network_rows, "e2dm"),
    ),
    "fe": Suite(3, (Job("fe", (PythonSide("pymife", install.PYMIFE, "pymife_fe"),)),), report.functional_rows),
}


class SideFailed(Exception):
    """A side ran and did not deliver; the message is one line."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"warning: the machine is busy (load {load:.1f}); the ratios will be noisy", file=sys.stderr)

    missing: dict[str, str] = {}
    try:
        nightloom = options.nightloom or install.rust_binary(ROOT / "Cargo.toml", "nightloom")
    except NotInstalled as reason:
        nightloom = None
        missing[report.OURS] = f"not built: {reason}"

    sections, results, rows = [], {}, []
    machine: dict = {}
    versions: dict[str, str] = {}
    other_cores: dict[str, float | None] = {}
    for name in options.only:
        suite = SUITES[name]
        sides = [
            [
                *([(suite.label(job), [str(nightloom), *job.bench_arguments()], False)] if nightloom else []),
                *_peer_commands(job, missing),
            ]
            for job in suite.jobs
        ]
        observer = others.Observer()
        # Job by job, so that what forms a ratio runs close together.
        by_job = [_alternate(name, commands, options.rounds or suite.rounds, missing) for commands in sides]
        rounds = [[document for part in parts for document in part] for parts in zip(*by_job, strict=True)]
        other_cores[name] = observer.cores()
        results[name] = rounds
        for document in (document for round_ in rounds for document in round_):
            machine = machine or document.get("machine", {})
            versions[document.get("library", report.OURS)] = document["version"]
        suite_rows = suite.rows(rounds)
        rows += suite_rows
        sections.append(report.markdown(name, suite_rows))

    text = "\n".join([_heading(machine, versions, other_cores, options), *sections, _missing(missing)])
    as_json = json.dumps(
        {
            "date": _today(),
            "machine": machine,
            "threads": 1,
            "versions": versions,
            "other_cores": other_cores,
            "not_measured": missing,
            **report.json_lists(rows),
            "rounds": results,
        },
        indent=1,
    )
    print(as_json if options.json else text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text)
        options.out.with_suffix(".json").write_text(as_json)
    return 1 if any(name.startswith(report.OURS) for name in missing) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="peers/run",
        description="Runs Nightloom and other libraries on the same jobs, in turn, and prints the ratios.",
    )
    parser.add_argument(
        "--only",
        type=_suites,
        default=list(SUITES),
        metavar="SUITE[,SUITE]",
        help=f"some of {', '.join(SUITES)} (default: all)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        help="alternations of the sides "
        f"(default: {', '.join(f'{name} {suite.rounds}' for name, suite in SUITES.items())})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of Markdown tables")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="also write FILE.md, and FILE.json beside it")
    parser.add_argument(
        "--nightloom",
        type=lambda text: Path(text).resolve(),
        metavar="BINARY",
        help="use this executable instead of building one",
    )
    return parser


def _suites(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SUITES:
            raise argparse.ArgumentTypeError(f"no suite called {name!r}; there are {', '.join(SUITES)}")
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _peer_commands(job: Job, missing: dict[str, str]) -> list[tuple[str, list[str], bool]]:
    """The peers of a job that can be run; `missing` gets the others."""
    commands = []
    for side in job.sides:
        _progress(f"{side.label}: installing")
        try:
            commands.append((side.label, side.command(), side.once))
        except NotInstalled as reason:
            missing[side.label] = f"not installed: {reason}"
    return commands


def _alternate(
    suite: str, commands: list[tuple[str, list[str], bool]], rounds: int, missing: dict[str, str]
) -> list[report.Round]:
    """Every round runs every side once; the order turns by one from round to round."""
    documents: list[report.Round] = []
    broken: set[str] = set()
    for number in range(rounds):
        documents.append([])
        turn = number % len(commands) if commands else 0
        for label, command, once in commands[turn:] + commands[:turn]:
            if label in broken or (once and number > 0):
                continue
            _progress(f"{suite}, round {number + 1} of {rounds}: {label}")
            try:
                documents[-1].append(_run_side(command, own=label.startswith(report.OURS)))
            except SideFailed as reason:
                broken.add(label)
                missing[f"{label}, suite {suite}"] = f"failed: {reason}"
    return documents


def _run_side(command: list[str], *, own: bool) -> dict:
    """Runs one side and reads the JSON object on its standard output."""
    settings = os.environ if own else os.environ | PEER_SETTINGS
    try:
        result = subprocess.run(command, cwd=PEERS, env=settings, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SideFailed(str(error)) from error
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["no message"]
        raise SideFailed(f"ended with status {result.returncode}: {lines[-1].strip()}")
    try:
        document = json.loads(result.stdout)
        document["suite"], document["version"]
        if not document.keys() & {"ntt", "ops", "network"}:
            raise ValueError("it holds no measurement")
    except (ValueError, KeyError, TypeError) as error:
        raise SideFailed(f"its output is not a bench result: {error}") from error
    return document


def _heading(
    machine: dict, versions: dict[str, str], other_cores: dict[str, float | None], options: argparse.Namespace
) -> str:
    cpu = machine.get("cpu", "unknown CPU")
    features = ", ".join(machine.get("features", []))
    return "\n".join(
        [
            "# Nightloom and its peers",
            "",
            f"{_today()}; {cpu}, {machine.get('cores', os.cpu_count())} cores{f' ({features})' if features else ''}, "
            "one thread on every side. "
            f"Made by `peers/run --only {','.join(options.only)}`.",
            "",
            f"Versions: {', '.join(f'{name} {version}' for name, version in sorted(versions.items()))}.",
            "",
            _other_work(other_cores),
            "",
            "A cell holds the peer's median time or size and, in bold, how many times Nightloom's it is (lowest and highest "
            "round in brackets).",
            "",
        ]
    )


def _other_work(other_cores: dict[str, float | None]) -> str:
    known = {name: cores for name, cores in other_cores.items() if cores is not None}
    if not known:
        return "How busy other processes kept the machine is not known."
    text = ", ".join(f"{name} {cores:.2f}" for name, cores in known.items())
    sentence = f"Cores that other processes kept busy meanwhile: {text}."
    if max(known.values()) > others.TOLERATED_CORES:
        sentence += " **That is too much: do not quote these ratios, long operations suffer more than short ones.**"
    return sentence


def _missing(missing: dict[str, str]) -> str:
    if not missing:
        return ""
    return "\n".join(["## Not measured", "", *(f"- {name}: {why}" for name, why in missing.items()), ""])


def _today() -> str:
    return datetime.date.today().isoformat()


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
