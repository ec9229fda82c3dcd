"""How fast is a large data set on the disk, and how much memory does that take?

usage: python bench/scale.py [--root DIR] [--sizes N ...] [--formats NAME ...] [--out FILE]

Each data set is saved by a process of its own with two workers, then verified, then made again and
compared. The rate counts everything, the start of the workers too. The memory is the most that the
process ever held in which `save` was called: it must not grow with the number of samples.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from timing import machine

from digitseq.generating import DigitSequences
from digitseq.loading import load_glyphs
from digitseq.recording import FORMATS
from digitseq.saving import save, verify
from digitseq.specifying import SequenceSpec

WORKERS = 2


def data_set(count: int, root: str | None) -> DigitSequences:
    """Two to six digits in 220 pixels, of MNIST's 60,000 if there is a folder with them."""
    glyphs = load_glyphs("mnist" if root else "sample", "train", root)
    return DigitSequences(glyphs, SequenceSpec(count, (2, 6), 220))


def held() -> float:
    """Give the most memory that this process ever held, in megabytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


def one(format: str, count: int, root: str | None) -> dict[str, Any]:
    """Save one data set and prove it; gives what that took."""
    with tempfile.TemporaryDirectory() as place:
        ds, out = data_set(count, root), Path(place) / "digits"
        start = time.perf_counter()
        save(ds, out, format, workers=WORKERS, progress=False)
        saved, memory = time.perf_counter(), held()
        quick = verify(out)
        verified = time.perf_counter()
        deep = verify(out, deep=True, glyphs=ds.glyphs)
        compared = time.perf_counter()
        assert quick.ok and deep.ok, (quick, deep)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {
        "format": format,
        "samples": count,
        "megabytes": size / 1e6,
        "samples a second": count / (saved - start),
        "memory of save": memory,
        "seconds of verify": verified - saved,
        "seconds of verify, deep": compared - verified,
    }


def apart(format: str, count: int, root: str | None) -> dict[str, Any]:
    """Do so in a process of its own."""
    home = Path(__file__).resolve().parent
    paths = os.pathsep.join(filter(None, [str(home.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, __file__, "--one", format, str(count)]
    command += ["--root", root] if root else []
    environment = {**os.environ, "PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Write what was found as a Markdown table, with the machine above it."""
    lines = [f"- {name}: {value}" for name, value in machine().items()]
    lines += ["", f"| {' | '.join(rows[0])} |", f"|---|{'--:|' * (len(rows[0]) - 1)}"]
    for row in rows:
        cells = [value if isinstance(value, str) else f"{value:,.0f}" for value in row.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(["## Scale", "", *lines])


def main() -> None:
    """Print the report; write it as JSON too if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", help="a folder with MNIST's files; without it, the sample")
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--formats", nargs="+", default=["npz", "parquet", "webdataset", "png"])
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    parser.add_argument("--one", nargs=2, metavar=("FORMAT", "COUNT"), help=argparse.SUPPRESS)
    wishes = parser.parse_args()
    if wishes.one:
        print(json.dumps(one(wishes.one[0], int(wishes.one[1]), wishes.root)))
        return
    unknown = set(wishes.formats) - set(FORMATS)
    if unknown:
        parser.error(f"there are no formats {', '.join(unknown)}")
    rows = [apart(form, size, wishes.root) for form in wishes.formats for size in wishes.sizes]
    print(table(rows))
    if wishes.out:
        told = {"title": "Scale", **machine(), "rows": rows}
        wishes.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
