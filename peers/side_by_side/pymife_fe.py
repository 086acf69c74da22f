"""pymife's DDH scheme (Abdalla et al., PKC 2015) on the job of `nightloom bench fe`: inner products of 25 values.

Three times: in the group that pymife takes by default, integers modulo a 1024-bit prime (about 80 bits of security); modulo the
3072-bit prime of RFC 3526 (about 128 bits, as Nightloom's group); and on its Curve25519, which is the curve under Nightloom's group.
"""

import json
import random
from importlib.metadata import version

import gmpy2
from mife.data.curve25519 import Curve25519
from mife.data.group import GroupBase
from mife.data.zmod import Zmod
from mife.single.selective.ddh import FeDDH

from side_by_side.parameters import report
from side_by_side.timing import measure

DIMENSION = 25
DATA_BOUND = 255
WEIGHT_BITS = 8


def rfc3526_group_15() -> Zmod:
    """Integers modulo 2^3072 - 2^3008 - 1 + 2^64 (floor(2^2942 pi) + 1690314) (RFC 3526, section 4)."""
    with gmpy2.context(precision=3200):
        digits = int(gmpy2.floor(gmpy2.mul_2exp(gmpy2.const_pi(), 2942)))
    # Zmod refuses what is no prime.
    return Zmod(2**3072 - 2**3008 - 1 + 2**64 * (digits + 1690314))


def rows(name: str, group: GroupBase | None) -> list[dict]:
    """One key and one vector at a time: pymife has no batches."""
    weight_bound = 2 ** (WEIGHT_BITS - 1) - 1
    bound = DIMENSION * DATA_BOUND * weight_bound
    data = [random.randint(-DATA_BOUND, DATA_BOUND) for _ in range(DIMENSION)]
    weights = [random.randint(-weight_bound, weight_bound) for _ in range(DIMENSION)]
    master = FeDDH.generate(DIMENSION, group)
    public = master.get_public_key()
    ciphertext = FeDDH.encrypt(data, public)
    key = FeDDH.keygen(weights, master)

    def decrypt(_: None) -> int:
        return FeDDH.decrypt(ciphertext, public, key, (-bound, bound))

    found, expected = decrypt(None), sum(x * y for x, y in zip(data, weights, strict=True))
    if found != expected:
        raise SystemExit(f"pymife opened {found} instead of {expected}")
    operations = {
        "derive": lambda _: FeDDH.keygen(weights, master),
        "encrypt": lambda _: FeDDH.encrypt(data, public),
        "decrypt": decrypt,
    }
    return [row(name, op, measure(operation)) for op, operation in operations.items()]


def row(group: str, op: str, timing: dict) -> dict:
    """One row of `ops`, as in `nightloom bench fe --json`, and the group."""
    job = {"scheme": "ddh", "group": group, "op": op, "dim": DIMENSION, "weight_bits": WEIGHT_BITS}
    times = {"us": timing["ms"] * 1e3, "min_us": timing["min_ms"] * 1e3, "runs": timing["runs"]}
    return {**job, "keys": 1, "samples": 1, **times}


def main() -> None:
    ops = rows("1024-bit prime", None) + rows("3072-bit prime", rfc3526_group_15()) + rows("Curve25519", Curve25519())
    print(json.dumps(report("fe", "pymife", version("pymife"), ops=ops)))


if __name__ == "__main__":
    main()
