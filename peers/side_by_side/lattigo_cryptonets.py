"""CryptoNets on a batch with Lattigo, in the conjugate-invariant ring: one image in a slot, 8192 images.

The weights are rounded to `WEIGHT_BITS` fractional bits and multiply as integers, which is Lattigo's own scalar
product; the binding has no fused multiply-and-add. The client encrypts with the public key, as the binding offers
nothing else. The same modulus chain as the other sides: three 50-bit primes and a special one at degree 8192.
"""

import json
import resource
from time import perf_counter

import numpy as np

from side_by_side import network
from side_by_side.lattigo import VERSION, Lattigo, run_in_thread
from side_by_side.parameters import report

LOG_DEGREE = 13
LOG_SCALE = 30
WEIGHT_BITS = 10


def classify(model: network.Network) -> dict:
    """Encrypts, classifies and decrypts one batch; what `nightloom bench throughput` reports, as far as it applies."""
    start = perf_counter()
    scheme = Lattigo("conjugate-invariant", LOG_DEGREE, [50] * 3, [50], LOG_SCALE)
    keygen_s = perf_counter() - start
    library = scheme.library
    count = scheme.slots
    inputs, labels = network.images(count)

    start = perf_counter()
    pixels = []
    for column in inputs.T.astype(np.float32):
        plaintext = scheme.encode(np.ascontiguousarray(column))
        pixels.append(library.Encrypt(plaintext))
        library.DeletePlaintext(plaintext)
    encrypt_s = perf_counter() - start

    kernels = np.rint(model.kernels.reshape(len(model.kernels), -1) * 2**WEIGHT_BITS).astype(int).tolist()
    dense1 = np.rint(model.dense1 * 2**WEIGHT_BITS).astype(int).tolist()
    dense2 = np.rint(model.dense2 * 2**WEIGHT_BITS).astype(int).tolist()

    def weighted_sum(terms: list[tuple[int, int]], bias: float) -> int:
        total = None
        for weight, ciphertext in terms:
            if weight == 0:
                continue
            product = library.MulScalarIntNew(ciphertext, weight)
            if total is None:
                total = product
            else:
                library.AddCiphertext(total, product)
                library.DeleteCiphertext(product)
        if total is None:
            raise ValueError("every weight of a sum is zero")
        # To Lattigo the weights are integers; for us they have WEIGHT_BITS fractional bits.
        library.SetCiphertextScale(total, library.GetCiphertextScale(total) << WEIGHT_BITS)
        library.AddScalar(total, bias)
        return total

    def square(ciphertext: int) -> int:
        library.MulRelinCiphertext(ciphertext, ciphertext)
        library.Rescale(ciphertext)
        return ciphertext

    def dense(matrix: list[list[int]], bias: np.ndarray, values: list[int]) -> list[int]:
        return [
            weighted_sum(list(zip(row, values, strict=True)), float(constant))
            for row, constant in zip(matrix, bias, strict=True)
        ]

    start = perf_counter()
    windows = model.windows()
    hidden = [
        square(weighted_sum([(kernel[weight], pixels[pixel]) for weight, pixel in window], float(bias)))
        for kernel, bias in zip(kernels, model.kernel_bias, strict=True)
        for window in windows
    ]
    hidden = [square(value) for value in dense(dense1, model.bias1, hidden)]
    output = dense(dense2, model.bias2, hidden)
    evaluate_s = perf_counter() - start

    start = perf_counter()
    logits = np.stack([scheme.decode(library.Decrypt(value)) for value in output], axis=1)
    decrypt_s = perf_counter() - start
    return {
        "images": count,
        "keygen_s": keygen_s,
        "encrypt_s": encrypt_s,
        "evaluate_s": evaluate_s,
        "decrypt_s": decrypt_s,
        # getrusage counts KiB on Linux.
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **network.agreement(model, inputs, labels, logits),
    }


def main() -> None:
    result = classify(network.load("cryptonets"))
    job = {"network": "cryptonets", "degree": 1 << LOG_DEGREE, "security_bits": 128, **result}
    print(json.dumps(report("throughput", "Lattigo", VERSION, **job)))


if __name__ == "__main__":
    run_in_thread(main)
