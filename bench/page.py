"""How many pages a second? Every preset at two heights, and a plain string beside them.

usage: python bench/page.py [--rounds N] [--out FILE]

A call makes one batch of 256 sequences of 2 to 7 digits in 160 pixels, labels included. CPU times
of one interleaved run, on one core.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from timing import LEAST_ROUNDS, Line, Times, interleave, report_record, report_table, times_table

from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.paging import PRESETS
from digitseq.specifying import SequenceSpec

BATCH, WIDTH = 256, 160
LEAST = 3000  # pages a second, of cheques


def works() -> dict[str, Callable[[], object]]:
    """Give what is measured, by name."""
    found: dict[str, Callable[[], object]] = {}
    glyphs, numbers = load_sample(), np.arange(BATCH)
    for name in (None, *PRESETS):
        for height in (28, 32):
            spec = SequenceSpec(BATCH, (2, 7), WIDTH if name else None, height, page=name)
            ds = DigitSequences(glyphs, spec)
            ds.batch(numbers)  # what is settled once
            found[f"{name or 'no page'}, {height} px"] = lambda ds=ds: ds.batch(numbers)
    return found


def report(times: Times) -> list[Line]:
    """Say how many sequences a second each makes."""
    lines = []
    for name in times.rounds:
        limit = LEAST if name.startswith("cheque") else None
        lines.append(Line(name, BATCH / times.typical(name), "sequences/s", limit))
    return lines


def main() -> None:
    """Print the report; write it as JSON too if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help=f"{LEAST_ROUNDS} or more")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    wishes = parser.parse_args()
    times = interleave(works(), wishes.rounds)
    lines = report(times)
    print(report_table("Pages", lines), times_table(times, "no page, 28 px"), sep="\n\n")
    if wishes.out:
        record: Any = report_record("Pages", lines, [times])
        wishes.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
