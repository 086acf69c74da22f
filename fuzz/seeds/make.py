"""Writes the seeds in the folders beside this script. Made with onnx 1.17.0 and NumPy 2.2.6.

`onnx`: models of a few hundred bytes that together use every operator that the importer knows on data.
`samples`: what `crates/nightloom/src/samples/testdata` lacks, IDX and gzip.
"""

import gzip
import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent
random = np.random.default_rng(1)


def floats(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(random.normal(size=shape).round(2).astype("<f4"), name)


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype="<i8"), name)


def write(name: str, opset: int, batch: str | int, sample: list[int], nodes: list, tensors: list) -> None:
    """A model of input `x` [batch, sample...] and output `y`; `nodes` are (operator, operands, results, attributes)."""
    graph = helper.make_graph(
        [helper.make_node(op, inputs.split(), outputs.split(), **more) for op, inputs, outputs, more in nodes],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *sample])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])
    onnx.save(model, FOLDER / "onnx" / f"{name}.onnx")


write(
    "convolution", 13, "N", [2, 6, 6],
    [
        ("Conv", "x k b", "c", {"pads": [0, 1, 1, 0], "group": 2}),
        ("BatchNormalization", "c b b b v", "n", {"epsilon": 1e-3}),
        ("Pow", "n two", "s", {}),
        ("AveragePool", "s", "p", {"kernel_shape": [2, 2], "strides": [2, 1]}),
        ("DepthToSpace", "p", "d", {"blocksize": 2, "mode": "CRD"}),
        ("SpaceToDepth", "d", "t", {"blocksize": 2}),
        ("Pad", "t pads", "q", {}),
        ("GlobalAveragePool", "q", "g", {}),
        ("Flatten", "g", "f", {"axis": 1}),
        ("Softmax", "f", "y", {}),
    ],
    [floats("k", 4, 1, 3, 3), floats("b", 4), numpy_helper.from_array(np.ones(4, "<f4"), "v"),
     numpy_helper.from_array(np.array(2, "<f4"), "two"), ints("pads", 0, 0, 1, 0, 0, 0, 0, 2)],
)

write(
    "dense", 13, 1, [2, 3],
    [
        ("Reshape", "x flat", "r", {}),
        ("Gemm", "r w b", "g", {"transB": 1, "alpha": 0.5}),
        ("Mul", "g g", "s", {}),
        ("MatMul", "s m", "o", {}),
        ("Split", "o parts", "l h", {"axis": 1}),
        ("Mul", "l h", "p", {}),
        ("Add", "p l", "a", {}),
        ("Sub", "a h", "u", {}),
        ("Neg", "u", "n", {}),
        ("Div", "n d", "v", {}),
        ("Concat", "v l", "z", {"axis": 1}),
        ("Gather", "z which", "y", {"axis": 1}),
    ],
    [ints("flat", 1, 6), floats("w", 4, 6), floats("b", 4), floats("m", 4, 4), ints("parts", 2, 2),
     numpy_helper.from_array(np.array([2, 4], "<f4"), "d"), ints("which", 3, 0, 0)],
)

write(
    "shapes", 13, "N", [3, 4],
    [
        ("Shape", "x", "s", {}),
        ("Slice", "s zero one", "n", {}),
        ("Concat", "n rest", "flat", {"axis": 0}),
        ("Reshape", "x flat", "f", {}),
        ("Unsqueeze", "f axes", "u", {}),
        ("Squeeze", "u axes", "q", {}),
        ("Slice", "q start end axis step", "t", {}),
        ("Constant", "", "c", {"value": floats("value", 1, 1)}),
        ("Expand", "c size", "e", {}),
        ("Add", "t e", "a", {}),
        ("Tile", "a twice", "l", {}),
        ("Cast", "l", "k", {"to": TensorProto.DOUBLE}),
        ("Cast", "k", "i", {"to": TensorProto.FLOAT}),
        ("Dropout", "i", "o", {}),
        ("Identity", "o", "y", {}),
    ],
    [ints("zero", 0), ints("one", 1), ints("rest", -1), ints("axes", 2), ints("start", 9), ints("end", 1),
     ints("axis", 1), ints("step", -2), ints("size", 1, 4), ints("twice", 1, 2)],
)

write(
    "sums", 13, 4, [2, 3, 2],
    [
        ("Transpose", "x", "t", {"perm": [0, 2, 3, 1]}),
        ("Einsum", "t e", "i", {"equation": "nabc,cd->nadb"}),
        ("ReduceMean", "i", "m", {"axes": [2], "keepdims": 0}),
        ("ReduceSum", "i two", "s", {"keepdims": 0}),
        ("Sum", "m s m", "a", {}),
        ("Mean", "a s", "b", {}),
        ("ReduceSumSquare", "b", "r", {"axes": [1], "keepdims": 1}),
        ("Sqrt", "c", "q", {}),
        ("Mul", "r q", "p", {}),
        ("Sigmoid", "p", "y", {}),
    ],
    [floats("e", 2, 3), ints("two", 2), numpy_helper.from_array(np.array([4], "<f4"), "c")],
)


def idx(array: np.ndarray, code: int) -> bytes:
    """The array as IDX: zero, zero, element type, number of axes, their lengths, then the elements, big-endian."""
    lengths = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, code, array.ndim]) + lengths + array.astype(array.dtype.newbyteorder(">")).tobytes()


samples = {
    "images-idx3-ubyte": idx(np.arange(24, dtype="u1").reshape(2, 3, 4), 0x08),
    "float-idx2": idx(np.arange(6, dtype="f4").reshape(3, 2) / 4, 0x0D),
    "double-idx2": idx(np.arange(4, dtype="f8").reshape(2, 2) - 1.5, 0x0E),
}
array = io.BytesIO()
np.save(array, np.arange(4, dtype="<f4").reshape(2, 2))
samples["images-idx3-ubyte.gz"] = gzip.compress(samples["images-idx3-ubyte"], mtime=0)
samples["float32.npy.gz"] = gzip.compress(array.getvalue(), mtime=0)
for name, content in samples.items():
    (FOLDER / "samples" / name).write_bytes(content)
