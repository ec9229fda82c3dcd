"""What does it cost to hand batches to TensorFlow? Against making them, and against a generator.

usage: python bench/feed.py [--rounds N] [--out FILE]

A call is one pass over 16 batches of 128 sequences of 5 digits in 200 pixels. CPU times of one
interleaved run, in which TensorFlow's threads count as well.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from timing import LEAST_ROUNDS, Line, Times, interleave, report_record, report_table, times_table

from digitseq.feeding import as_floats, epoch_order
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.specifying import SequenceSpec

BATCH, BATCHES, WIDTH = 128, 16, 200


def passes(ds: DigitSequences) -> dict[str, Callable[[], object]]:
    """Give the ways of going through a data set once."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    def plain() -> Iterator[Any]:
        for batch in ds.batches(BATCH):
            yield batch.images[..., None] / np.float32(255), batch.labels()

    def aligned() -> Iterator[Any]:
        for batch in ds.batches(BATCH):
            yield as_floats(batch.images), batch.labels()

    shapes = [(None, 28, WIDTH, 1), (None, 5)]
    pairs = zip(shapes, (tf.float32, tf.int32), strict=True)
    signature = tuple(tf.TensorSpec(shape, kind) for shape, kind in pairs)
    sets = {"to_tf": ds.to_tf(BATCH), "to_tf, shuffled": ds.to_tf(BATCH, shuffle=True)}
    for name, function in {"from_generator": plain, "from_generator, aligned": aligned}.items():
        generator = tf.data.Dataset.from_generator(function, output_signature=signature)
        sets[name] = generator.prefetch(tf.data.AUTOTUNE)
    tasks: dict[str, Callable[[], object]] = {"arrays alone": lambda: sum(1 for _ in plain())}
    for name, one in sets.items():
        tasks[name] = lambda one=one: sum(1 for _ in one)
    return tasks


def report(times: Times, orders: Times) -> list[Line]:
    """Tell what a batch costs, and a place in an order."""
    each = [
        Line(f"{name}, each batch", 1e6 * times.typical(name) / BATCHES, "us")
        for name in times.rounds
    ]
    places = [
        Line(f"128 places {name}", 1e6 * orders.typical(name), "us") for name in orders.rounds
    ]
    return [
        *each,
        Line("to_tf against from_generator", times.ratio("from_generator", "to_tf"), "x"),
        *places,
    ]


def main() -> None:
    """Print the report; write it as JSON too if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help=f"{LEAST_ROUNDS} or more")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    wishes = parser.parse_args()
    spec = SequenceSpec(num_samples=BATCH * BATCHES, length=5, width=WIDTH)
    times = interleave(passes(DigitSequences(load_sample(), spec)), wishes.rounds, seconds=0.2)
    far = 10**9 - BATCH
    places: dict[str, Callable[[], object]] = {
        "at the start of an epoch of 1,000": lambda: epoch_order(1000, 0, BATCH, 0, 0),
        "at the start of one of 10**9": lambda: epoch_order(10**9, 0, BATCH, 0, 0),
        "at the end of its 1,000th": lambda: epoch_order(10**9, far, far + BATCH, 1000, 0),
    }
    orders = interleave(places, wishes.rounds)
    lines = report(times, orders)
    print(report_table("Feed", lines), times_table(times, "from_generator"), sep="\n\n")
    if wishes.out:
        record: Any = report_record("Feed", lines, [times, orders])
        wishes.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
