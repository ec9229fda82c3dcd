"""Run notebooks in place and save what their cells show: the docs are made of saved outputs.

usage: python tools/run_notebooks.py [NOTEBOOK ...]      (all of nbs/ without an argument)

A notebook is written only when all of it ran, and then cleaned. One that fails stays as it was,
its error is printed, and the exit code is 1.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbdev.clean import nbdev_clean
from nbdev.doclinks import nbglob

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 3600  # at most, for one cell: a tutorial trains a network
WIDGET = "application/vnd.jupyter.widget-view+json"


def run(path: Path, root: Path = ROOT) -> str:
    """Run one notebook in its own folder and save it clean; gives the error's text, if any."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute(env=kernel_environment(root))
    except CellExecutionError as error:
        return str(error)
    keep_one_picture(notebook)
    drop_widgets(notebook)
    nbformat.write(notebook, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # nbdev only warns of a broken notebook
        nbdev_clean.__wrapped__(str(path))
    return ""


def keep_one_picture(notebook: nbformat.NotebookNode) -> None:
    """Drop the JPEG that Pillow shows beside each PNG: it is the same picture once more."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data.pop("image/jpeg", None)


def drop_widgets(notebook: nbformat.NotebookNode) -> None:
    """Drop what shows a widget: nothing is behind it any more when the notebook is read."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if WIDGET not in one.get("data", {})]


def kernel_environment(root: Path) -> dict[str, str]:
    """Let the kernel import this checkout, and keep a notebook's last cell from exporting."""
    folders = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "IN_TEST": "1"}


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the notebooks that are named, or all of them. Gives the exit code."""
    parser = argparse.ArgumentParser(description="Run notebooks in place and save their outputs.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of nbs/ if none is named")
    named = [path.resolve() for path in parser.parse_args(arguments).notebooks]
    os.chdir(root)
    failed = 0
    for path in named or sorted(nbglob(root / "nbs", as_path=True)):
        error = run(path, root)
        failed += bool(error)
        print(f"{path}: FAILED\n{error}" if error else f"{path}: ran")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
