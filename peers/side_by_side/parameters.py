"""What is secure, and the parameter sets of the CKKS suite, all at 128 bits of security or more.

`limbs` counts the primes of the ciphertext modulus Q, `special` those of the key-switching modulus P. Every
library gets the same degree and the same number of limbs in Q. P is what the library supports that is nearest
to Nightloom's: SEAL has one special prime and no choice. Prime sizes differ by a few bits where the library's own
rule for P would otherwise exceed the 128-bit limit on log2(QP); 64-bit arithmetic takes the same time for all of
them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ParameterSet:
    """Degree, primes in Q and primes in P of one row of the suite."""

    degree: int
    limbs: int
    special: int


PARAMETER_SETS = (
    ParameterSet(degree=8192, limbs=3, special=1),
    ParameterSet(degree=16384, limbs=7, special=2),
    ParameterSet(degree=32768, limbs=14, special=3),
)

# Largest log2(QP) at 128 bits of security, by log2 of the degree: the table that Nightloom holds itself to
# (crates/he/src/security.rs), for both rings.
MAX_LOG_QP = {12: 106, 13: 214, 14: 430, 15: 868, 16: 1747}

# The scale of every plaintext in the suite. It has no influence on the time.
LOG_SCALE = 40


def row(op: str, parameters: ParameterSet, special: int, prime_bits: int, timing: dict) -> dict:
    """One row of `ops`, as in `nightloom bench ckks --json`; `special` is what the library really has."""
    return {
        "degree": parameters.degree,
        "limbs": parameters.limbs,
        "special": special,
        "prime_bits": prime_bits,
        "op": op,
        **timing,
    }


def report(suite: str, library: str, version: str, **content: object) -> dict:
    """The one JSON object that a peer's process prints: that of `nightloom bench --json`, and the library's name."""
    return {"suite": suite, "library": library, "version": version, "threads": 1, **content}
