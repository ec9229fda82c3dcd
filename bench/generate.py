"""How fast is a data set? Whole batches, random draws and labels included; one sample; the start.

usage: python bench/generate.py [--rounds N] [--out FILE]

Batches of 256 sequences of 4 digits in 200 pixels are timed against np.copyto of a buffer of the
same size, and against the script that one would write with np.hstack. All times but those of
the start are CPU times of one interleaved run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timing import LEAST_ROUNDS, Line, Times, interleave, report_record, report_table, times_table

from digitseq.core import Glyphs
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.specifying import SequenceSpec

LENGTH, WIDTH, HEIGHT, BATCH, MAX_GAP = 4, 200, 28, 256, 10
SAMPLES = 10**9
WANTED = {"uint8": (0.18, 9), "float32": (0.35, 5)}  # of np.copyto's speed, times np.hstack's
START = """
import json, time
clocks = [(time.perf_counter(), time.process_time())]
def tick():
    clocks.append((time.perf_counter(), time.process_time()))
import digitseq
tick()
from digitseq.generating import DigitSequences
from digitseq.specifying import SequenceSpec
from digitseq.loading import load_sample
glyphs = load_sample()
tick()
data = DigitSequences(glyphs, SequenceSpec(length=4, width=200))
data.batch(range(256))
tick()
print(json.dumps([[b - a for a, b in zip(*pair)] for pair in zip(clocks, clocks[1:])]))
"""


class HstackScript:
    """What one writes without a package: a loop, np.hstack, and a row of labels."""

    def __init__(self, glyphs: Glyphs, dtype: str) -> None:
        self.rng = np.random.default_rng(0)
        self.classes = [glyphs.images[glyphs.labels == digit] for digit in range(10)]
        self.counts = np.array([len(images) for images in self.classes])
        self.blank = np.zeros((HEIGHT, MAX_GAP), np.uint8)
        self.dtype = dtype

    def one(self, digits: NDArray[Any]) -> NDArray[np.uint8]:
        """Stack the digits of one sequence, with random gaps between them."""
        chosen = self.rng.integers(self.counts[digits]).tolist()
        gaps = self.rng.integers(0, MAX_GAP + 1, LENGTH).tolist()
        parts = []
        for digit, k, gap in zip(digits.tolist(), chosen, gaps, strict=True):
            parts += [self.classes[digit][k], self.blank[:, :gap]]
        return np.hstack(parts[:-1])

    def __call__(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Make a batch of images, padded to the width on both sides, and its labels."""
        images = np.zeros((BATCH, HEIGHT, WIDTH), np.uint8)
        labels = np.empty((BATCH, LENGTH), np.int8)
        for n in range(BATCH):
            labels[n] = digits = self.rng.integers(0, 10, LENGTH)
            strip = self.one(digits)
            left = (WIDTH - strip.shape[1]) // 2
            images[n, :, left : left + strip.shape[1]] = strip
        if self.dtype == "float32":
            return images.astype(np.float32) / np.float32(255), labels
        return images, labels


def batches(data: DigitSequences) -> Iterator[Callable[[], object]]:
    """Give the two ways to ask for something new: a batch into a buffer, one sample."""
    out = np.empty((BATCH, HEIGHT, WIDTH), data.spec.dtype)
    numbers, starts, singles = np.arange(BATCH), count(0, BATCH), count(0)
    yield lambda: data.batch(numbers + next(starts), out=out)
    yield lambda: data[next(singles)]


def copying(dtype: str) -> Callable[[], object]:
    """Copy as many pixels as a batch has."""
    source, target = np.ones((2, BATCH, HEIGHT, WIDTH), dtype)
    return lambda: np.copyto(target, source)


def time_batches(rounds: int) -> Times:
    """Time everything that is done again and again, in one interleaved run."""
    glyphs = load_sample()
    tasks: dict[str, Callable[[], object]] = {}
    for dtype in WANTED:
        spec = SequenceSpec(SAMPLES, LENGTH, WIDTH, spacing=(0, MAX_GAP), dtype=dtype)
        tasks[f"batch {dtype}"], tasks[f"ds[i] {dtype}"] = batches(DigitSequences(glyphs, spec))
        tasks[f"copyto {dtype}"] = copying(dtype)
        tasks[f"hstack {dtype}"] = HstackScript(glyphs, dtype)
    return interleave(tasks, rounds)


def batch_lines(times: Times) -> list[Line]:
    """Hold batches and single samples against what is wanted."""
    lines = []
    for dtype, (of_copy, of_stack) in WANTED.items():
        name = f"batch {dtype}"
        micro = 1e6 * times.typical(name) / BATCH
        copied, stacked = times.ratio(f"copyto {dtype}", name), times.ratio(f"hstack {dtype}", name)
        one = 1e6 * times.typical(f"ds[i] {dtype}")
        lines += [
            Line(f"{name}, of np.copyto's speed", copied, "", of_copy),
            Line(f"{name}, against np.hstack", stacked, "x", of_stack),
            Line(f"{name}, each sample", micro, "us"),
            Line(f"ds[i] {dtype}", one, "us", 25, at_least=False),
        ]
    return lines


def start_times(cache: str) -> list[tuple[float, float]]:
    """Time import, loading and first batch in a process of its own: on the clock, and of CPU."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": paths}
    command = [sys.executable, "-c", START]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [(clock, cpu) for clock, cpu in json.loads(done.stdout)]


def start_lines(repeats: int = 5) -> list[Line]:
    """Time the start, first without compiled kernels and then with them."""
    with tempfile.TemporaryDirectory() as cache:
        cold = start_times(cache)
        warm = [start_times(cache) for _ in range(repeats)]
    imported, loaded, first = (
        [median(values) for values in zip(*step, strict=True)] for step in zip(*warm, strict=True)
    )
    limits = {"compiled before": (first, 0.5), "nothing compiled yet": (cold[2], 5)}
    lines = [
        Line("import digitseq", imported[0], "s", 0.6, at_least=False),
        Line("import all modules and load the sample", loaded[0], "s"),
    ]
    for kernels, ((clock, cpu), limit) in limits.items():
        lines.append(Line(f"first batch, {kernels}: CPU", cpu, "s", limit, at_least=False))
        lines.append(Line(f"first batch, {kernels}: clock", clock, "s"))
    return lines


def main() -> None:
    """Print the report; write it as JSON too if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help=f"{LEAST_ROUNDS} or more")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    wishes = parser.parse_args()
    times = time_batches(wishes.rounds)
    lines = batch_lines(times) + start_lines()
    print(report_table("Generate", lines), times_table(times, "copyto uint8"), sep="\n\n")
    if wishes.out:
        record = report_record("Generate", lines, [times])
        wishes.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
