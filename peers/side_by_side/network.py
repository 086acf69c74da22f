"""The two networks of the suites, their weights, and the images they classify.

Both have the shape convolution, square, dense, square, dense, on 28 x 28 images. Weights and images are those that
Nightloom ships when they are there, so that all sides do the same job; otherwise they are random, which takes
the same time.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).parents[2] / "crates" / "nightloom" / "assets"
SIDE = 28


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
    tensors = _initializers(path.read_bytes())
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


def _initializers(model: bytes) -> list[np.ndarray]:
    """The `float` constants of an ONNX model's graph, whose field numbers are those of onnx.proto."""
    arrays = []
    for graph in _fields(model, 7):
        for tensor in _fields(graph, 5):
            if _fields(tensor, 2) != [1]:
                continue
            # Repeated numbers come packed, or one by one.
            dims = [dim for part in _fields(tensor, 1) for dim in ([part] if isinstance(part, int) else _varints(part))]
            raw = b"".join(_fields(tensor, 9) or _fields(tensor, 4))
            arrays.append(np.frombuffer(raw, "<f4").astype(np.float64).reshape(dims))
    return arrays


def _fields(message: bytes, wanted: int) -> list:
    """The values of one field of a protobuf message: `int` for a varint, `bytes` for the other types."""
    values = []
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(message, position)
        elif kind in (1, 2, 5):
            size = {1: 8, 5: 4}.get(kind)
            if size is None:
                size, position = _varint(message, position)
            value = message[position : position + size]
            position += size
        else:
            raise ValueError(f"wire type {kind} in a protobuf message")
        if tag >> 3 == wanted:
            values.append(value)
    return values


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:
            return value, position


def _varints(packed: bytes) -> list[int]:
    values = []
    position = 0
    while position < len(packed):
        value, position = _varint(packed, position)
        values.append(value)
    return values


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
