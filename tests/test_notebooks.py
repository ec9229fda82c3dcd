"""Every notebook runs from top to bottom: each is one test."""

from pathlib import Path

import nbformat
import pytest
from nbdev import test as nbdev_test

from tools.export import ROOT, notebooks

NOTEBOOKS = list(notebooks(ROOT))


@pytest.fixture(autouse=True)
def in_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what nbdev sets and leaves behind, and take the short way through what trains a network.

    Under the first, a notebook's last cell does not export.
    """
    monkeypatch.setenv("IN_TEST", "1")
    monkeypatch.setenv("DIGITSEQ_SHORT", "1")


def case(path: Path) -> object:
    name = path.relative_to(ROOT / "nbs").as_posix()
    trains = name in ("tutorials/02_train_a_recogniser.ipynb", "tutorials/03_generative.ipynb")
    return pytest.param(path, id=name, marks=[pytest.mark.slow] if trains else [])


@pytest.mark.parametrize("notebook", [case(path) for path in NOTEBOOKS])
def test_notebook_runs(notebook: Path) -> None:
    done, _seconds = nbdev_test.test_nb(notebook)
    assert done, f"{notebook.name} failed: its traceback is in the captured stderr"


def test_a_failing_cell_fails_the_notebook(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in ("total = 2 + 2", "assert total == 5")]
    notebook = tmp_path / "wrong.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    assert nbdev_test.test_nb(notebook)[0] is False
    assert "AssertionError" in capsys.readouterr().err


def test_no_notebook_asks_to_be_left_out() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in NOTEBOOKS}
    assert [name for name, text in texts.items() if "skip_exec" in text] == []
