"""From the sides' JSON objects to ratios and tables. Pure: no clock, no process, no file.

A ratio is a peer's time divided by Nightloom's: 2 means that Nightloom takes half the time. It is formed within one
round, in which the sides ran one after another, so that what slows the machine for a while slows both; reported are
the median over the rounds and its range.
"""

import statistics
from dataclasses import dataclass

OURS = "Nightloom"


@dataclass(frozen=True)
class Ratio:
    """One peer against Nightloom in one row. Times (or sizes) are medians over the rounds, in the unit of the row."""

    peer: str
    time: float
    ratio: float | None
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class Row:
    """One operation: what it is, Nightloom's time or size (if it has it), and the peers'."""

    operation: str
    parameters: str
    # The list of the JSON object that the operation belongs to, and Nightloom's fields that say what was done.
    list: str
    job: dict
    # One of `UNITS`.
    unit: str
    ours: float | None
    peers: tuple[Ratio, ...]


# Operations that some library offers only as one, or divides elsewhere: for the others, the sum of the two.
SUMS = {
    "encode_encrypt": ("encode", "encrypt"),
    "encode_encrypt_symmetric": ("encode", "encrypt_symmetric"),
    "multiply_relinearize": ("multiply", "relinearize"),
    "decrypt_decode": ("decrypt", "decode"),
}

# The lists of the suites `ntt` and `ckks`, as `nightloom bench --json` names them, and what a table adds to a row.
LISTS = {"ntt": "", "ops": "", "ops_conjugate_invariant": ", conjugate-invariant"}

# A round is a list of JSON objects, one from each side that ran.
Round = list[dict]


def primitive_rows(rounds: list[Round]) -> list[Row]:
    """Rows of the suites `ntt` and `ckks`, in microseconds and milliseconds."""
    tables = [_times(round_) for round_ in rounds]
    jobs = {key: job for round_ in rounds for document in round_ for key, job in _jobs(document).items()}
    keys = list(dict.fromkeys(key for table in tables for key in table))
    # A list in which Nightloom measured nothing would only be clutter; without Nightloom, everything is news.
    own_lists = {name for table in tables for (name, *_), sides in table.items() if OURS in sides}
    if own_lists:
        keys = [key for key in keys if key[0] in own_lists]

    def position(key: tuple) -> tuple:
        name, _, degree, limbs, vectors = key
        unmatched = not any(OURS in table.get(key, {}) for table in tables)
        return list(LISTS).index(name), vectors, unmatched, degree, limbs

    rows = []
    for key in sorted(keys, key=position):
        sides = list(dict.fromkeys(side for table in tables for side in table.get(key, {})))
        peers = tuple(_ratio(side, key, tables) for side in sides if side != OURS)
        if not peers:
            continue
        ours = [table[key][OURS] for table in tables if OURS in table.get(key, {})]
        name, op, degree, limbs, vectors = key
        note = f", {vectors}" if name == "ntt" else f", {limbs} limbs"
        rows.append(
            Row(
                operation=op,
                parameters=f"{degree}{note}{LISTS[name]}",
                list=name,
                job=jobs.get((name, degree, limbs, vectors), {}),
                unit="us" if name == "ntt" else "ms",
                ours=statistics.median(ours) if ours else None,
                peers=peers,
            )
        )
    return rows


def _times(round_: Round) -> dict[tuple, dict[str, float]]:
    """Per (list, op, degree, limbs, vectors), the median time of every side."""
    table: dict[tuple, dict[str, float]] = {}
    for document in round_:
        for name in LISTS:
            for entry in document.get(name, []):
                side = _side(document, name, entry)
                for op, time in _operations(entry).items():
                    key = (name, op, entry["degree"], entry.get("limbs", 1), _vectors(name, entry))
                    table.setdefault(key, {})[side] = time
    for whole, (first, second) in SUMS.items():
        for name, op, *rest in list(table):
            if op != first:
                continue
            second_times = table.get((name, second, *rest), {})
            for side, time in table[(name, first, *rest)].items():
                if side in second_times:
                    # A side that offers the whole as one keeps that time.
                    table.setdefault((name, whole, *rest), {}).setdefault(side, time + second_times[side])
    return table


def _vectors(name: str, entry: dict) -> str:
    """The instructions of a transform, by the names of Nightloom's kernels: only like is compared with like.

    Other lists are measured with the best that each side finds.
    """
    return entry.get("vectors", entry["kernel"]) if name == "ntt" else ""


def _side(document: dict, name: str, entry: dict) -> str:
    """Who made an entry."""
    if "library" not in document:
        return OURS
    if name == "ntt":
        # One library has several word and prime sizes.
        return f"{document['library']} {entry['kernel']}, {entry['prime_bits']}-bit"
    return document["library"]


def _operations(entry: dict) -> dict[str, float]:
    """The operations of one entry with their median times."""
    if "op" in entry:
        return {entry["op"]: entry["ms"]}
    return {op: entry[f"{op}_us"] for op in TRANSFORMS if f"{op}_us" in entry}


TRANSFORMS = ("forward", "inverse", "inverse_unnormalised")


def _jobs(document: dict) -> dict[tuple, dict]:
    """Per (list, degree, limbs, vectors), the fields by which Nightloom says what it did."""
    fields = ("degree", "limbs", "special", "kernel", "prime_bits")
    return {
        (name, entry["degree"], entry.get("limbs", 1), _vectors(name, entry)): {
            field: entry[field] for field in fields if field in entry
        }
        for name in LISTS
        for entry in document.get(name, [])
        if _side(document, name, entry) == OURS
    }


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


def network_rows(network: str, rounds: list[Round]) -> list[Row]:
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
                    if document["network"] != network or (document["images"] > 1) != batched:
                        continue
                    side = document.get("library", OURS)
                    images[side] = document["images"]
                    table[side] = sum(document.get(f"{part}_s", 0.0) for part in parts) / document["images"]
                tables.append({step: table})
            sides = list(dict.fromkeys(side for table in tables for side in table[step]))
            peers = tuple(_ratio(side, step, tables) for side in sides if side != OURS)
            if not peers:
                continue
            ours = [table[step][OURS] for table in tables if OURS in table[step]]
            sizes = ", ".join(f"{side} {count}" for side, count in images.items())
            rows.append(
                Row(
                    operation=f"{step}, per image",
                    parameters=f"{network}, " + (f"a batch ({sizes})" if batched else "one image"),
                    list="networks",
                    job={"network": network, "batch": batched, "step": step},
                    unit="s",
                    ours=statistics.median(ours) if ours else None,
                    peers=peers,
                )
            )
    return rows


# Of a single image: what a table calls it, its field in the sides' objects, and its unit.
LATENCY = {
    "evaluate": ("evaluate_ms", "ms"),
    "encrypt": ("encrypt_ms", "ms"),
    "decrypt": ("decrypt_ms", "ms"),
    "set-up": ("setup_s", "s"),
    "evaluation keys": ("key_bytes", "bytes"),
    "request": ("request_bytes", "bytes"),
    "response": ("response_bytes", "bytes"),
    "peak memory": ("peak_rss_bytes", "bytes"),
    "largest error": ("max_error", ""),
    "degree": ("degree", "count"),
    "bits of all primes": ("log_qp", ""),
}
# Choices, of which no ratio is formed.
LATENCY_PARAMETERS = ("degree", "bits of all primes")


def latency_rows(rounds: list[Round]) -> list[Row]:
    """Rows of the suite `latency`: everything of `LATENCY`, for each network and number of images of a request."""
    jobs = dict.fromkeys((document["network"], document["images"]) for round_ in rounds for document in round_)
    rows = []
    for operation, (field, unit) in LATENCY.items():
        for network, images in jobs:
            tables = [_latency_table(round_, network, images) for round_ in rounds]
            sides = list(dict.fromkeys(side for table in tables for side in table.get(field, {})))
            peers = tuple(_ratio(side, field, tables) for side in sides if side != OURS)
            if operation in LATENCY_PARAMETERS:
                peers = tuple(Ratio(peer.peer, peer.time, None, None, None) for peer in peers)
            if not peers:
                continue
            own = {
                name: _whole(statistics.median(values), kind)
                for name, kind in LATENCY.values()
                if (values := [table[name][OURS] for table in tables if OURS in table.get(name, {})])
            }
            rows.append(
                Row(
                    operation=operation,
                    parameters=f"{network}, " + ("one image" if images == 1 else f"{images} images"),
                    list="latency",
                    job={"network": network, "images": images, **own},
                    unit=unit,
                    ours=own.get(field),
                    peers=peers,
                )
            )
    return rows


def _latency_table(round_: Round, network: str, images: int) -> dict[str, dict[str, float]]:
    """Per field of `LATENCY`, the value of every side that has one."""
    table: dict[str, dict[str, float]] = {}
    for document in round_:
        if (document["network"], document["images"]) != (network, images):
            continue
        for field, _ in LATENCY.values():
            if document.get(field) is not None:
                table.setdefault(field, {})[document.get("library", OURS)] = document[field]
    return table


def functional_rows(rounds: list[Round]) -> list[Row]:
    """Rows of the suite `fe`, in microseconds: what a peer does too, by scheme, operation, dimension and weight bits."""
    fields = ("scheme", "op", "dim", "weight_bits")
    tables: list[dict[tuple, dict[str, float]]] = []
    for round_ in rounds:
        table: dict[tuple, dict[str, float]] = {}
        for document in round_:
            for entry in document["ops"]:
                # One library offers several groups.
                side = f"{document['library']}, {entry['group']}" if "library" in document else OURS
                table.setdefault(tuple(entry[field] for field in fields), {})[side] = entry["us"]
        tables.append(table)
    rows = []
    for key in dict.fromkeys(key for table in tables for key in table):
        sides = list(dict.fromkeys(side for table in tables for side in table.get(key, {})))
        peers = tuple(_ratio(side, key, tables) for side in sides if side != OURS)
        if not peers:
            continue
        ours = [table[key][OURS] for table in tables if OURS in table.get(key, {})]
        scheme, op, dim, weight_bits = key
        rows.append(
            Row(
                operation=op,
                parameters=f"{scheme}, {dim} values, {weight_bits}-bit weights",
                list="functional",
                job=dict(zip(fields, key, strict=True)),
                unit="us",
                ours=statistics.median(ours) if ours else None,
                peers=peers,
            )
        )
    return rows


def json_lists(rows: list[Row]) -> dict[str, list[dict]]:
    """The lists of `nightloom bench --json`: Nightloom's times, and beside them a peer's name, its times and `ratio`.

    A row of `ntt` holds both transforms, of a peer on the vectors of Nightloom's `kernel`; its `ratio` is that of the
    forward one. A row of `latency` holds all that is known of a request; its `ratio` is that of the evaluation. What only
    one side does has no row.
    """
    lists: dict[str, list[dict]] = {}
    transforms: dict[tuple, dict] = {}
    for row in rows:
        for peer in row.peers:
            if row.list == "latency" and row.operation != "evaluate":
                _add_to_latency(lists, row, peer)
                continue
            if peer.ratio is None:
                continue
            entries = lists.setdefault(row.list, [])
            ratios = {"ratio": peer.ratio, "lowest_ratio": peer.lowest, "highest_ratio": peer.highest}
            if row.list == "ntt":
                op = row.operation
                key = (row.job["degree"], row.job["kernel"], peer.peer)
                if key not in transforms:
                    transforms[key] = {**row.job, "peer": peer.peer}
                    entries.append(transforms[key])
                prefix = "" if op == "forward" else f"{op}_"
                transforms[key] |= {f"{op}_us": row.ours, f"peer_{op}_us": peer.time}
                transforms[key] |= {prefix + name: value for name, value in ratios.items()}
            elif row.list == "networks":
                entries.append(
                    {**row.job, "image_s": row.ours, "peer": peer.peer, "peer_image_s": peer.time, **ratios}
                )
            elif row.list == "latency":
                entries.append({**row.job, "peer": peer.peer, "peer_evaluate_ms": peer.time, **ratios})
            elif row.list == "functional":
                entries.append({**row.job, "us": row.ours, "peer": peer.peer, "peer_us": peer.time, **ratios})
            else:
                times = {"ms": row.ours, "peer": peer.peer, "peer_ms": peer.time}
                entries.append({**row.job, "op": row.operation, **times, **ratios})
    return lists


def _add_to_latency(lists: dict[str, list[dict]], row: Row, peer: Ratio) -> None:
    """Adds what a peer measured beside the evaluation to the row of its evaluation."""
    field, unit = LATENCY[row.operation]
    for entry in lists.get("latency", []):
        if (entry["network"], entry["images"], entry["peer"]) == (row.job["network"], row.job["images"], peer.peer):
            entry[f"peer_{field}"] = _whole(peer.time, unit)


def _whole(value: float, unit: str) -> float:
    """Bytes and counts are whole numbers, which the median of two need not be."""
    return round(value) if unit in ("bytes", "count") else value


TITLES = {
    "ntt": "Negacyclic NTT, one limb",
    "ckks": "CKKS primitives",
    "throughput": "CryptoNets on a batch",
    "latency": "Single images",
    "tenseal": "The network of TenSEAL's tutorial",
    "fe": "Functional encryption of inner products",
}

NOTES = {
    "ntt": (
        "A row has the same vector instructions on both sides: AVX2 against AVX2, AVX-512 against AVX-512. Nightloom's "
        "prime has 50 bits. A 30-bit limb carries 30 bits, so five of them do the work of three 50-bit ones. `inverse` "
        "includes the division by the degree on all sides; `inverse_unnormalised` leaves it out, as tfhe-ntt's callers "
        "may."
    ),
    "ckks": (
        "Same degree and same number of primes in the ciphertext modulus, at the top level. Special primes (P): "
        "Nightloom, OpenFHE and Lattigo 1, 2 and 3; SEAL always 1. `encrypt` is with the public key. Nightloom "
        "transforms a message when it encrypts it, the peers when they encode it, which `encode_encrypt` counts once "
        "on all sides. A joint operation is the sum of the two for a library that offers both apart. A row without "
        "Nightloom's time is an operation that `nightloom bench ckks` does not measure. Nightloom writes into fresh "
        "results; the peers work in place where they can."
    ),
    "throughput": (
        "One image in a slot; degree 8192, three 50-bit primes and one special on all sides. SEAL has 4096 slots, the "
        "conjugate-invariant ring of Nightloom and Lattigo 8192. Lattigo encrypts with the public key, the others with "
        "the secret one. Nightloom's encryption includes writing the request, and `load` is reading it; the peers' "
        "ciphertexts stay in memory, so theirs is 0."
    ),
    "latency": (
        "One image in one ciphertext, with the same weights on both sides, at 128 bits by Nightloom's table. "
        "`evaluate` is the service's work: for Nightloom from the bytes of the request to those of the response, "
        "for the peers from ciphertext to ciphertext. `set-up` is compiling (TenSEAL does not) and making the keys."
        " Nightloom encrypts with the secret key, the peers with the public one. Sizes are of what each side "
        "writes; Orion cannot write ciphertexts. Memory is the peak of client and service in one process, "
        "compilation included. `largest error` is of a logit, against the clear evaluation."
    ),
    "tenseal": (
        "One image and a batch are different jobs: a batch fills every slot with another image and waits for all of "
        "them. They are compared only with their like; single images are the suite `latency`."
    ),
    "fe": (
        "The scheme of Abdalla et al. (PKC 2015); data within +-255. pymife is Python over gmpy2 and opens one value at a "
        "time; its default group has a 1024-bit prime, about 80 bits of security, that of 3072 bits is RFC 3526's, about 128. "
        "Nightloom works in ristretto255 and opens "
        "six keys on sixteen vectors at a time; its table of logarithms is made once and not counted."
    ),
}


def markdown(suite: str, rows: list[Row]) -> str:
    """A heading, one aligned table, and what must be known to read it."""
    peers = list(dict.fromkeys(peer.peer for row in rows for peer in row.peers))
    header = ["operation", "parameters", OURS, *peers]
    body = []
    for row in rows:
        by_name = {peer.peer: peer for peer in row.peers}
        cells = [row.operation, row.parameters, _value(row.ours, row.unit)]
        for name in peers:
            peer = by_name.get(name)
            if peer is None:
                cells.append("-")
            elif peer.ratio is None:
                cells.append(_value(peer.time, row.unit))
            else:
                lowest, highest = _number(peer.lowest), _number(peer.highest)
                spread = "" if lowest == highest else f" ({lowest}-{highest})"
                cells.append(f"{_value(peer.time, row.unit)}, **{_number(peer.ratio)}x**{spread}")
        body.append(cells)
    widths = [max(len(line[column]) for line in [header, *body]) for column in range(len(header))]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    table = [line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, body)]
    return "\n".join([f"## {TITLES[suite]}", "", *table, "", NOTES[suite], ""])


def _number(value: float) -> str:
    # From 999.5 on, three digits would turn into an exponent.
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


# What a row's values are in; of times, the seconds.
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "bytes": None, "count": None, "": None}


def _value(value: float | None, unit: str) -> str:
    """Three digits, with the unit that suits."""
    if value is None:
        return "-"
    if unit == "bytes":
        return _bytes(value)
    seconds = UNITS[unit]
    return _number(value) if seconds is None else _time(value, seconds)


def _bytes(value: float) -> str:
    for factor, name in ((1, "bytes"), (1e3, "kB"), (1e6, "MB")):
        if value < 999.5 * factor:
            return f"{_number(value / factor)} {name}"
    return f"{_number(value / 1e9)} GB"


def _time(value: float | None, unit: float) -> str:
    """Three digits, with the unit that suits."""
    if value is None:
        return "-"
    seconds = value * unit
    for factor, name in ((1e-9, "ns"), (1e-6, "us"), (1e-3, "ms")):
        if seconds < 999.5 * factor:
            return f"{_number(seconds / factor)} {name}"
    return f"{_number(seconds)} s"
