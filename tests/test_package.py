"""The package as a package: its names, its weight, its floors, and the tools that keep it in step.

What looks at this very tree (ruff, mypy, the import contract, the export check) or wants a fresh
environment (the wheel) is in .ci/run.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import metadata, requires
from importlib.resources import files
from pathlib import Path

import pytest

import digitseq as dsq
from tools import export, readme, run_notebooks

ROOT = Path(__file__).resolve().parents[1]
MODULES = {path.stem for path in (ROOT / "digitseq").glob("*.py")} | {
    "loading", "normalizing", "mapping", "spacing", "composing", "warping", "augmenting",
    "paging", "preparing", "generating", "saving", "training", "inspecting", "exploring", "core",
    "api", "cli",
}  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def python(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in a process of its own, in the repository."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


# Names


@pytest.mark.parametrize("name", dsq.__all__)
def test_every_public_name_resolves_and_is_no_module(name: str) -> None:
    assert getattr(dsq, name) is not None
    assert name not in MODULES


def test_public_names_are_said_in_three_places_alike() -> None:
    body = ast.parse((ROOT / "digitseq" / "__init__.py").read_text(encoding="utf-8")).body
    typed = {
        alias.name: statement.module
        for block in body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert typed == {name: f"digitseq.{home}" for name, home in dsq._HOMES.items()}
    assert sorted(dsq.__all__) == sorted([*typed, "__version__"]) == dir(dsq)


def test_a_type_checker_knows_every_name_and_no_other(tmp_path: Path) -> None:
    source = tmp_path / "user.py"
    source.write_text(
        "import digitseq as dsq\nreveal_type(dsq.contact_sheet)\ndsq.Glyphs(images=3)\ndsq.Glifs\n"
    )
    done = python("-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", source)
    assert "-> PIL.Image.Image" in done.stdout
    assert 'Argument "images" to "Glyphs" has incompatible type "int"' in done.stdout
    assert 'Module has no attribute "Glifs"' in done.stdout


def test_import_is_light() -> None:
    heavy = (
        "tensorflow",
        "matplotlib",
        "keras",
        "pandas",
        "datasets",
        "ipywidgets",
        "numba",
        "mlxtend",
        "pooch",
        "typer",
    )
    code = f"import sys, digitseq as dsq; print([name for name in {heavy} if name in sys.modules])"
    done = python("-c", code)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_using_a_name_loads_no_framework() -> None:
    heavy = ("tensorflow", "keras", "matplotlib", "pandas", "datasets", "ipywidgets", "torch")
    heavy += ("fsspec", "pyarrow", "webdataset", "distributed", "pycocotools", "mlcroissant")
    code = f"""
import sys, digitseq
def loaded():
    return [name for name in {heavy} if name in sys.modules]
for name in digitseq.__all__:
    if name != "explore":
        getattr(digitseq, name)
print(loaded())
digitseq.explore
print(loaded())
"""
    done = python("-c", code)
    assert (done.stdout.splitlines(), done.stderr) == (["[]", "['ipywidgets']"], "")


# What the distribution says of itself


def test_version_and_requirements_are_those_of_the_settings(settings: dict[str, str]) -> None:
    assert dsq.__version__ == settings["version"]
    about = metadata("digitseq")
    assert about["Version"] == settings["version"]
    assert about["License-Expression"] == "Apache-2.0"
    assert {"tf", "dev"} <= set(about.get_all("Provides-Extra"))
    assert any(re.match(r"numba.*sys_platform", line) for line in requires("digitseq") or [])


def test_version_is_in_the_changelog_and_the_citation(settings: dict[str, str]) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(settings['version'])}\]", changelog, re.M)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {settings['version']}\n" in citation


def test_the_package_says_that_it_is_typed() -> None:
    assert files("digitseq").joinpath("py.typed").is_file()


# Floors


def floors(folder: Path) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "pyproject.toml", folder)
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
    ]
    return subprocess.run(
        [*command, "--no-cache"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"},
    )


@pytest.mark.parametrize(
    ("module", "wrong"),
    [
        ("core", "from digitseq.generating import a"),
        ("loading", "import digitseq.spacing"),
        ("spacing", "def f():\n    from digitseq.saving import a"),
        ("generating", "import digitseq.cli"),
        ("brandnew", ""),
    ],
)
def test_the_contract_notices(tmp_path: Path, module: str, wrong: str) -> None:
    package = tmp_path / "digitseq"
    package.mkdir()
    for name in ("__init__", "core", "loading", "spacing", "generating", "saving", "cli"):
        (package / f"{name}.py").write_text("a = 1\n")
    assert floors(tmp_path).returncode == 0
    (package / f"{module}.py").write_text(f"{wrong}\n")
    assert floors(tmp_path).returncode == 1


# README


def notebook(*cells: dict[str, object]) -> str:
    return json.dumps({"cells": [{"metadata": {}, **cell} for cell in cells]})


def code(source: str, *outputs: dict[str, object]) -> dict[str, object]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs)}


def prose(source: str) -> dict[str, object]:
    return {"cell_type": "markdown", "source": source}


PICTURE = {"output_type": "display_data", "data": {"image/png": "iVBORw==\n", "text/plain": "<P>"}}
VALUE = {"output_type": "execute_result", "data": {"text/plain": ["[1,\n", " 2]"]}}
PRINTED = {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]}


def made(tmp_path: Path, *cells: dict[str, object]) -> dict[str, bytes]:
    path = tmp_path / "index.ipynb"
    path.write_text(notebook(*cells), encoding="utf-8")
    return readme.readme(path)


def test_readme_shows_prose_code_and_outputs(tmp_path: Path) -> None:
    made_files = made(
        tmp_path,
        prose(
            "# Title\n::: {.callout-note}\nSee [core](00_core.ipynb), ![](a.png), "
            "[x](../X.md#y).\n:::"
        ),
        prose("```\n[kept](as.is)\n::: too\n```\n[far](https://far.org) [here](#here)"),
        code("#| hide\nimport nothing"),
        code("#| export\ndef hidden(): ..."),
        code("#| fig-alt: Two digits\nshow()", PICTURE),
        code("#| echo: false\nsecret()", VALUE, PRINTED),
        code("#| output: false\nquiet()", VALUE),
    )
    assert made_files["README.md"].decode() == (
        readme.NOTICE + "\n# Title\nSee [core](nbs/00_core.ipynb), ![](nbs/a.png), [x](X.md#y).\n\n"
        "```\n[kept](as.is)\n::: too\n```\n[far](https://far.org) [here](#here)\n\n"
        "```python\nshow()\n```\n\n![Two digits](nbs/images/readme/1.png)\n\n"
        "```text\n[1,\n 2]\n```\n\n```text\none\ntwo\n```\n\n"
        "```python\nquiet()\n```\n"
    )
    assert made_files["nbs/images/readme/1.png"] == b"\x89PNG"


def test_readme_refuses_an_output_that_it_cannot_show(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot show an output of type error"):
        made(tmp_path, code("1 / 0", {"output_type": "error", "ename": "ZeroDivisionError"}))


def test_readme_check_names_what_differs_and_writing_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nbs" / "images" / "readme").mkdir(parents=True)
    (tmp_path / "nbs" / "index.ipynb").write_text(notebook(code("show()", PICTURE)))
    (tmp_path / "nbs" / "images" / "readme" / "2.png").write_bytes(b"old")
    assert readme.main(["--check"], tmp_path) == 1
    named = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert named == ["README.md", "nbs/images/readme/1.png", "nbs/images/readme/2.png"]
    assert not (tmp_path / "README.md").exists()
    assert readme.main([], tmp_path) == 0
    assert readme.main(["--check"], tmp_path) == 0


def test_readme_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [match["target"] for match in readme.LINK.finditer(text)]
    local = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_readme_holds_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "pip install . && digitseq generate digits --num-samples 1000" in lines
    assert 'pip install -e ".[dev]" && pytest' in lines


def test_the_sidebar_lists_every_notebook() -> None:
    listed = re.findall(r"\S+\.ipynb", (ROOT / "nbs" / "sidebar.yml").read_text(encoding="utf-8"))
    there = [path.relative_to(ROOT / "nbs").as_posix() for path in export.notebooks(ROOT)]
    assert len(set(listed)) == len(listed)
    assert set(there) <= set(listed)


# Export and re-execution, on a small repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository of one notebook and its module, in sync."""
    for name in ("settings.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "digitseq").mkdir()
    (tmp_path / "nbs").mkdir()
    cells = [
        code("#| default_exp tiny"),
        prose("# Tiny\n\n> Small."),
        code("#| export\nONE = 1"),
        code("ONE"),
    ]
    content = json.loads(notebook(*cells)) | {
        "metadata": {
            "kernelspec": {"name": "python3", "language": "python", "display_name": "python3"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    for k, cell in enumerate(content["cells"]):
        cell["id"] = f"cell{k}"
        if cell["cell_type"] == "code":
            cell["execution_count"] = None
    (tmp_path / "nbs" / "00_tiny.ipynb").write_text(json.dumps(content))
    done = exported(tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def exported(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = repository / "tools" / "export.py"
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)


def test_export_check_is_quiet_when_all_is_in_sync(repository: Path) -> None:
    assert "ONE = 1" in (repository / "digitseq" / "tiny.py").read_text()
    assert export.main(["--check"], repository) == 0


def test_export_check_names_each_file_and_changes_none(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny, source = repository / "digitseq" / "tiny.py", repository / "nbs" / "00_tiny.ipynb"
    shutil.copy(tiny, repository / "digitseq" / "stale.py")
    tiny.write_text(tiny.read_text().replace("ONE = 1", "ONE = 2"))
    source.write_text(source.read_text().replace('"execution_count": null', '"execution_count": 7'))
    (repository / "digitseq" / "_modidx.py").unlink()
    before = export.contents(repository)
    assert export.main(["--check"], repository) == 1
    assert capsys.readouterr().out.splitlines() == [
        "digitseq/_modidx.py is missing",
        "digitseq/stale.py is left over: no notebook makes it",
        "digitseq/tiny.py is not in sync",
        "nbs/00_tiny.ipynb is not clean",
        "mend it with: python tools/export.py",
    ]
    assert export.contents(repository) == before
    assert exported(repository).returncode == 0
    assert export.main(["--check"], repository) == 0


def test_a_change_of_one_module_compiles_every_kernel_anew(repository: Path) -> None:
    """numba looks at the file of a kernel only, not at the files of what it calls."""
    package, below = repository / "digitseq", repository / "digitseq" / "below.py"
    above = package / "above.py"
    for path in (below, above):
        path.write_text(f"{export.HEADER} x\n\n@kernel\ndef same(): ...\n")
    export.stamp(repository)
    before = above.read_text()
    assert before.splitlines()[0] == below.read_text().splitlines()[0] != f"{export.HEADER} x"
    below.write_text(f"{export.HEADER} x\n\n@kernel\ndef other(): ...\n")
    above.write_text(f"{export.HEADER} x\n\n@kernel\ndef same(): ...\n")
    export.stamp(repository)
    assert above.read_text() != before
    assert "Kernels" not in (package / "tiny.py").read_text()


def test_export_fails_on_a_broken_notebook(repository: Path) -> None:
    (repository / "nbs" / "01_broken.ipynb").write_text("{")
    assert exported(repository).returncode != 0
    assert export.main(["--check"], repository) == 1


def test_running_a_notebook_saves_what_it_shows_and_leaves_it_clean(repository: Path) -> None:
    path = repository / "nbs" / "00_tiny.ipynb"
    assert run_notebooks.run(path, repository) == ""
    cell = json.loads(path.read_text())["cells"][3]
    assert (cell["outputs"][0]["data"]["text/plain"], cell["execution_count"]) == (["1"], None)
    assert export.main(["--check"], repository) == 0


def test_a_notebook_that_fails_is_left_as_it_was(repository: Path) -> None:
    path = repository / "nbs" / "00_tiny.ipynb"
    path.write_text(path.read_text().replace('"ONE"', '"1 / 0"'))
    before = path.read_bytes()
    assert "ZeroDivisionError" in run_notebooks.run(path, repository)
    assert path.read_bytes() == before


# Tests that must not be skipped


@pytest.mark.parametrize(
    ("required", "closing"), [("", "2 skipped"), ("nowhere_to_be_found", "failed")]
)
def test_a_skip_for_want_of_a_required_package_is_a_failure(
    tmp_path: Path, required: str, closing: str
) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    want = 'pytest.importorskip("nowhere_to_be_found")'
    (tmp_path / "test_inside.py").write_text(f"import pytest\ndef test_it():\n    {want}\n")
    (tmp_path / "test_whole.py").write_text(f"import pytest\n{want}\n")
    done = python(
        "-m", "pytest", "-c", os.devnull, "--rootdir", tmp_path, "--continue-on-collection-errors",
        "-p", "no:cacheprovider", tmp_path, DIGITSEQ_REQUIRE=required, PYTEST_ADDOPTS="",
    )  # fmt: skip
    assert closing in done.stdout.splitlines()[-1]
    assert bool(required) == (done.returncode != 0)
    assert ("1 error" in done.stdout.splitlines()[-1]) == bool(required)
