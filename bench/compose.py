"""How fast are the kernels that compose, without draws and labels?

usage: python bench/compose.py [--rounds N] [--out FILE]

Batches of 256 sequences of 4 digits in 200 pixels; glyphs and places are given. The kernels are
timed against np.copyto of a buffer of the same size, and against np.hstack of the same glyphs.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timing import LEAST_ROUNDS, Line, Times, interleave, report_record, report_table, times_table

from digitseq.composing import compose_unchecked
from digitseq.loading import load_sample

LENGTH, WIDTH, SIDE, BATCH, MAX_GAP = 4, 200, 28, 256, 10
DTYPES = ("uint8", "float32")
Places = tuple[NDArray[np.int64], NDArray[np.int64]]


def random_places(glyphs: int, batches: int) -> list[Places]:
    """Draw glyphs and left edges for several batches, so that no batch is the one before."""
    rng = np.random.default_rng(0)
    positions = rng.integers(0, glyphs, (batches, BATCH, LENGTH))
    gaps = rng.integers(0, MAX_GAP + 1, (batches, BATCH, LENGTH))
    left = np.cumsum(SIDE + gaps, axis=2) - SIDE
    return list(zip(positions, left, strict=True))


def composing(images: NDArray[np.uint8], places: list[Places], dtype: str) -> Callable[[], object]:
    """Compose one batch after the other with the kernel of this type."""
    out = np.empty((BATCH, SIDE, WIDTH), dtype)
    top, rounds = np.zeros((BATCH, LENGTH), np.int64), [0]

    def work_once() -> None:
        rounds[0] += 1
        positions, left = places[rounds[0] % len(places)]
        compose_unchecked(images, positions, left, top, None, False, out)

    return work_once


def stacking(images: NDArray[np.uint8], places: list[Places], dtype: str) -> Callable[[], object]:
    """Stack the same glyphs at the same places with np.hstack."""
    blank, rounds = np.zeros((SIDE, WIDTH), np.uint8), [0]

    def strip(glyphs: list[int], edges: list[int]) -> NDArray[np.uint8]:
        parts, x = [], 0
        for glyph, edge in zip(glyphs, edges, strict=True):
            parts += [blank[:, : edge - x], images[glyph]]
            x = edge + SIDE
        return np.hstack([*parts, blank[:, : WIDTH - x]])

    def work() -> NDArray[Any]:
        rounds[0] += 1
        positions, left = places[rounds[0] % len(places)]
        strips = map(strip, positions.tolist(), left.tolist())
        stack = np.stack(list(strips))
        return stack / np.float32(255) if dtype == "float32" else stack

    return work


def copying(dtype: str) -> Callable[[], object]:
    """Copy as many pixels as a batch has."""
    source, target = np.ones((2, BATCH, SIDE, WIDTH), dtype)
    return lambda: np.copyto(target, source)


def report(times: Times) -> list[Line]:
    """Hold the kernels against copying and stacking."""
    lines = []
    for dtype in DTYPES:
        name = f"kernel {dtype}"
        copied, stacked = times.ratio(f"copyto {dtype}", name), times.ratio(f"hstack {dtype}", name)
        micro = 1e6 * times.typical(name) / BATCH
        lines += [
            Line(f"{name}, of np.copyto's speed", copied, ""),
            Line(f"{name}, against np.hstack", stacked, "x"),
            Line(f"{name}, each sample", micro, "us"),
        ]
    return lines


def main() -> None:
    """Print the report; write it as JSON too if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help=f"{LEAST_ROUNDS} or more")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    wishes = parser.parse_args()
    images = load_sample().images
    places = random_places(len(images), batches=16)
    tasks: dict[str, Callable[[], object]] = {}
    for dtype in DTYPES:
        tasks[f"kernel {dtype}"] = composing(images, places, dtype)
        tasks[f"copyto {dtype}"] = copying(dtype)
        tasks[f"hstack {dtype}"] = stacking(images, places, dtype)
    times = interleave(tasks, wishes.rounds)
    lines = report(times)
    print(report_table("Compose", lines), times_table(times, "copyto uint8"), sep="\n\n")
    if wishes.out:
        record = report_record("Compose", lines, [times])
        wishes.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
