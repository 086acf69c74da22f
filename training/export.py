"""From a trained network to the files that are kept: ONNX and reference logits."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

OPSET = 13

# Layers with more weights than this are stored in eight bits a weight.
LARGE = 1 << 18
LEVELS = 127


@torch.no_grad()
def round_large(network: nn.Module) -> None:
    """Rounds the weights of large layers to what eight bits hold: whole multiples of a step, one step an output."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.weight.numel() > LARGE:
            step = layer.weight.flatten(1).abs().amax(dim=1) / LEVELS
            step = step.reshape(-1, *[1] * (layer.weight.dim() - 1))
            layer.weight.copy_((layer.weight / step).round() * step)


def write_onnx(network: nn.Module, path: Path) -> None:
    """Writes `network` as ONNX: input `input` [N, 1, 28, 28] float32, output `logits` [N, 10] float32."""
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 1, 28, 28),),
        path,
        dynamo=False,
        opset_version=OPSET,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
    )
    model = onnx.load(path)
    store_large_in_bytes(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def store_large_in_bytes(model: onnx.ModelProto) -> None:
    """Replaces large initializers, rounded by `round_large`, by bytes, steps and the DequantizeLinear of both."""
    graph = model.graph
    for tensor in [tensor for tensor in graph.initializer if np.prod(tensor.dims) > LARGE]:
        weights = numpy_helper.to_array(tensor)
        step = np.abs(weights).reshape(len(weights), -1).max(axis=1) / np.float32(LEVELS)
        levels = np.rint(weights / step.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)
        graph.initializer.remove(tensor)
        operands = [f"{tensor.name}.levels", f"{tensor.name}.step"]
        graph.initializer.extend(map(numpy_helper.from_array, [levels, step], operands))
        graph.node.insert(0, helper.make_node("DequantizeLinear", operands, [tensor.name], name=f"/{tensor.name}", axis=0))


def write_reference(model: Path, images: Tensor, path: Path) -> np.ndarray:
    """Writes ONNX Runtime's logits of `model` on `images` as the array `logits` in an npz file; returns them."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    batches = [session.run(["logits"], {"input": batch.numpy()})[0] for batch in images.split(1000)]
    logits = np.concatenate(batches)
    np.savez_compressed(path, logits=logits)
    return logits


def check_agreement(network: nn.Module, images: Tensor, logits: np.ndarray) -> float:
    """Largest difference between `logits` and those that `network` computes in double precision.

    Raises `ArithmeticError` where it passes 1e-5 of the largest logit, which single precision cannot explain.
    """
    with torch.no_grad():
        network.double()
        wanted = np.concatenate([network(batch.double()).numpy() for batch in images.split(1000)])
    network.float()
    difference = float(np.abs(logits - wanted).max())
    if difference > 1e-5 * float(np.abs(wanted).max()):
        raise ArithmeticError(f"ONNX Runtime differs from the trained network by {difference}")
    return difference
