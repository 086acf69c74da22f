"""CKKS primitives of OpenFHE 1.6, through its own `openfhe` wheel.

Encoding takes a numpy array, which the wheel reads without conversion. OpenFHE's decryption includes the
decoding, so it is reported as `decrypt_decode`. Operations that OpenFHE offers in place are timed in place.
"""

import json
from importlib.metadata import version

import numpy as np
import openfhe

from side_by_side.parameters import PARAMETER_SETS, ParameterSet, report, row
from side_by_side.timing import measure

# OpenFHE builds P from 60-bit primes: the chain is as large as that leaves under its own 128-bit limit.
PRIME_BITS = {8192: 50, 16384: 45, 32768: 45}
# A float, as OpenFHE's scalar product takes it; multiplied as an integer, by its rounded multiple.
SCALAR = 0.7


def measure_set(parameters: ParameterSet) -> list[dict]:
    """Every operation at the top level of one parameter set, with hybrid key switching."""
    prime_bits = PRIME_BITS[parameters.degree]
    # A digit of as many primes as P has.
    digits = -(-parameters.limbs // parameters.special)
    spec = openfhe.CCParamsCKKSRNS()
    spec.SetRingDim(parameters.degree)
    spec.SetBatchSize(parameters.degree // 2)
    spec.SetMultiplicativeDepth(parameters.limbs - 1)
    spec.SetFirstModSize(prime_bits)
    spec.SetScalingModSize(prime_bits)
    spec.SetScalingTechnique(openfhe.ScalingTechnique.FIXEDMANUAL)
    spec.SetKeySwitchTechnique(openfhe.KeySwitchTechnique.HYBRID)
    spec.SetNumLargeDigits(digits)
    spec.SetSecurityLevel(openfhe.SecurityLevel.HEStd_128_classic)
    context = openfhe.GenCryptoContext(spec)
    for feature in ("PKE", "KEYSWITCH", "LEVELEDSHE"):
        context.Enable(getattr(openfhe.PKESchemeFeature, feature))
    keys = context.KeyGen()
    context.EvalMultKeyGen(keys.secretKey)
    context.EvalRotateKeyGen(keys.secretKey, [1])

    values = np.random.default_rng(1).uniform(-1, 1, parameters.degree // 2)
    plaintext = context.MakeCKKSPackedPlaintext(values)
    left = context.Encrypt(keys.publicKey, plaintext)
    right = context.Encrypt(keys.publicKey, plaintext)
    product = context.EvalMultNoRelin(left, right)
    relinearized = context.Relinearize(product)
    decrypted = context.Decrypt(keys.secretKey, context.Rescale(relinearized))
    error = np.abs(np.array(decrypted.GetRealPackedValue()[: len(values)]) - values**2).max()
    if error > 1e-3:
        raise RuntimeError(f"the product is wrong by {error}")

    timings = {
        "encode": measure(lambda _: context.MakeCKKSPackedPlaintext(values)),
        "encrypt_symmetric": measure(lambda _: context.Encrypt(keys.secretKey, plaintext)),
        "encrypt": measure(lambda _: context.Encrypt(keys.publicKey, plaintext)),
        "add": measure(lambda ciphertext: context.EvalAddInPlace(ciphertext, right), left.Clone),
        "multiply_scalar": measure(lambda _: context.EvalMult(left, SCALAR)),
        "multiply_plain": measure(lambda _: context.EvalMult(left, plaintext)),
        "multiply": measure(lambda _: context.EvalMultNoRelin(left, right)),
        "relinearize": measure(context.RelinearizeInPlace, product.Clone),
        "rescale": measure(context.RescaleInPlace, relinearized.Clone),
        "relinearize_rescale": measure(lambda _: context.Rescale(context.Relinearize(product))),
        "rotate": measure(lambda _: context.EvalRotate(left, 1)),
        "decrypt_decode": measure(lambda _: context.Decrypt(keys.secretKey, left)),
    }
    openfhe.ClearEvalMultKeys()
    special = -(-prime_bits * -(-parameters.limbs // digits) // 60)
    return [row(op, parameters, special, prime_bits, timing) for op, timing in timings.items()]


def main() -> None:
    ops = [result for parameters in PARAMETER_SETS for result in measure_set(parameters)]
    print(json.dumps(report("ckks", "OpenFHE", version("openfhe"), ops=ops)))


if __name__ == "__main__":
    main()
