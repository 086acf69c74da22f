"""TenSEAL's fourth tutorial: convolution 4@7x7/3, square, dense 64, square, dense 10, in TenSEAL's own two ways.

Without `--batch` it is the tutorial: one image in one ciphertext, its windows laid out by the client, at degree 8192
and with the tutorial's number of primes. With `--batch` the slots hold 4096 images, as TenSEAL's `CKKSTensor` does it.
"""

import argparse
import json
import resource
from importlib.metadata import version
from time import perf_counter

import numpy as np
import tenseal

from side_by_side import network
from side_by_side.parameters import MAX_LOG_QP, report
from side_by_side.timing import requests

LOG_DEGREE = 13
DEGREE = 1 << LOG_DEGREE
# 214 bits. The tutorial's own primes, 31, six times 26, 31, with a scale of 2^26, are 218 bits, take the same time, and
# leave too little room for this network: from about 36 on, logits wrap around.
PRIME_BITS = [32] + [25] * 6 + [32]
LOG_SCALE = 25
# Single images that are timed.
RUNS = 5


def context() -> tenseal.Context:
    """The secret context, on one thread."""
    if sum(PRIME_BITS) > MAX_LOG_QP[LOG_DEGREE]:
        raise RuntimeError(f"{sum(PRIME_BITS)} bits at degree {DEGREE} are less than 128 bits of security")
    result = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=PRIME_BITS, n_threads=1)
    result.global_scale = 2**LOG_SCALE
    return result


def single(model: network.Network) -> dict:
    """Single images, as in the tutorial; what `nightloom bench latency` reports, as far as it applies."""
    inputs, _ = network.images(1 + RUNS)
    start = perf_counter()
    keys = context()
    keys.generate_galois_keys()
    setup_s = perf_counter() - start

    kernels = [kernel[0].tolist() for kernel in model.kernels]
    # TenSEAL multiplies a row vector from the left: matrices are `[inputs, outputs]`.
    dense1, dense2 = model.dense1.T.tolist(), model.dense2.T.tolist()
    bias1, bias2 = model.bias1.tolist(), model.bias2.tolist()
    size = model.kernels.shape[-1]

    def encrypt(image: list[list[float]]) -> tuple[tenseal.CKKSVector, int]:
        return tenseal.im2col_encoding(keys, image, size, size, model.stride)

    def evaluate(request: tuple[tenseal.CKKSVector, int]) -> tenseal.CKKSVector:
        image, windows = request
        channels = [
            image.conv2d_im2col(kernel, windows) + float(bias)
            for kernel, bias in zip(kernels, model.kernel_bias, strict=True)
        ]
        hidden = tenseal.CKKSVector.pack_vectors(channels)
        hidden.square_()
        hidden = hidden.mm(dense1) + bias1
        hidden.square_()
        return hidden.mm(dense2) + bias2

    squares = inputs.reshape(-1, network.SIDE, network.SIDE).tolist()
    done = requests(squares, encrypt, evaluate, tenseal.CKKSVector.decrypt)
    # getrusage counts KiB on Linux; the keys' bytes below are a second copy.
    peak_rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    evaluation_keys = keys.serialize(
        save_public_key=False, save_secret_key=False, save_galois_keys=True, save_relin_keys=True
    )
    return {
        "images": 1,
        "log_qp": sum(PRIME_BITS),
        "key_bytes": len(evaluation_keys),
        "request_bytes": len(done.request[0].serialize()),
        "response_bytes": len(done.response.serialize()),
        "setup_s": setup_s,
        **done.times,
        "max_error": network.max_error(model.name, model.evaluate(inputs), np.array(done.results)),
        "peak_rss_bytes": peak_rss_bytes,
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
    suite, result = ("throughput", batch(model)) if arguments.batch else ("latency", single(model))
    job = {"network": "e2dm", "degree": DEGREE, "security_bits": 128, **result}
    print(json.dumps(report(suite, "TenSEAL", version("tenseal"), **job)))


if __name__ == "__main__":
    main()
