"""Median and minimum time of one operation, by the method of `nightloom bench`.

A run repeats the operation until it has lasted 200 us or more, so that the clock's own cost and the
Python call (under 1 us) vanish in it. Inputs are made outside the clock. Slow operations get fewer runs: the
runs of one operation end after `BUDGET_S` seconds, but never before `LEAST_RUNS`.
"""

import gc
from collections.abc import Callable
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
