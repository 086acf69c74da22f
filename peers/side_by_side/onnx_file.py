"""What a model file says, read without the `onnx` package: its constants, and its layers in order.

Field numbers are those of onnx.proto.
"""

import struct
from dataclasses import dataclass, field

import numpy as np

FLOAT, INT8 = 1, 3


@dataclass(frozen=True)
class Layer:
    """One step of a chain: `convolution`, `dense`, `normalisation`, `square` or `flatten`.

    `weights` are called as PyTorch calls them: `weight` (of a dense layer `[outputs, inputs]`), `bias`,
    `running_mean`, `running_var`.
    """

    kind: str
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    # Of a convolution; the same in both directions.
    stride: int = 1
    padding: int = 0
    # Of a normalisation: what is added to the variance.
    epsilon: float = 0.0


def initializers(model: bytes) -> dict[str, np.ndarray]:
    """The constants of a model's graph that are `float` (as `float64`) or `int8`, by name."""
    arrays = {}
    for graph in _fields(model, 7):
        for tensor in _fields(graph, 5):
            (kind,) = _fields(tensor, 2)
            if kind not in (FLOAT, INT8):
                continue
            raw = b"".join(_fields(tensor, 9) or _fields(tensor, 4))
            values = np.frombuffer(raw, "<f4").astype(np.float64) if kind == FLOAT else np.frombuffer(raw, np.int8)
            arrays[_fields(tensor, 8)[0].decode()] = values.reshape(_integers(tensor, 1))
    return arrays


def layers(model: bytes) -> list[Layer]:
    """The layers of a model whose graph is a chain. Raises `ValueError` for any other, and for unknown operators."""
    (graph,) = _fields(model, 7)
    tensors = initializers(model)
    result = []
    previous = None
    for node in _fields(graph, 1):
        (operator,) = [name.decode() for name in _fields(node, 4)]
        inputs = [name.decode() for name in _fields(node, 1)]
        output = _fields(node, 2)[0].decode()
        if operator == "DequantizeLinear":
            levels, steps = (tensors[name] for name in inputs)
            tensors[output] = levels * steps.reshape(-1, *[1] * (levels.ndim - 1))
            continue
        if previous is not None and inputs[0] != previous:
            raise ValueError(f"{operator} reads {inputs[0]}, not the node before it: the graph is no chain")
        result.append(_layer(operator, inputs, tensors, _attributes(node)))
        previous = output
    return result


def _layer(operator: str, inputs: list[str], tensors: dict[str, np.ndarray], attributes: dict[str, bytes]) -> Layer:
    constants = [tensors[name] for name in inputs[1:] if name in tensors]
    match operator:
        case "Conv":
            strides, pads = _integers(attributes["strides"], 8), _integers(attributes["pads"], 8)
            if len(set(strides)) > 1 or len(set(pads)) > 1:
                raise ValueError(f"a convolution with strides {strides} and padding {pads}, not the same on all sides")
            return Layer("convolution", _named(constants, "weight", "bias"), stride=strides[0], padding=pads[0])
        case "Gemm":
            if _integers(attributes["transB"], 3) != [1]:
                raise ValueError("a dense layer whose weights are not [outputs, inputs]")
            return Layer("dense", _named(constants, "weight", "bias"))
        case "BatchNormalization":
            (epsilon,) = struct.unpack("<f", _fields(attributes["epsilon"], 2)[0])
            names = ("weight", "bias", "running_mean", "running_var")
            return Layer("normalisation", _named(constants, *names), epsilon=epsilon)
        case "Mul" if inputs[0] == inputs[1]:
            return Layer("square")
        case "Flatten":
            return Layer("flatten")
    raise ValueError(f"an operator {operator} on {inputs}")


def _named(constants: list[np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return dict(zip(names, constants, strict=True))


def _attributes(node: bytes) -> dict[str, bytes]:
    return {_fields(attribute, 1)[0].decode(): attribute for attribute in _fields(node, 5)}


def _integers(message: bytes, wanted: int) -> list[int]:
    """A repeated integer, whose values come packed, or one by one."""
    parts = _fields(message, wanted)
    return [value for part in parts for value in ([part] if isinstance(part, int) else _varints(part))]


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
