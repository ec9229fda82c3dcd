"""Write down what varied specs give, so that no later change moves a pixel unseen.

usage: python tools/golden.py      (writes tests/golden.json)

Only a new `spec_version` may change what stands there already: add cases, don't renew them.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from digitseq.core import Glyphs, atomic_write
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.specifying import SequenceSpec

TARGET = Path(__file__).resolve().parent.parent / "tests" / "golden.json"
SAMPLES = 16  # of each spec: the first eight and eight far apart
WRITERS = 97  # made up from the ids; most of them lack some digit

SPECS: list[dict[str, Any]] = [
    {},
    {"length": 1},
    {"length": 1, "width": 28},
    {"length": 50},
    {"length": (1, 9)},
    {"length": (2, 6), "width": 220},
    {"length": 4, "width": 112},
    {"length": 5, "width": 160},
    {"length": 5, "width": 160, "fill": "justify"},
    {"length": (4, 5), "width": 141, "fill": "justify"},
    {"length": 5, "width": 171, "fill": "equal"},
    {"length": 12, "width": 380, "spacing": (0, 10)},
    {"length": 20, "width": 600, "spacing": (0, 10)},
    {"length": 3, "spacing": (-12, -3)},
    {"length": 4, "spacing": (7, 7)},
    {"length": 5, "width": 300, "align": "left"},
    {"length": 5, "width": 300, "align": "right"},
    {"length": (1, 5), "width": 300, "align": "random"},
    {"length": 5, "measure": "ink", "spacing": (2, 6)},
    {"length": 5, "measure": "ink", "spacing": (0, 0), "width": 150},
    {"length": 6, "measure": "ink", "spacing": (-2, 1), "width": 130},
    {"length": 5, "measure": "ink", "fill": "justify", "width": 120},
    {"length": 5, "measure": "ink", "fill": "equal", "width": 130, "align": "random"},
    {"length": 8, "width": 160, "overflow": "shrink"},
    {"length": (2, 9), "width": 150, "overflow": "shrink", "align": "random"},
    {"length": 10, "width": 200, "overflow": "shrink", "fill": "justify"},
    {"length": (1, 8), "width": 120, "overflow": "shrink", "measure": "ink"},
    {"length": 3, "height": 20, "overflow": "shrink", "dtype": "float32"},
    {"length": 4, "height": 41},
    {"length": 4, "height": 64, "width": 256, "ink": "black"},
    {"dtype": "float32"},
    {"dtype": "float32", "ink": "black", "length": (2, 3), "width": 96},
    {"length": None, "texts": ("007", "10", "2934", "5")},
    {"length": None, "texts": ("31415926535",), "width": 320},
    {"length": 3, "unique": True},
    {"length": (2, 7), "unique": True, "width": 200},
    {"digits": (6, 3, 1, 1, 1, 1, 1, 1, 1, 0.1)},
    {"digits": (0, 0, 0, 1, 0, 0, 0, 2, 0, 0), "length": (3, 8)},
    {"writer": "same", "length": (2, 4)},
    {"writer": "same", "length": 3, "measure": "ink", "spacing": (-1, 3), "ink": "black"},
    {"texts": "disjoint", "length": 4},
    {"texts": "disjoint", "length": (2, 7), "width": 200},
    {"texts": "disjoint", "length": (3, 21)},
    {"texts": "balanced"},
    {"texts": "balanced", "length": 4},
    {"texts": "balanced", "length": 103},
]
SEEDS = (0, 1, 20260101, 2**63, 2**64 - 1)


@cache
def parts() -> tuple[Glyphs, ...]:
    """Split the sample; the writers are made up, the same for ever."""
    glyphs = load_sample()
    known = replace(glyphs, writers=glyphs.ids % WRITERS)
    return known.train_test_split(test=0.3, validation=0.2, seed=0)


def data_set(number: int, spec: SequenceSpec) -> DigitSequences:
    """Give the data set of one case; the three splits take turns."""
    return DigitSequences(parts()[number % 3], spec)


def measured(number: int, spec: SequenceSpec) -> str:
    """Hash sixteen samples: pixels, labels and geometry."""
    near, last = list(range(SAMPLES // 2)), spec.num_samples - 1
    far = [last - k * last // (SAMPLES - 1) for k in range(SAMPLES // 2)]
    return data_set(number, spec).batch(near + far).sha256


def golden() -> list[dict[str, Any]]:
    cases = []
    for number, wishes in enumerate(SPECS):
        few = 110 if wishes.get("unique") or wishes.get("texts") == "disjoint" else 2**62
        spec = SequenceSpec(**{"num_samples": few, "seed": SEEDS[number % len(SEEDS)]} | wishes)
        about = {"spec": spec.to_dict(), "spec_sha256": spec.sha256}
        cases.append(about | {"batch_sha256": measured(number, spec)})
    return cases


def main() -> None:
    lines = ",\n".join(json.dumps(case) for case in golden())
    atomic_write(TARGET, f"[\n{lines}\n]\n".encode())
    print(f"{TARGET}: {len(SPECS)} specs")


if __name__ == "__main__":
    main()
