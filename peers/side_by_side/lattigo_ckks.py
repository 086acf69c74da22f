"""CKKS primitives of Lattigo v6.2, in the standard and the conjugate-invariant ring.

The binding multiplies only with relinearisation (`multiply_relinearize`) and encrypts only with the public key. Its
encoder also widens the values from `float32`, which costs a few microseconds.
"""

import json

import numpy as np

from side_by_side.lattigo import VERSION, Lattigo, run_in_thread
from side_by_side.parameters import LOG_SCALE, PARAMETER_SETS, ParameterSet, report, row
from side_by_side.timing import measure

# As large as 128 bits of security allow, at most 50.
PRIME_BITS = {8192: 50, 16384: 47, 32768: 50}
SCALAR = 12_345


def measure_set(parameters: ParameterSet, ring: str) -> list[dict]:
    """Every operation at the top level of one parameter set."""
    prime_bits = PRIME_BITS[parameters.degree]
    scheme = Lattigo(
        ring,
        parameters.degree.bit_length() - 1,
        [prime_bits] * parameters.limbs,
        [prime_bits] * parameters.special,
        LOG_SCALE,
    )
    library = scheme.library
    values = np.random.default_rng(1).uniform(-1, 1, scheme.slots).astype(np.float32)
    plaintext = scheme.encode(values)
    left, right = library.Encrypt(plaintext), library.Encrypt(plaintext)
    product = library.MulRelinCiphertextNew(left, right)
    library.Rescale(product)
    error = np.abs(scheme.decode(library.Decrypt(product)) - values.astype(np.float64) ** 2).max()
    if error > 1e-3:
        raise RuntimeError(f"the product is wrong by {error}")
    library.DeleteCiphertext(product)

    working = scheme.copy(left)

    def multiply_plain(_: None) -> None:
        library.MulPlaintext(working, plaintext)
        library.SetCiphertextScale(working, scheme.scale)

    def multiply_relinearize(_: None) -> None:
        library.MulRelinCiphertext(working, right)
        library.SetCiphertextScale(working, scheme.scale)

    def rescale(ciphertext: int) -> None:
        library.Rescale(ciphertext)
        library.DeleteCiphertext(ciphertext)

    timings = {
        "encode": measure(lambda _: library.DeletePlaintext(scheme.encode(values))),
        "encrypt": measure(lambda _: library.DeleteCiphertext(library.Encrypt(plaintext))),
        "add": measure(lambda _: library.AddCiphertext(working, right)),
        "multiply_scalar": measure(lambda _: library.MulScalarInt(working, SCALAR)),
        "multiply_plain": measure(multiply_plain),
        "multiply_relinearize": measure(multiply_relinearize),
        "rescale": measure(rescale, lambda: scheme.copy(left)),
        "rotate": measure(lambda _: library.Rotate(working, 1)),
        "decrypt": measure(lambda _: library.DeletePlaintext(library.Decrypt(left))),
        "decode": measure(lambda _: library.FreeCArray(library.Decode(plaintext).pointer)),
    }
    scheme.close()
    return [row(op, parameters, parameters.special, prime_bits, timing) for op, timing in timings.items()]


def main() -> None:
    def ops(ring: str) -> list[dict]:
        return [result for parameters in PARAMETER_SETS for result in measure_set(parameters, ring)]

    lists = {"ops": ops("standard"), "ops_conjugate_invariant": ops("conjugate-invariant")}
    print(json.dumps(report("ckks", "Lattigo", VERSION, **lists)))


if __name__ == "__main__":
    run_in_thread(main)
