"""The networks of the suites, their weights, and the images they classify.

The two of the batch suites have the shape convolution, square, dense, square, dense, on 28 x 28 images. Weights and
images are those that Nightloom ships when they are there, so that all sides do the same job; otherwise they are random,
which takes the same time.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from side_by_side import onnx_file

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "crates" / "nightloom" / "assets"
SIDE = 28
# Part of the largest logit by which those of single images may be off. A value that wrapped around is off by more.
TOLERATED_ERROR = 0.2


@dataclass(frozen=True)
class Network:
    """Weights of one network. Dense matrices are `[outputs, inputs]`; maps are flattened channel first."""

    name: str
    trained: bool
    stride: int
    # Rows of zeros above and columns of zeros left of the image.
    padding: int
    kernels: np.ndarray
    kernel_bias: np.ndarray
    dense1: np.ndarray
    bias1: np.ndarray
    dense2: np.ndarray
    bias2: np.ndarray

    def windows(self) -> list[list[tuple[int, int]]]:
        """Per output position, row first: the pairs (index in the kernel, index of the pixel), padding left out."""
        size = self.kernels.shape[-1]
        positions = range(-self.padding, SIDE - size + 1, self.stride)
        return [
            [
                (row * size + column, (top + row) * SIDE + left + column)
                for row in range(size)
                for column in range(size)
                if top + row >= 0 and left + column >= 0
            ]
            for top in positions
            for left in positions
        ]

    def evaluate(self, images: np.ndarray) -> np.ndarray:
        """Logits `[images, 10]` in the clear, of `images` `[images, 784]` with pixels in `0..=1`."""
        kernels = self.kernels.reshape(len(self.kernels), -1)
        maps = np.stack(
            [
                sum(images[:, pixel, None] * kernels[None, :, weight] for weight, pixel in window)
                for window in self.windows()
            ],
            axis=2,
        )
        hidden = ((maps + self.kernel_bias[None, :, None]) ** 2).reshape(len(images), -1)
        hidden = (hidden @ self.dense1.T + self.bias1) ** 2
        return hidden @ self.dense2.T + self.bias2


# name: (maps, size of a kernel, stride, padding, width of the hidden layer)
SHAPES = {"e2dm": (4, 7, 3, 0, 64), "cryptonets": (5, 5, 2, 1, 100)}


def load(name: str) -> Network:
    """The weights in `assets/NAME.onnx`, or random ones where that file is missing."""
    maps, size, stride, padding, width = SHAPES[name]
    features = maps * len(range(-padding, SIDE - size + 1, stride)) ** 2
    shapes = [(maps, 1, size, size), (maps,), (width, features), (width,), (10, width), (10,)]
    arrays = _from_onnx(ASSETS / f"{name}.onnx", shapes)
    trained = arrays is not None
    if arrays is None:
        generator = np.random.default_rng(1)
        # Weights whose deviation keeps the size of values from layer to layer; small biases.
        arrays = [
            generator.normal(0, 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1, shape) for shape in shapes
        ]
    return Network(name, trained, stride, padding, *arrays)


def _from_onnx(path: Path, shapes: list[tuple[int, ...]]) -> list[np.ndarray] | None:
    if not path.exists():
        return None
    tensors = [array for array in onnx_file.initializers(path.read_bytes()).values() if array.dtype == np.float64]
    arrays = []
    for shape in shapes:
        # A dense layer may be stored as `[inputs, outputs]`.
        fitting = [array for array in tensors if array.shape == shape] or [
            array.T for array in tensors if array.T.shape == shape
        ]
        if len(fitting) != 1:
            raise ValueError(f"{path}: {len(fitting)} tensors of shape {shape}, wanted one")
        arrays.append(fitting[0])
    return arrays


def model_file(name: str) -> Path:
    """The ONNX file of a network that Nightloom ships: `NAME.onnx`."""
    paths = [folder / f"{name}.onnx" for folder in (ASSETS, ROOT / "models")]
    for path in paths:
        if path.exists():
            return path
    raise FileNotFoundError(f"neither {paths[0]} nor {paths[1]} exists")


def reference(name: str) -> np.ndarray:
    """ONNX Runtime's logits `[10000, 10]` of a shipped network, for the MNIST test images."""
    return np.load(model_file(name).with_suffix(".reference.npz"))["logits"].astype(np.float64)


def images(count: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The first `count` MNIST test images `[count, 784]`, pixels in `0..=1`, and their labels.

    Random images and no labels where the files are missing.
    """
    image_file = ASSETS / "mnist-t10k-images-idx3-ubyte.gz"
    label_file = ASSETS / "mnist-t10k-labels-idx1-ubyte.gz"
    if not (image_file.exists() and label_file.exists()):
        return np.random.default_rng(2).integers(0, 256, (count, SIDE * SIDE)) / 255, None
    # IDX headers: four 32-bit words for images, two for labels.
    pixels = np.frombuffer(gzip.decompress(image_file.read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress(label_file.read_bytes()), np.uint8, offset=8)
    return pixels.reshape(-1, SIDE * SIDE)[:count] / 255, labels[:count]


def agreement(network: Network, inputs: np.ndarray, labels: np.ndarray | None, logits: np.ndarray) -> dict:
    """How well decrypted `logits` agree with the clear evaluation, and with the labels where both are real.

    Raises `RuntimeError` if fewer than 98 % of the images keep their class: the peer would then not have done the job.
    """
    clear = network.evaluate(inputs)
    agreeing = float((logits.argmax(axis=1) == clear.argmax(axis=1)).mean())
    if agreeing < 0.98:
        raise RuntimeError(f"{network.name}: only {agreeing:.1%} of the images keep their class")
    result = {"max_error": float(np.abs(logits - clear).max()), "agreement": agreeing}
    if network.trained and labels is not None:
        result["accuracy"] = float((logits.argmax(axis=1) == labels).mean())
    return result


def max_error(name: str, clear: np.ndarray, logits: np.ndarray) -> float:
    """Largest difference of the `logits` `[images, 10]` of a few single images from the clear ones.

    Raises `RuntimeError` if an image loses its class, or if a logit is off by more than `TOLERATED_ERROR` of the
    largest one: the peer would then not have done the job.
    """
    error, largest = float(np.abs(logits - clear).max()), float(np.abs(clear).max())
    if (logits.argmax(axis=1) != clear.argmax(axis=1)).any() or not error <= TOLERATED_ERROR * largest:
        raise RuntimeError(f"{name}: logits are wrong by up to {error:.3g}, where the largest is {largest:.3g}")
    return error
