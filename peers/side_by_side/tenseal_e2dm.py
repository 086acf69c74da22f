"""TenSEAL's fourth tutorial: convolution 4@7x7/3, square, dense 64, square, dense 10, in TenSEAL's own two ways.

Without `--batch` it is the tutorial: one image in one ciphertext, its windows laid out by the client, at degree 8192
with the tutorial's primes (218 bits). With `--batch` the slots hold 4096 images, as TenSEAL's `CKKSTensor` does it.
"""

import argparse
import json
import statistics
from importlib.metadata import version
from time import perf_counter

import numpy as np
import tenseal

from side_by_side import network
from side_by_side.parameters import report

DEGREE = 8192
PRIME_BITS = [31] + [26] * 6 + [31]
LOG_SCALE = 26
SINGLE_RUNS = 3


def context() -> tenseal.Context:
    """The tutorial's context, on one thread."""
    result = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=PRIME_BITS, n_threads=1)
    result.global_scale = 2**LOG_SCALE
    return result


def single(model: network.Network) -> dict:
    """One image, as in the tutorial; the median of `SINGLE_RUNS` evaluations."""
    inputs, labels = network.images(1)
    start = perf_counter()
    keys = context()
    keys.generate_galois_keys()
    keygen_s = perf_counter() - start

    kernels = [kernel[0].tolist() for kernel in model.kernels]
    # TenSEAL multiplies a row vector from the left: matrices are `[inputs, outputs]`.
    dense1, dense2 = model.dense1.T.tolist(), model.dense2.T.tolist()
    bias1, bias2 = model.bias1.tolist(), model.bias2.tolist()
    size = model.kernels.shape[-1]

    start = perf_counter()
    image, windows = tenseal.im2col_encoding(
        keys, inputs[0].reshape(network.SIDE, network.SIDE).tolist(), size, size, model.stride
    )
    encrypt_s = perf_counter() - start

    def evaluate() -> tenseal.CKKSVector:
        channels = [
            image.conv2d_im2col(kernel, windows) + float(bias)
            for kernel, bias in zip(kernels, model.kernel_bias, strict=True)
        ]
        hidden = tenseal.CKKSVector.pack_vectors(channels)
        hidden.square_()
        hidden = hidden.mm(dense1) + bias1
        hidden.square_()
        return hidden.mm(dense2) + bias2

    times = []
    for _ in range(SINGLE_RUNS):
        start = perf_counter()
        output = evaluate()
        times.append(perf_counter() - start)
    start = perf_counter()
    logits = np.array(output.decrypt())
    decrypt_s = perf_counter() - start
    evaluation_keys = keys.serialize(
        save_public_key=False, save_secret_key=False, save_galois_keys=True, save_relin_keys=True
    )
    return {
        "images": 1,
        "keygen_s": keygen_s,
        "encrypt_s": encrypt_s,
        "evaluate_s": statistics.median(times),
        "decrypt_s": decrypt_s,
        "request_bytes": len(image.serialize()),
        "response_bytes": len(output.serialize()),
        "evaluation_key_bytes": len(evaluation_keys),
        **network.agreement(model, inputs, labels, logits[None]),
    }


def batch(model: network.Network) -> dict:
    """As many images as there are slots; the client lays the windows out, so that the convolution is a product."""
    count = DEGREE // 2
    inputs, labels = network.images(count)
    start = perf_counter()
    keys = context()
    keygen_s = perf_counter() - start

    windows = np.array([[pixel for _, pixel in window] for window in model.windows()])

    # The conversions from numpy are the binding's cost, not encryption's, and stay outside the clocks.
    def matrix(values: np.ndarray) -> tenseal.PlainTensor:
        return tenseal.plain_tensor(values.ravel().tolist(), list(values.shape))

    columns = matrix(inputs[:, windows])
    start = perf_counter()
    tensor = tenseal.ckks_tensor(keys, columns, batch=True)
    encrypt_s = perf_counter() - start

    positions, channels = len(windows), len(model.kernels)
    # The tensor flattens position first, the network channel first.
    dense1 = model.dense1.reshape(-1, channels, positions).transpose(2, 1, 0).reshape(positions * channels, -1)
    kernels = matrix(model.kernels.reshape(channels, -1).T)
    kernel_bias = matrix(model.kernel_bias[None].repeat(positions, 0))
    weights1, bias1 = matrix(dense1), matrix(model.bias1[None])
    weights2, bias2 = matrix(model.dense2.T), matrix(model.bias2[None])

    start = perf_counter()
    hidden = tensor.mm(kernels) + kernel_bias
    hidden.square_()
    hidden = hidden.reshape([1, positions * channels])
    hidden = hidden.mm(weights1) + bias1
    hidden.square_()
    output = hidden.mm(weights2) + bias2
    evaluate_s = perf_counter() - start
    start = perf_counter()
    logits = np.array(output.decrypt().tolist()).reshape(count, 10)
    decrypt_s = perf_counter() - start
    return {
        "images": count,
        "keygen_s": keygen_s,
        "encrypt_s": encrypt_s,
        "evaluate_s": evaluate_s,
        "decrypt_s": decrypt_s,
        **network.agreement(model, inputs, labels, logits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", action="store_true")
    arguments = parser.parse_args()
    model = network.load("e2dm")
    result = batch(model) if arguments.batch else single(model)
    job = {"network": "e2dm", "degree": DEGREE, "security_bits": 128, **result}
    print(json.dumps(report("throughput", "TenSEAL", version("tenseal"), **job)))


if __name__ == "__main__":
    main()
