"""CryptoNets on a batch with SEAL's public functions, through the `seal-python` wheel: one image in a slot.

SEAL multiplies by a scalar through a plaintext polynomial. The weights are rounded to `WEIGHT_BITS` fractional bits,
and the plaintext of every distinct weight is made once, before the clock of the evaluation starts.

Degree 8192, three 50-bit primes and a special one: 4096 images. A square ends with a rescaling by one prime and, at
the lower level, where it is cheaper, a relinearisation.
"""

import json
import resource
from time import perf_counter

import numpy as np
import seal

from side_by_side import network
from side_by_side.parameters import report

DEGREE = 8192
PRIME_BITS = [50] * 4
LOG_SCALE = 30
WEIGHT_BITS = 10


class Weights:
    """Plaintexts of the distinct rounded weights, at one level."""

    def __init__(self, encoder: seal.CKKSEncoder, evaluator: seal.Evaluator, parms_id: list[int]):
        self.encoder, self.evaluator, self.parms_id = encoder, evaluator, parms_id
        self.plaintexts: dict[int, seal.Plaintext] = {}

    def encode(self, value: float, scale: float) -> seal.Plaintext:
        """`value` in every slot, at this level."""
        plaintext = self.encoder.encode(value, scale)
        self.evaluator.mod_switch_to_inplace(plaintext, self.parms_id)
        return plaintext

    def prepare(self, matrix: np.ndarray) -> np.ndarray:
        """The matrix of rounded weights; their plaintexts are kept."""
        rounded = np.rint(matrix * 2**WEIGHT_BITS).astype(int)
        for weight in np.unique(rounded):
            # A product with zero is left out: SEAL refuses it, and it costs nothing.
            if weight != 0 and weight not in self.plaintexts:
                self.plaintexts[int(weight)] = self.encode(weight / 2**WEIGHT_BITS, 2.0**WEIGHT_BITS)
        return rounded

    def weighted_sum(self, terms: list[tuple[int, seal.Ciphertext]], bias: float) -> seal.Ciphertext:
        """The sum of weight times ciphertext, plus `bias`."""
        total = None
        for weight, ciphertext in terms:
            if weight == 0:
                continue
            product = self.evaluator.multiply_plain(ciphertext, self.plaintexts[weight])
            if total is None:
                total = product
            else:
                self.evaluator.add_inplace(total, product)
        if total is None:
            raise ValueError("every weight of a sum is zero")
        self.evaluator.add_plain_inplace(total, self.encode(bias, total.scale()))
        return total


def classify(model: network.Network) -> dict:
    """Encrypts, classifies and decrypts one batch; what `nightloom bench throughput` reports, as far as it applies."""
    count = DEGREE // 2
    inputs, labels = network.images(count)
    start = perf_counter()
    encryption_parameters = seal.EncryptionParameters(seal.scheme_type.ckks)
    encryption_parameters.set_poly_modulus_degree(DEGREE)
    encryption_parameters.set_coeff_modulus(seal.CoeffModulus.Create(DEGREE, PRIME_BITS))
    context = seal.SEALContext(encryption_parameters, True, seal.sec_level_type.tc128)
    generator = seal.KeyGenerator(context)
    secret_key = generator.secret_key()
    relinearization_keys = generator.create_relin_keys()
    keygen_s = perf_counter() - start
    encoder, evaluator = seal.CKKSEncoder(context), seal.Evaluator(context)
    encryptor = seal.Encryptor(context, secret_key)
    decryptor = seal.Decryptor(context, secret_key)

    start = perf_counter()
    pixels = [
        encryptor.encrypt_symmetric(encoder.encode(seal.VectorDouble(column), 2.0**LOG_SCALE)) for column in inputs.T
    ]
    encrypt_s = perf_counter() - start

    start = perf_counter()
    data = context.first_context_data()
    levels = []
    while data is not None:
        levels.append(Weights(encoder, evaluator, data.parms_id()))
        data = data.next_context_data()
    kernels = levels[0].prepare(model.kernels.reshape(len(model.kernels), -1))
    dense1, dense2 = levels[1].prepare(model.dense1), levels[2].prepare(model.dense2)
    weights_s = perf_counter() - start

    def square(ciphertext: seal.Ciphertext) -> seal.Ciphertext:
        evaluator.square_inplace(ciphertext)
        evaluator.rescale_to_next_inplace(ciphertext)
        evaluator.relinearize_inplace(ciphertext, relinearization_keys)
        return ciphertext

    def dense(
        weights: Weights, matrix: np.ndarray, bias: np.ndarray, values: list[seal.Ciphertext]
    ) -> list[seal.Ciphertext]:
        return [
            weights.weighted_sum(list(zip(row, values, strict=True)), float(constant))
            for row, constant in zip(matrix.tolist(), bias, strict=True)
        ]

    start = perf_counter()
    windows = model.windows()
    hidden = [
        square(levels[0].weighted_sum([(int(kernel[weight]), pixels[pixel]) for weight, pixel in window], float(bias)))
        for kernel, bias in zip(kernels, model.kernel_bias, strict=True)
        for window in windows
    ]
    hidden = [square(value) for value in dense(levels[1], dense1, model.bias1, hidden)]
    output = dense(levels[2], dense2, model.bias2, hidden)
    evaluate_s = perf_counter() - start

    start = perf_counter()
    logits = np.stack([encoder.decode(decryptor.decrypt(value)) for value in output], axis=1)
    decrypt_s = perf_counter() - start
    return {
        "images": count,
        "keygen_s": keygen_s,
        "encrypt_s": encrypt_s,
        "weights_s": weights_s,
        "evaluate_s": evaluate_s,
        "decrypt_s": decrypt_s,
        # getrusage counts KiB on Linux.
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        **network.agreement(model, inputs, labels, logits),
    }


def main() -> None:
    result = classify(network.load("cryptonets"))
    job = {"network": "cryptonets", "degree": DEGREE, "security_bits": 128, **result}
    print(json.dumps(report("throughput", "SEAL", seal.__version__, **job)))


if __name__ == "__main__":
    main()
