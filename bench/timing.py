"""Compare the speed of functions on a machine that others use too.

One run goes through several rounds. A round calls every function, in an order that is shuffled
anew, each as often as it takes to measure it well, and notes the CPU time of one call. What
another process does to the machine thus meets all functions alike, and a ratio is taken within a
round. A ratio that is told is the median of the rounds' ratios.
"""

import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any

LEAST_ROUNDS = 9
NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Times:
    """CPU seconds of one call, round after round, by the name of the function."""

    rounds: Mapping[str, Sequence[float]]

    def typical(self, name: str) -> float:
        return median(self.rounds[name])

    def spread(self, name: str) -> tuple[float, float]:
        """Give the first and the last quartile."""
        low, _, high = quantiles(self.rounds[name], n=4)
        return low, high

    def ratio(self, reference: str, name: str) -> float:
        """Tell how many times as fast as the reference a function is."""
        pairs = zip(self.rounds[reference], self.rounds[name], strict=True)
        return median(slow / quick for slow, quick in pairs)


@dataclass(frozen=True)
class Line:
    """One line of a report."""

    what: str
    value: float
    unit: str  # "us", "s", "x" or ""
    limit: float | None = None  # what it must reach; None: nothing
    at_least: bool = True  # False: at most

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return ""
        good = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "ok" if good else "below" if self.at_least else "above"

    @property
    def cells(self) -> tuple[str, str, str, str]:
        limit = ""
        if self.limit is not None:
            limit = f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"
        return self.what, f"{self.value:.3g} {self.unit}".strip(), limit.strip(), self.verdict


def calls_that_last(work: Callable[[], object], seconds: float) -> int:
    """Tell how many calls take about `seconds`; the first ones warm up and don't count."""
    work(), work()
    calls = 1
    while True:
        spent = cpu_time(work, calls)
        if spent >= seconds / 4:
            return max(1, round(calls * seconds / spent))
        calls *= 2


def cpu_time(work: Callable[[], object], calls: int) -> float:
    """Give the CPU seconds that so many calls take."""
    start = time.process_time()
    for _ in range(calls):
        work()
    return time.process_time() - start


def interleave(
    tasks: Mapping[str, Callable[[], object]],  # by name
    rounds: int = 15,  # LEAST_ROUNDS or more
    seconds: float = 0.03,  # that one measurement lasts, about
    seed: int = 0,  # of the order
) -> Times:
    """Time functions side by side.

    Raises ValueError if there are too few rounds for a median to mean something.
    """
    if rounds < LEAST_ROUNDS:
        raise ValueError(f"rounds must be at least {LEAST_ROUNDS}, got {rounds}")
    calls = {name: calls_that_last(work, seconds) for name, work in tasks.items()}
    order, shuffle = list(tasks), random.Random(seed).shuffle
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            found[name].append(cpu_time(tasks[name], calls[name]) / calls[name])
    return Times(found)


def machine(others: Mapping[str, str] = NONE) -> dict[str, str]:
    """Say where and with what this was measured; `others` are versions of what else was used."""
    versions = [f"{name} {version(name)}" for name in ("numpy", "numba", "llvmlite")]
    versions += [f"{name} {number}" for name, number in others.items()]
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "CPU": processor(),
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
    }


def processor() -> str:
    """Name the processor as well as the system does."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def times_table(times: Times, reference: str) -> str:
    """Write times as a Markdown table, with their ratios to one of them."""
    rows = [f"| what | us a call | quartiles | times as fast as {reference} |", "|---|--:|--:|--:|"]
    for name in times.rounds:
        low, high = times.spread(name)
        micro = f"{1e6 * times.typical(name):.2f} | {1e6 * low:.2f} to {1e6 * high:.2f}"
        rows.append(f"| {name} | {micro} | {times.ratio(reference, name):.3g} |")
    return "\n".join(rows)


def report_table(title: str, lines: Sequence[Line], others: Mapping[str, str] = NONE) -> str:
    """Write a report as a Markdown table, with the machine above it."""
    told = [f"- {name}: {value}" for name, value in machine(others).items()]
    rows = ["| what | measured | wanted | |", "|---|--:|--:|---|"]
    rows += ["| " + " | ".join(line.cells) + " |" for line in lines]
    return "\n".join([f"## {title}", "", *told, "", *rows])


def report_record(
    title: str, lines: Sequence[Line], times: Sequence[Times], others: Mapping[str, str] = NONE
) -> dict[str, Any]:
    """Give a report as plain values, for a JSON file."""
    names = ("what", "value", "unit", "limit", "at_least", "verdict")
    return {
        "title": title,
        **machine(others),
        "lines": [{name: getattr(line, name) for name in names} for line in lines],
        "rounds": [{name: list(values) for name, values in one.rounds.items()} for one in times],
    }
