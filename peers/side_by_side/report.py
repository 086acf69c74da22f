"""From the sides' JSON objects to ratios and tables. Pure: no clock, no process, no file.

A ratio is a peer's time divided by Nightloom's: 2 means that Nightloom takes half the time. It is formed within one
round, in which the sides ran one after another, so that what slows the machine for a while slows both; reported are
the median over the rounds and its range.
"""

import statistics
from dataclasses import asdict, dataclass

OURS = "Nightloom"


@dataclass(frozen=True)
class Ratio:
    """One peer against Nightloom in one row. Times are medians over the rounds, in the unit of the suite."""

    peer: str
    time: float
    ratio: float | None
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class Row:
    """One operation: what it is, Nightloom's time (if it has it), and the peers'."""

    suite: str
    operation: str
    parameters: str
    ours: float | None
    peers: tuple[Ratio, ...]

    def to_json(self) -> dict:
        return asdict(self)


# Operations that some library offers only as one, or divides elsewhere: for the others, the sum of the two.
SUMS = {
    "encode_encrypt_symmetric": ("encode", "encrypt_symmetric"),
    "encode_encrypt_public": ("encode", "encrypt_public"),
    "multiply_relinearize": ("multiply", "relinearize"),
    "decrypt_decode": ("decrypt", "decode"),
}

# Not comparable alone. Peers transform a message when they encode it, Nightloom when it encrypts it.
PARTS = {"encode", "encrypt_symmetric", "encrypt_public", "decrypt", "decode"}

# Nightloom's `decrypt` is measured with the decoding.
OWN_NAMES = {"decrypt": "decrypt_decode"}

# A round is a list of JSON objects, one from each side that ran.
Round = list[dict]


def primitive_rows(suite: str, rounds: list[Round]) -> list[Row]:
    """Rows of the suites `ntt` and `ckks`: nanoseconds of one operation."""
    tables = [_times(round_) for round_ in rounds]
    keys = list(dict.fromkeys(key for table in tables for key in table if key[0] not in PARTS))
    # A ring in which Nightloom measured nothing would only be clutter; without Nightloom, everything is news.
    own_rings = {ring for table in tables for (_, ring, _, _), sides in table.items() if OURS in sides}
    if own_rings:
        keys = [key for key in keys if key[1] in own_rings]

    def position(key: tuple) -> tuple:
        _, ring, degree, limbs = key
        unmatched = not any(OURS in table.get(key, {}) for table in tables)
        return ring != "standard", ring, unmatched, degree, limbs

    rows = []
    for key in sorted(keys, key=position):
        sides = list(dict.fromkeys(side for table in tables for side in table.get(key, {})))
        peers = tuple(_ratio(side, key, tables) for side in sides if side != OURS)
        if not peers:
            continue
        ours = [table[key][OURS] for table in tables if OURS in table.get(key, {})]
        op, ring, degree, limbs = key
        ring_note = "" if ring == "standard" else f", {ring}"
        limbs_note = "" if suite == "ntt" else f", {limbs} limbs"
        rows.append(
            Row(suite, op, f"{degree}{limbs_note}{ring_note}", statistics.median(ours) if ours else None, peers)
        )
    return rows


def _times(round_: Round) -> dict[tuple, dict[str, float]]:
    """Per (op, ring, degree, limbs), the median time of every side."""
    table: dict[tuple, dict[str, float]] = {}
    for document in round_:
        own = "library" not in document
        for result in document["results"]:
            if own:
                side = OURS
            elif document["suite"] == "ring":
                # Peers of the transform come in several prime sizes.
                side = f"{result['library']}, {result['prime_bits']}-bit"
            else:
                side = result["library"]
            op = OWN_NAMES.get(result["op"], result["op"]) if own else result["op"]
            key = (op, result["ring"], result["degree"], result["limbs"])
            table.setdefault(key, {}).setdefault(side, result["median_ns"])
    for whole, (first, second) in SUMS.items():
        for op, *rest in list(table):
            if op != first:
                continue
            second_times = table.get((second, *rest), {})
            for side, time in table[(first, *rest)].items():
                if side in second_times:
                    table.setdefault((whole, *rest), {}).setdefault(side, time + second_times[side])
    return table


def _ratio(peer: str, key: tuple, tables: list[dict]) -> Ratio:
    times = [table[key][peer] for table in tables if peer in table.get(key, {})]
    ratios = [
        table[key][peer] / table[key][OURS]
        for table in tables
        if peer in table.get(key, {}) and OURS in table.get(key, {})
    ]
    if not ratios:
        return Ratio(peer, statistics.median(times), None, None, None)
    return Ratio(peer, statistics.median(times), statistics.median(ratios), min(ratios), max(ratios))


# Nightloom alone reads a request from bytes and expands its seeds; the peers' ciphertexts never leave memory.
STEPS = {
    "encrypt": ("encrypt",),
    "evaluate": ("evaluate",),
    "load and evaluate": ("load", "evaluate"),
    "decrypt": ("decrypt",),
}


def network_rows(suite: str, network: str, rounds: list[Round]) -> list[Row]:
    """Rows of the suites `throughput` and `tenseal`: seconds of one image, in the steps of a classification.

    A batch is compared with a batch and a single image with a single image, never one with the other.
    """
    rows = []
    for batched in (False, True):
        for step, parts in STEPS.items():
            tables = []
            images: dict[str, int] = {}
            for round_ in rounds:
                table: dict[str, float] = {}
                for document in round_:
                    for result in document["results"]:
                        if result["network"] != network or (result["images"] > 1) != batched:
                            continue
                        side = result.get("library", OURS)
                        images[side] = result["images"]
                        table[side] = sum(result.get(f"{part}_s", 0.0) for part in parts) / result["images"]
                tables.append({step: table})
            sides = list(dict.fromkeys(side for table in tables for side in table[step]))
            peers = tuple(_ratio(side, step, tables) for side in sides if side != OURS)
            if not peers:
                continue
            ours = [table[step][OURS] for table in tables if OURS in table[step]]
            sizes = ", ".join(f"{side} {count}" for side, count in images.items())
            kind = f"a batch ({sizes})" if batched else "one image"
            rows.append(
                Row(suite, f"{step}, per image", f"{network}, {kind}", statistics.median(ours) if ours else None, peers)
            )
    return rows


UNITS = {"ntt": 1e-9, "ckks": 1e-9, "throughput": 1.0, "tenseal": 1.0}

TITLES = {
    "ntt": "Negacyclic NTT, one limb",
    "ckks": "CKKS primitives",
    "throughput": "CryptoNets on a batch",
    "tenseal": "The network of TenSEAL's tutorial",
}

NOTES = {
    "ntt": (
        "Nightloom's prime has 50 bits. A 30-bit limb carries 30 bits, so five of them do the work of three 50-bit "
        "ones. `ntt_inverse` includes the division by the degree on all sides; `ntt_inverse_unnormalised` leaves it "
        "out, as tfhe-ntt's callers may."
    ),
    "ckks": (
        "Same degree and same number of primes in the ciphertext modulus, at the top level. Special primes (P): "
        "Nightloom, OpenFHE and Lattigo 1, 2 and 3; SEAL always 1. A joint operation (`encode_encrypt_public`) is the "
        "sum of the two for a library that offers both apart. A row without Nightloom's time is an operation that "
        "`nightloom bench ckks` does not measure. Nightloom writes into fresh results; the peers work in place where "
        "they can."
    ),
    "throughput": (
        "One image in a slot; degree 8192, three 50-bit primes and one special on all sides. SEAL has 4096 slots, the "
        "conjugate-invariant ring of Nightloom and Lattigo 8192. Lattigo encrypts with the public key, the others with "
        "the secret one. Nightloom's encryption includes writing the request, and `load` is reading it; the peers' "
        "ciphertexts stay in memory, so theirs is 0."
    ),
    "tenseal": (
        "One image and a batch are different jobs: a batch fills every slot with another image and waits for all of "
        "them. They are compared only with their like."
    ),
}


def markdown(suite: str, rows: list[Row]) -> str:
    """A heading, one aligned table, and what must be known to read it."""
    peers = list(dict.fromkeys(peer.peer for row in rows for peer in row.peers))
    header = ["operation", "parameters", OURS, *peers]
    body = []
    for row in rows:
        by_name = {peer.peer: peer for peer in row.peers}
        unit = UNITS[suite]
        cells = [row.operation, row.parameters, _time(row.ours, unit)]
        for name in peers:
            peer = by_name.get(name)
            if peer is None:
                cells.append("-")
            elif peer.ratio is None:
                cells.append(_time(peer.time, unit))
            else:
                spread = "" if peer.lowest == peer.highest else f" ({_number(peer.lowest)}-{_number(peer.highest)})"
                cells.append(f"{_time(peer.time, unit)}, **{_number(peer.ratio)}x**{spread}")
        body.append(cells)
    widths = [max(len(line[column]) for line in [header, *body]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    table = [line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, body)]
    return "\n".join([f"## {TITLES[suite]}", "", *table, "", NOTES[suite], ""])


def _number(value: float) -> str:
    # From 999.5 on, three digits would turn into an exponent.
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def _time(value: float | None, unit: float) -> str:
    """Three digits, with the unit that suits."""
    if value is None:
        return "-"
    seconds = value * unit
    for factor, name in ((1e-9, "ns"), (1e-6, "us"), (1e-3, "ms")):
        if seconds < 999.5 * factor:
            return f"{_number(seconds / factor)} {name}"
    return f"{_number(seconds)} s"
