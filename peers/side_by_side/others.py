"""How much of the machine other work takes while the sides are measured.

It decides whether the ratios may be quoted. On a machine with more runnable threads than cores, the scheduler takes
turns every few milliseconds: operations that fit between two turns keep their median, longer ones do not, and ratios
favour the faster side.
"""

import os
import time
from pathlib import Path

# Above this share of one core, the report says that its ratios are not to be quoted.
TOLERATED_CORES = 0.2


class Observer:
    """Counts processor time from its creation on."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.busy = _busy_seconds()
        self.own = _own_seconds()

    def cores(self) -> float | None:
        """Cores that other processes kept busy, on average until now; `None` where the system does not say."""
        busy = _busy_seconds()
        if busy is None or self.busy is None:
            return None
        others = (busy - self.busy) - (_own_seconds() - self.own)
        return max(0.0, others / (time.monotonic() - self.start))


def _own_seconds() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _busy_seconds() -> float | None:
    """Processor time of everything since the start of the system."""
    try:
        first_line = Path("/proc/stat").read_text().split("\n", 1)[0]
    except OSError:
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal: neither idle time nor waiting for disks is work.
    ticks = [int(word) for word in first_line.split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
