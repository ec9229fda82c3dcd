"""How fast is augmentation? Digits alone, and whole batches of sequences, against other libraries.

usage: python bench/augment.py [--rounds N] [--out FILE]

Digits are warped as by ImageDataGenerator and compared with it; batches of 256 sequences of 4
digits in 200 pixels are compared with what one would write with Keras, OpenCV or TensorFlow. All
of them draw, warp, compose and give labels; baselines.py says how. Before anything is timed, all
paint the same plan, and a pixel that is not SciPy's is an error. All times are CPU times of one
interleaved run.

OpenCV is not among the requirements: pip install opencv-python-headless
"""

import argparse
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from baselines import (
    BATCH,
    LENGTH,
    MAX_GAP,
    NAMES,
    RANGES,
    SIDE,
    WIDTH,
    CompiledGraph,
    KerasScript,
    OpenCV,
    OperationGraph,
    Plan,
    image_data_generator,
    paint_by_scipy,
)
from generate import SAMPLES, batches
from numpy.typing import NDArray
from timing import LEAST_ROUNDS, Line, Times, interleave, report_record, report_table, times_table

from digitseq.augmenting import Augment
from digitseq.core import Glyphs
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.specifying import SequenceSpec

DTYPES = ("uint8", "float32")
DIGITS = BATCH * LENGTH
POOL = 4 * DIGITS  # so that a flow gives whole batches only
ZOOMS = {"zoom 0.1": RANGES, "no zoom": {**RANGES, "zoom_range": 0.0}}
OPERATION, COMPILED = "TensorFlow's operation", "TensorFlow, compiled by XLA"
WAYS = {  # what it is called, how it is made, what it needs and where that comes from
    "Keras and np.hstack": (KerasScript, "tensorflow.keras", "tensorflow"),
    "cv2.warpAffine": (OpenCV, "cv2", "opencv-python-headless"),
    OPERATION: (OperationGraph, "tensorflow", "tensorflow"),
    COMPILED: (CompiledGraph, "tensorflow", "tensorflow"),
}
WANTED = {"Keras and np.hstack": 30, "cv2.warpAffine": 3, OPERATION: 7}  # times as fast
HALF = 0.51  # of 255: what rounding may change, and a little for float32


def some_glyphs() -> Glyphs:
    """Take digits of the sample, in random order."""
    glyphs = load_sample()
    return glyphs.subset(np.random.default_rng(0).permutation(len(glyphs))[:POOL])


def data_set(glyphs: Glyphs, dtype: str, augment: Augment | None) -> DigitSequences:
    """Make the data set that is measured."""
    spacing = (0, MAX_GAP)
    spec = SequenceSpec(SAMPLES, LENGTH, WIDTH, spacing=spacing, augment=augment, dtype=dtype)
    return DigitSequences(glyphs, spec)


def find_libraries() -> tuple[dict[str, str], list[str]]:
    """Give the versions of the libraries that are there; say what is left out without others."""
    versions, missing = {}, []
    for name, (_, library, package) in WAYS.items():
        try:
            versions[library.split(".")[-1]] = import_module(library).__version__
        except ImportError:
            missing.append(name)
            print(f"left out: {name}, as there is no {library}: pip install {package}")
    return versions, missing


# Do all of them do the same work?


def drawn_plan(glyphs: Glyphs, data: DigitSequences) -> Plan:
    """Find out what the first batch of a data set is made of."""
    batch = data.batch(np.arange(BATCH))
    order = np.argsort(glyphs.ids)
    positions = order[np.searchsorted(glyphs.ids, batch.sources, sorter=order)]
    warps = np.stack([batch.factors[f"augment.{name}"] for name in NAMES])
    return Plan(positions, batch.cells[..., 0].astype(np.int64), warps)


def largest_difference(images: NDArray[Any], wanted: NDArray[np.float64]) -> float:
    """Give the largest difference of a pixel, in 1/255 of full ink."""
    full = 1 if images.dtype == np.uint8 else 255
    return float(np.abs(images * np.float64(full) - wanted).max())


def digits_differ(glyphs: Glyphs) -> float:
    """Compare digits that are warped alone with SciPy's."""
    augment = Augment(**RANGES)
    drawn = augment.draw(BATCH)
    warps = np.stack([drawn[name] for name in NAMES])[..., None]
    plan = Plan(np.arange(BATCH)[:, None], np.zeros((BATCH, 1), np.int64), warps)
    wanted = paint_by_scipy(glyphs.images, plan)[:, :, :SIDE]
    digits = glyphs.images[:BATCH].astype(np.float32) / np.float32(255)
    return largest_difference(augment.apply(digits, drawn), wanted)


def check(glyphs: Glyphs, ways: Mapping[str, Any]) -> list[Line]:
    """Let all paint the same, and see that what they draw by themselves has as much ink.

    Raises ValueError if one of them does other work than the rest.
    """
    sets = {dtype: data_set(glyphs, dtype, Augment(**RANGES)) for dtype in DTYPES}
    plan = drawn_plan(glyphs, sets["uint8"])
    wanted = paint_by_scipy(glyphs.images, plan)
    found = {"digits alone": digits_differ(glyphs)}
    for dtype, data in sets.items():
        found[f"batch {dtype}"] = largest_difference(data.batch(np.arange(BATCH)).images, wanted)
    for name, way in ways.items():
        found[name] = largest_difference(way.paint(plan), wanted)
        images, labels = (np.asarray(part) for part in way())
        ink = images.mean() * (1 if images.dtype == np.uint8 else 255)
        if images.shape != wanted.shape or labels.shape != plan.left.shape:
            raise ValueError(f"{name} gives {images.shape} and {labels.shape}")
        if not 0.9 < ink / wanted.mean() < 1.1:
            raise ValueError(f"{name} has {ink:.1f} of ink in a pixel, not {wanted.mean():.1f}")
    for name, worst in found.items():
        if worst > HALF:
            raise ValueError(f"{name} differs from SciPy by {worst:.3g} of 255, at most {HALF}")
    say = "largest difference from SciPy, of 255"
    return [Line(f"{name}: {say}", worst, "", HALF, False) for name, worst in found.items()]


# What is timed


def warping(glyphs: Glyphs, keras: bool) -> dict[str, Callable[[], object]]:
    """Give what warps digits alone: two flows, and a call on an array."""
    images = glyphs.images[..., None].astype(np.float32) / np.float32(255)
    tasks: dict[str, Callable[[], object]] = {}
    for name, ranges in ZOOMS.items():
        flow = Augment(**ranges).flow(images, glyphs.labels, batch_size=DIGITS)
        tasks[f"flow, {name}"] = flow.__next__
        if keras:
            generator = image_data_generator(**ranges)
            flow = generator.flow(images, glyphs.labels, batch_size=DIGITS, seed=0)
            tasks[f"Keras' flow, {name}"] = flow.__next__
    augment, starts = Augment(**RANGES), count(0, DIGITS)
    tasks["aug(images)"] = lambda: augment(images[:DIGITS], start=next(starts))
    return tasks


def composing(glyphs: Glyphs) -> dict[str, Callable[[], object]]:
    """Give what makes sequences with this package: batches and single samples, warped or not."""
    tasks: dict[str, Callable[[], object]] = {}
    for dtype in DTYPES:
        for kind, augment in (("plain", None), ("augmented", Augment(**RANGES))):
            many, one = batches(data_set(glyphs, dtype, augment))
            tasks[f"{kind} batch {dtype}"], tasks[f"{kind} ds[i] {dtype}"] = many, one
    return tasks


# What is told


def digit_lines(times: Times) -> list[Line]:
    """Hold the flows against Keras'."""
    lines = []
    for name in ZOOMS:
        if f"Keras' flow, {name}" in times.rounds:
            ratio = times.ratio(f"Keras' flow, {name}", f"flow, {name}")
            lines.append(Line(f"flow, {name}, against ImageDataGenerator.flow", ratio, "x", 40))
    for name in ("flow, zoom 0.1", "aug(images)"):
        lines.append(Line(f"{name}, each digit", 1e6 * times.typical(name) / DIGITS, "us"))
    return lines


def batch_lines(times: Times, dtype: str) -> list[Line]:
    """Hold batches and single samples of one type against what is wanted."""
    mine, graphs = f"augmented batch {dtype}", [f"{OPERATION} {dtype}", f"{COMPILED} {dtype}"]
    lines = [
        Line(f"{mine}, against {name}", times.ratio(f"{name} {dtype}", mine), "x", WANTED.get(name))
        for name in WAYS
        if f"{name} {dtype}" in times.rounds
    ]
    if set(graphs) <= set(times.rounds):
        quickest = min(graphs, key=times.typical)
        what = f"{mine}, against the faster graph of TensorFlow"
        lines.append(Line(what, times.ratio(quickest, mine), "x", 7))
    for kind in ("plain", "augmented"):
        micro = 1e6 * times.typical(f"{kind} batch {dtype}") / BATCH
        lines.append(Line(f"{kind} batch {dtype}, each sample", micro, "us"))
    for kind, limit in (("plain", 25), ("augmented", 40)):
        micro = 1e6 * times.typical(f"{kind} ds[i] {dtype}")
        wanted = limit if dtype == "uint8" else None
        lines.append(Line(f"{kind} ds[i] {dtype}", micro, "us", wanted, at_least=False))
    return lines


def main() -> None:
    """Print the report; write it as JSON too if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help=f"{LEAST_ROUNDS} or more")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    wishes = parser.parse_args()
    glyphs, (versions, missing) = some_glyphs(), find_libraries()
    ways: dict[str, Any] = {
        f"{name} {dtype}": make(glyphs, dtype)
        for name, (make, *_) in WAYS.items()
        for dtype in DTYPES
        if name not in missing
    }
    checked = check(glyphs, ways)
    tasks = warping(glyphs, "keras" in versions) | composing(glyphs) | ways
    times = interleave(tasks, wishes.rounds)
    lines = digit_lines(times)
    for dtype in DTYPES:
        lines += batch_lines(times, dtype)
    lines += checked
    print(report_table("Augment", lines, versions))
    print("", times_table(times, "augmented batch uint8"), sep="\n")
    if wishes.out:
        record = report_record("Augment", lines, [times], versions)
        record |= {"sequences in a batch": BATCH, "left out": missing}
        wishes.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
