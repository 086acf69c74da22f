"""CKKS primitives of Microsoft SEAL 4.4, through the `seal-python` wheel.

The wheel's functions are thin: a call costs under 1 us more than in C++. Encoding takes a `VectorDouble`, which
is a C++ vector, so no conversion is timed. The evaluator works in place, on inputs copied outside the clock.
"""

import json

import numpy as np
import seal

from side_by_side.parameters import LOG_SCALE, PARAMETER_SETS, ParameterSet, report, row
from side_by_side.timing import measure

PRIME_BITS = 50


def measure_set(parameters: ParameterSet) -> list[dict]:
    """Every operation at the top level of one parameter set, with SEAL's single special prime."""
    encryption_parameters = seal.EncryptionParameters(seal.scheme_type.ckks)
    encryption_parameters.set_poly_modulus_degree(parameters.degree)
    encryption_parameters.set_coeff_modulus(
        seal.CoeffModulus.Create(parameters.degree, [PRIME_BITS] * (parameters.limbs + 1))
    )
    context = seal.SEALContext(encryption_parameters, True, seal.sec_level_type.tc128)
    if not context.parameters_set():
        raise RuntimeError(context.parameter_error_message())

    generator = seal.KeyGenerator(context)
    secret_key = generator.secret_key()
    relinearization_keys = generator.create_relin_keys()
    galois_keys = seal.GaloisKeys()
    generator.create_galois_keys([1], galois_keys)
    encoder = seal.CKKSEncoder(context)
    encryptor = seal.Encryptor(context, generator.create_public_key(), secret_key)
    decryptor = seal.Decryptor(context, secret_key)
    evaluator = seal.Evaluator(context)

    scale = 2.0**LOG_SCALE
    values = np.random.default_rng(1).uniform(-1, 1, parameters.degree // 2)
    vector = seal.VectorDouble(values)
    plaintext = encoder.encode(vector, scale)
    left, right = encryptor.encrypt(plaintext), encryptor.encrypt(plaintext)
    product = evaluator.multiply(left, right)
    relinearized = evaluator.relinearize(product, relinearization_keys)
    rescaled = evaluator.rescale_to_next(relinearized)
    error = np.abs(encoder.decode(decryptor.decrypt(rescaled)) - values**2).max()
    if error > 1e-3:
        raise RuntimeError(f"the product is wrong by {error}")

    new_plaintext, new_ciphertext = seal.Plaintext(), seal.Ciphertext()

    def relinearize_rescale(ciphertext: seal.Ciphertext) -> None:
        evaluator.relinearize_inplace(ciphertext, relinearization_keys)
        evaluator.rescale_to_next_inplace(ciphertext)

    def copy_left() -> seal.Ciphertext:
        return seal.Ciphertext(left)

    def copy_product() -> seal.Ciphertext:
        return seal.Ciphertext(product)

    timings = {
        "encode": measure(lambda _: encoder.encode(vector, scale, new_plaintext)),
        "encrypt_symmetric": measure(lambda _: encryptor.encrypt_symmetric(plaintext, new_ciphertext)),
        "encrypt": measure(lambda _: encryptor.encrypt(plaintext, new_ciphertext)),
        "add": measure(lambda ciphertext: evaluator.add_inplace(ciphertext, right), copy_left),
        "multiply_plain": measure(
            lambda ciphertext: evaluator.multiply_plain_inplace(ciphertext, plaintext), copy_left
        ),
        "multiply": measure(lambda ciphertext: evaluator.multiply_inplace(ciphertext, right), copy_left),
        "square": measure(evaluator.square_inplace, copy_left),
        "relinearize": measure(
            lambda ciphertext: evaluator.relinearize_inplace(ciphertext, relinearization_keys), copy_product
        ),
        "rescale": measure(evaluator.rescale_to_next_inplace, lambda: seal.Ciphertext(relinearized)),
        "relinearize_rescale": measure(relinearize_rescale, copy_product),
        "rotate": measure(lambda ciphertext: evaluator.rotate_vector_inplace(ciphertext, 1, galois_keys), copy_left),
        "decrypt": measure(lambda _: decryptor.decrypt(left, new_plaintext)),
        "decode": measure(lambda _: encoder.decode(plaintext)),
    }
    return [row(op, parameters, 1, PRIME_BITS, timing) for op, timing in timings.items()]


def main() -> None:
    ops = [result for parameters in PARAMETER_SETS for result in measure_set(parameters)]
    print(json.dumps(report("ckks", "SEAL", seal.__version__, ops=ops)))


if __name__ == "__main__":
    main()
