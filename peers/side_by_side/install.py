"""Makes the sides runnable: one virtual environment per Python peer, release builds of the Rust ones.

A peer that does not install is a fact to report, not a failure: `NotInstalled` carries the reason.
"""

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).parents[1]
ROOT = PEERS.parent
ENVIRONMENTS = PEERS / ".venv"
OLDEST_PYTHON = (3, 10)


class NotInstalled(Exception):
    """A side could not be made runnable; the message is one line."""


@dataclass(frozen=True)
class Environment:
    """A Python peer: `requirements/NAME.txt`, a statement that succeeds when it works, and options for pip."""

    name: str
    probe: str
    pip_options: tuple[str, ...] = ()


SEAL = Environment("seal", "import seal")
OPENFHE = Environment("openfhe", "import openfhe")
TENSEAL = Environment("tenseal", "import tenseal")
ORION = Environment("orion", "import orion.nn; from orion.core import scheme")
PYMIFE = Environment("pymife", "from mife.single.selective.ddh import FeDDH")
LATTIGO = Environment(
    "lattigo",
    "import ctypes; from side_by_side.lattigo import LIBRARY; ctypes.CDLL(str(LIBRARY))",
    ("--no-deps",),
)


def python(environment: Environment) -> Path:
    """The interpreter of the peer's virtual environment, which is made first if it is missing or outdated.

    Wheels serve some versions of Python and not others, so every interpreter of this machine is tried, the running
    one first. What failed once is not tried again.
    """
    outcome = _installed(environment)
    if isinstance(outcome, NotInstalled):
        raise outcome
    return outcome


@functools.cache
def _installed(environment: Environment) -> Path | NotInstalled:
    requirements = PEERS / "requirements" / f"{environment.name}.txt"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    folder = ENVIRONMENTS / environment.name
    executable = folder / "bin" / "python"
    stamp = folder / "requirements.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return executable

    reason = "no Python of version {}.{} or later".format(*OLDEST_PYTHON)
    for interpreter in _interpreters():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _run([str(interpreter), "-m", "venv", str(folder)])
            pip = [str(executable), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
            _run([*pip, *environment.pip_options, "--requirement", str(requirements)])
            _run([str(executable), "-c", environment.probe])
        except NotInstalled as failure:
            reason = str(failure)
            continue
        stamp.write_text(digest)
        return executable
    shutil.rmtree(folder, ignore_errors=True)
    return NotInstalled(reason)


def rust_binary(manifest: Path, package: str, features: tuple[str, ...] = ()) -> Path:
    """The release executable of one package, built with the versions in its lock file.

    Every set of features has a target folder of its own, so that no build overwrites another.
    """
    options = []
    if features:
        folder = manifest.parent / "target" / "-".join(features)
        options = ["--features", ",".join(features), "--target-dir", str(folder)]
    output = _run(
        [
            "cargo",
            "build",
            "--release",
            "--locked",
            "--manifest-path",
            str(manifest),
            "--package",
            package,
            *options,
            "--message-format",
            "json-render-diagnostics",
        ]
    )
    messages = (json.loads(line) for line in output.splitlines() if line.startswith("{"))
    executables = [message["executable"] for message in messages if message.get("executable")]
    if not executables:
        raise NotInstalled(f"package {package} has no executable")
    return Path(executables[-1])


def _interpreters() -> list[Path]:
    candidates = [Path(sys.executable)]
    for minor in range(9, 20):
        found = shutil.which(f"python3.{minor}")
        if found:
            candidates.append(Path(found))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(pyenv.glob("versions/*/bin/python"))

    by_version: dict[str, Path] = {}
    for candidate in candidates:
        try:
            version = _run([str(candidate), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
        except NotInstalled:
            # A launcher without an interpreter behind it.
            continue
        if tuple(map(int, version.split("."))) >= OLDEST_PYTHON:
            by_version.setdefault(version, candidate)
    return list(by_version.values())


def _run(command: list[str]) -> str:
    try:
        result = subprocess.run(command, cwd=PEERS, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NotInstalled(str(error)) from error
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["no message"]
        raise NotInstalled(f"{Path(command[0]).name}: {lines[-1].strip()}")
    return result.stdout
