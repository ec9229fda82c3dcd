"""How fast are pictures encoded as PNG? Against Pillow's own encoder, and at how many bytes.

usage: python bench/png.py [--rounds N] [--out FILE]

Lots of 256 pictures are encoded by one thread, and timed as CPU time of one interleaved run. On
the clock, several threads share the work; how many, `encode_pngs` decides.
"""

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timing import LEAST_ROUNDS, Line, Times, interleave, report_record, report_table, times_table

from digitseq.encoding import encode_pngs
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.specifying import SequenceSpec

COUNT = 256
SPECS = {
    "28 x 200": SequenceSpec(COUNT, 4, 200),
    "28 x 200, augmented": SequenceSpec(COUNT, 4, 200, augment="default"),
    "28 x 28": SequenceSpec(COUNT, 1, 28),
}


def by_pillow(images: NDArray[np.uint8]) -> list[bytes]:
    """Encode pictures as Pillow does by default."""
    files = []
    for image in images:
        Image.fromarray(image).save(buffer := io.BytesIO(), format="PNG")
        files.append(buffer.getvalue())
    return files


def size(files: list[bytes]) -> int:
    return sum(map(len, files))


def pictures() -> dict[str, NDArray[np.uint8]]:
    """Make the pictures that are encoded, and see that both encoders mean the same."""
    glyphs = load_sample("train")
    found = {name: DigitSequences(glyphs, spec)[:].images for name, spec in SPECS.items()}
    for images in found.values():
        for image, file in zip(images, encode_pngs(images), strict=True):
            assert (np.asarray(Image.open(io.BytesIO(file))) == image).all()
    return found


def clock_ratio(images: NDArray[np.uint8], rounds: int) -> float:
    """Tell how many times as fast as Pillow all threads together are, on the clock."""
    ratios = []
    for _ in range(rounds):
        start = time.perf_counter()
        by_pillow(images)
        between = time.perf_counter()
        encode_pngs(images)
        ratios.append((between - start) / (time.perf_counter() - between))
    return median(ratios)


def report_lines(times: Times, found: dict[str, NDArray[np.uint8]], rounds: int) -> list[Line]:
    """Hold speed and bytes against what is wanted."""
    lines = []
    for name, images in found.items():
        ours, theirs = encode_pngs(images), by_pillow(images)
        ratio = times.ratio(f"Pillow, {name}", f"encode_pngs, {name}")
        share = size(ours) / size(theirs)
        lines += [
            Line(f"{name}: against Pillow, CPU time", ratio, "x", 2.5),
            Line(f"{name}: against Pillow, on the clock", clock_ratio(images, rounds), "x"),
            Line(f"{name}: bytes, of Pillow's", share, "", 0.95, at_least=False),
        ]
    return lines


def main() -> None:
    """Print the report; write it as JSON too if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help=f"{LEAST_ROUNDS} or more")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    wishes = parser.parse_args()
    tasks: dict[str, Callable[[], Any]] = {}
    found = pictures()
    for name, images in found.items():
        tasks[f"Pillow, {name}"] = lambda images=images: by_pillow(images)
        tasks[f"encode_pngs, {name}"] = lambda images=images: encode_pngs(images, 1)
    times = interleave(tasks, wishes.rounds)
    lines = report_lines(times, found, wishes.rounds)
    others = {"pillow": Image.__version__}
    print(report_table("PNG", lines, others), times_table(times, "Pillow, 28 x 200"), sep="\n\n")
    if wishes.out:
        record = report_record("PNG", lines, [times], others)
        wishes.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
