"""From a trained network to the files that are kept: ONNX and reference logits."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

OPSET = 13


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
    onnx.checker.check_model(onnx.load(path), full_check=True)


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
