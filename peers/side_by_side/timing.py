"""Median and minimum time of one operation, by the method of `nightloom bench`; and of whole requests.

A run repeats the operation until it has lasted 200 us or more, so that the clock's own cost and the
Python call (under 1 us) vanish in it. Inputs are made outside the clock. Slow operations get fewer runs: the
runs of one operation end after `BUDGET_S` seconds, but never before `LEAST_RUNS`.
"""

import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

MIN_RUN_NS = 200_000
MOST_RUNS = 101
LEAST_RUNS = 11
BUDGET_S = 1.0


def measure(operation: Callable[[Any], Any], prepare: Callable[[], Any] | None = None) -> dict:
    """Times `operation(input)`.

    With `prepare`, every call gets a fresh input, made before the clock starts, so that an operation may
    work in place. Without it, the operation gets `None`.

    Returns the median `ms` and the fastest `min_ms` of one operation, in milliseconds, and the number of `runs`.
    """

    def run(repetitions: int) -> int:
        inputs = [prepare() if prepare else None for _ in range(repetitions)]
        start = perf_counter_ns()
        for value in inputs:
            operation(value)
        return perf_counter_ns() - start

    # A collection inside the clock would be charged to the library.
    gc.collect()
    gc.disable()
    try:
        repetitions = 1
        while run(repetitions) < MIN_RUN_NS:
            repetitions *= 2
        deadline = perf_counter_ns() + int(BUDGET_S * 1e9)
        times: list[float] = []
        while len(times) < MOST_RUNS and (len(times) < LEAST_RUNS or perf_counter_ns() < deadline):
            times.append(run(repetitions) / repetitions)
    finally:
        gc.enable()
    times.sort()
    return {"ms": times[len(times) // 2] / 1e6, "min_ms": times[0] / 1e6, "runs": len(times)}


@dataclass(frozen=True)
class Requests:
    """Times of requests, as `nightloom bench latency --json` names them, and what the last one consisted of."""

    times: dict
    request: Any
    response: Any
    results: list


def requests(
    inputs: Sequence[Any],
    encrypt: Callable[[Any], Any],
    evaluate: Callable[[Any], Any],
    decrypt: Callable[[Any], Any],
) -> Requests:
    """Encrypts, evaluates and decrypts every input, one after another.

    The first one fills pools and caches: its result counts, its times do not.
    """
    stages: dict[str, list[float]] = {"encrypt": [], "evaluate": [], "decrypt": []}
    request = response = None
    results = []
    for value in inputs:
        clock = [perf_counter_ns()]
        request = encrypt(value)
        clock.append(perf_counter_ns())
        response = evaluate(request)
        clock.append(perf_counter_ns())
        results.append(decrypt(response))
        clock.append(perf_counter_ns())
        for times, start, end in zip(stages.values(), clock, clock[1:], strict=False):
            times.append((end - start) / 1e6)
    counted = {stage: times[1:] for stage, times in stages.items()}
    medians = {f"{stage}_ms": statistics.median(times) for stage, times in counted.items()}
    times = {**medians, "evaluate_min_ms": min(counted["evaluate"]), "runs": len(inputs) - 1}
    return Requests(times, request, response, results)
