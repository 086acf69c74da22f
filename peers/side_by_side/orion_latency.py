"""Single images with Orion (Ebel, Garimella, Reagen, ASPLOS 2025), compiled from the weights that Nightloom ships.

The networks are put together from Orion's own layers, and Orion packs, places levels and makes keys by itself. The
binding cannot write ciphertexts, so requests and responses have no size; its keys can be written.
"""

import argparse
import contextlib
import json
import math
import resource
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np
import orion
import orion.nn as on
import torch
from orion.backend.python.tensors import CipherTensor
from orion.core.orion import Scheme

from side_by_side import network, onnx_file
from side_by_side.lattigo import run_in_thread
from side_by_side.parameters import MAX_LOG_QP, report
from side_by_side.timing import requests

# Single images that are timed.
RUNS = 5


@dataclass(frozen=True)
class Parameters:
    """Orion's configuration of a network; the ring is the conjugate-invariant one."""

    log_degree: int
    # The first prime, and one for each level.
    first_bits: int
    level_bits: int
    special_bits: tuple[int, ...]


# As in `lola.yaml`, `mlp.yaml` and `lenet.yaml` of Orion's repository, but for the special primes of the small
# networks. There they are two of 29 bits: 217 bits in all, where 128 bits of security allow 214.
SMALL = Parameters(log_degree=13, first_bits=29, level_bits=26, special_bits=(28, 27))
LENET = Parameters(log_degree=14, first_bits=45, level_bits=35, special_bits=(45, 45))


# In the clear, or encrypted: every module of Orion takes both.
Values = torch.Tensor | CipherTensor


class Chain(on.Module):
    """Orion's layers, one after another, with the weights of an ONNX model."""

    def __init__(self, layers: list[onnx_file.Layer]):
        super().__init__()
        self.steps = torch.nn.ModuleList(map(module, layers))

    def forward(self, values: Values) -> Values:
        for step in self.steps:
            values = step(values)
        return values


def module(layer: onnx_file.Layer) -> on.Module:
    """Orion's counterpart of a layer."""
    shape = layer.weights["weight"].shape if layer.weights else ()
    match layer.kind:
        case "convolution":
            outputs, inputs, size, _ = shape
            result = on.Conv2d(inputs, outputs, size, stride=layer.stride, padding=layer.padding)
        case "dense":
            outputs, inputs = shape
            result = on.Linear(inputs, outputs)
        case "normalisation":
            # All that come here follow a dense layer; those of convolutions are merged in the file.
            result = on.BatchNorm1d(*shape, eps=layer.epsilon)
        case "square":
            result = on.Quad()
        case "flatten":
            result = on.Flatten()
        case _:
            raise ValueError(f"Orion has no {layer.kind}")
    state = {name: torch.tensor(values, dtype=torch.float32) for name, values in layer.weights.items()}
    result.load_state_dict({**result.state_dict(), **state})
    return result


def configuration(parameters: Parameters, levels: int) -> dict:
    """What Orion reads from a file otherwise.

    The secret is ternary and two thirds of it are not zero, as the security table wants it. Orion's own configurations
    have none that are zero in the small networks, and all but 192 in LeNet; the time is the same.
    """
    return {
        "ckks_params": {
            "LogN": parameters.log_degree,
            "LogQ": [parameters.first_bits] + [parameters.level_bits] * levels,
            "LogP": list(parameters.special_bits),
            "LogScale": parameters.level_bits,
            "H": 2 * (1 << parameters.log_degree) // 3,
            "RingType": "ConjugateInvariant",
        },
        # With `debug`, Orion decrypts between the layers.
        "orion": {"margin": 2, "embedding_method": "hybrid", "backend": "lattigo", "debug": False, "io_mode": "none"},
    }


def log_qp(scheme: Scheme, parameters: Parameters) -> float:
    """`log2` of all primes. Those of P are the nearest to powers of two, and the binding does not tell them."""
    bits = sum(math.log2(prime) for prime in scheme.encoder.get_moduli_chain()) + sum(parameters.special_bits)
    if bits > MAX_LOG_QP[parameters.log_degree]:
        raise RuntimeError(f"{bits:.1f} bits at degree 2^{parameters.log_degree} are less than 128 bits of security")
    return bits


def evaluation_keys(scheme: Scheme, log_degree: int) -> tuple[int, int]:
    """How many rotations have a key, and the bytes of all evaluation keys as Lattigo writes them.

    Every key is at the top level. Orion makes those of its matrices, those of all powers of two, and one to
    relinearise, which is as large.
    """
    # In the conjugate-invariant ring, a rotation by k is the automorphism of 5^k modulo 4 N.
    powers_of_two = {pow(5, 1 << bit, 4 << log_degree) for bit in range(log_degree)}
    elements = powers_of_two | scheme.lt_evaluator.saved_rotation_keys
    key, pointer = scheme.backend.GenerateAndSerializeRotationKey(min(elements))
    size = len(key)
    scheme.backend.FreeCArray(pointer)
    return len(elements), size * (len(elements) + 1)


def measure(name: str) -> dict:
    """Single images through one network; what `nightloom bench latency` reports, as far as it applies."""
    path = network.model_file(name)
    layers = onnx_file.layers(path.read_bytes())
    parameters = LENET if name == "lenet" else SMALL
    inputs, _ = network.images(1 + RUNS)
    images = torch.tensor(inputs, dtype=torch.float32).reshape(-1, 1, network.SIDE, network.SIDE)
    chain = Chain(layers)
    chain.eval()
    clear = network.reference(name)[: len(images)]
    with torch.no_grad():
        if np.abs(chain(images).numpy() - clear).max() > 1e-4 * np.abs(clear).max():
            raise RuntimeError(f"{name}: in the clear, Orion's layers compute something else than {path.name}")

    start = perf_counter()
    levels = sum(layer.kind in ("convolution", "dense", "square") for layer in layers)
    scheme = orion.init_scheme(configuration(parameters, levels))
    orion.fit(chain, images[:1])
    input_level = orion.compile(chain)
    setup_s = perf_counter() - start
    chain.he()

    done = requests(
        [images[image : image + 1] for image in range(len(images))],
        lambda image: orion.encrypt(orion.encode(image, input_level)),
        chain,
        lambda response: response.decrypt().decode().numpy().ravel(),
    )
    # getrusage counts KiB on Linux.
    peak_rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rotations, key_bytes = evaluation_keys(scheme, parameters.log_degree)
    return {
        "images": 1,
        "degree": 1 << parameters.log_degree,
        "log_qp": log_qp(scheme, parameters),
        "security_bits": 128,
        "rotations": rotations,
        "key_bytes": key_bytes,
        "setup_s": setup_s,
        **done.times,
        "max_error": network.max_error(name, clear, np.array(done.results)),
        "peak_rss_bytes": peak_rss_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network")
    name = parser.parse_args().network
    torch.set_num_threads(1)
    # Orion tells its progress on standard output.
    with contextlib.redirect_stdout(sys.stderr):
        result = measure(name)
    print(json.dumps(report("latency", "Orion", version("orion-fhe"), network=name, **result)))


if __name__ == "__main__":
    run_in_thread(main)
