"""The documentation site, built once: as files, and as a reader sees it in a browser."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import digitseq
from tests.browser import chromium, serve
from tools import docs
from tools.export import ROOT, notebooks

fixture = chromium  # pytest finds it by its name
SITE = "https://digitseq.github.io/digitseq/"
COLAB = "https://colab.research.google.com/github/digitseq/digitseq/blob/main/"
SOURCES = [path.relative_to(ROOT / "nbs").as_posix() for path in notebooks(ROOT)]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
MADE = {"changelog.html", "reference.html"}  # pages that no notebook makes
LOOKED_AT = ("index.html", "save.html", "compose.html")


def address(source: str) -> str:
    """Say what the page of a notebook is called: as the notebook, without the number."""
    return re.sub(r"(^|/)\d+_", r"\1", source).replace(".ipynb", ".html")


class Seen(HTMLParser):
    """What a page holds that can be wrong: links, anchors, pictures, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {""}
        self.pictures: list[dict[str, str]] = []
        self.words: list[str] = []
        self._silent = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors.add(given.get("id", ""))
        self.links += [given[name] for name in ("href", "src") if name in given]
        if tag == "img":
            self.pictures.append(given)
        self._silent += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def build(out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "docs.py"), "--no-lite", "--out", str(out)]
    folders = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": folders, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "docs"
    done = build(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Seen]:
    return {
        path.relative_to(site).as_posix(): Seen(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
    }


# The files


def test_every_notebook_has_its_page(pages: dict[str, Seen]) -> None:
    assert pages.keys() == {address(source) for source in SOURCES} | MADE


def test_every_page_is_in_the_sidebar(site: Path) -> None:
    sidebar = re.search(
        r'<nav id="quarto-sidebar".*?</nav>', (site / "index.html").read_text("utf-8"), re.S
    )
    assert sidebar is not None
    targets = set(Seen(sidebar[0]).links)
    assert {address(source) for source in SOURCES} | MADE <= targets


def test_links_and_anchors_lead_somewhere(site: Path, pages: dict[str, Seen]) -> None:
    broken, followed = [], 0
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            here = (site / name).parent / unquote(parts.path) if parts.path else site / name
            found = here.resolve() / "index.html" if here.is_dir() else here.resolve()
            target = found.relative_to(site.resolve()).as_posix()
            if target.startswith("lite/"):  # built apart: test_lite has these
                continue
            followed += 1
            anchored = target not in pages or unquote(parts.fragment) in pages[target].anchors
            if not (found.is_file() and anchored):
                broken.append(f"{name}: {link}")
    assert not broken
    assert followed > 1000


def test_no_link_leaves_the_site_to_come_back(pages: dict[str, Seen]) -> None:
    assert not [link for page in pages.values() for link in page.links if link.startswith(SITE)]


def test_every_picture_is_there_and_in_words(site: Path, pages: dict[str, Seen]) -> None:
    pictures = [(name, one) for name, page in pages.items() for one in page.pictures]
    assert len(pictures) > 50
    for name, picture in pictures:
        assert len(picture.get("alt", "").split()) >= 3, f"{name}: {picture.get('alt')!r}"
        src = picture["src"]
        assert src.startswith("data:image/") or ((site / name).parent / src).is_file(), name


def test_nothing_raw_is_shown(pages: dict[str, Seen]) -> None:
    widgets = ["Box(children=(", "Slider(value="]
    foreign = [*widgets, ":::", "]{.", "/tmp/", str(ROOT), f"{Path.home()}/", "NameError"]
    found = [
        f"{name}: {word}" for name, page in pages.items() for word in foreign if word in page.text
    ]
    assert not found


def test_exported_names_are_documented(pages: dict[str, Seen]) -> None:
    text = pages["compose.html"].text
    assert "compose" in pages["compose.html"].anchors and "def compose" in text
    assert "NDArray" in text and "numpy.ndarray[tuple" not in text
    assert "Glyphs" in pages["core.html"].text and "glyphs" in pages["core.html"].anchors


def test_definitions_lie_folded_under_their_documentation(site: Path) -> None:
    html = (site / "save.html").read_text(encoding="utf-8")
    folds = [Seen(fold).text for fold in re.findall(r"<details.*?</details>", html, re.S)]
    assert any("def save(" in fold for fold in folds)
    assert any("def _own_names(" in fold for fold in folds)
    assert all(re.search(r"\b(def|class)\b|=", fold) for fold in folds), "a fold of imports only"


def test_the_reference_has_every_public_name(pages: dict[str, Seen]) -> None:
    names = set(digitseq.__all__) - {"__version__"}
    targets = {link.partition("#")[2] for link in pages["reference.html"].links}
    assert {name.lower() for name in names} <= targets
    assert "Compose images of glyphs by the maximum" in pages["reference.html"].text


def test_badges_open_the_notebook_of_the_page(pages: dict[str, Seen]) -> None:
    for source in SOURCES:
        badges = [link for link in pages[address(source)].links if link.startswith(COLAB)]
        runs = source[0].isdigit() or source.startswith("tutorials/")
        assert badges == ([f"{COLAB}nbs/{source}"] if runs else []), source


def test_contents_for_language_models(site: Path) -> None:
    lines = (site / "llms.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# digitseq" and lines[2].startswith("> Labelled images")
    entries = [re.fullmatch(r"- \[([^\]]+)\]\(([^)]+)\): (.+)", x) for x in lines if x[:1] == "-"]
    named = {entry[2].removeprefix(SITE) for entry in entries if entry is not None}
    assert len(entries) == len(named)
    assert named == {address(source) for source in SOURCES} - {"index.html"} | MADE
    assert all((site / name).is_file() for name in named)
    assert next(line for line in lines if line.startswith("## ")) == "## The steps"


def test_the_changelog_is_the_file(pages: dict[str, Seen]) -> None:
    words = pages["changelog.html"].text
    released = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )
    assert released and all(version in words for version in released)


# The tool


PAGE = docs.Page("tutorials/one.ipynb", "tutorials/one.ipynb", "One", "")
OTHER = docs.Page("05_two.ipynb", "two.ipynb", "Two", "")
PAGES = {page.source: page for page in (PAGE, OTHER)}


def markdown(source: str) -> docs.Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("[two](../05_two.ipynb#a)", "[two](../two.ipynb#a)"),
        ('<a href="../05_two.ipynb">', '<a href="../two.ipynb">'),
        (f"[`two`]({SITE}two.html#two)", "[`two`](../two.html#two)"),
        ("[far](https://example.org/05_two.ipynb)", "[far](https://example.org/05_two.ipynb)"),
        ("```\n[two](../05_two.ipynb)\n```", "```\n[two](../05_two.ipynb)\n```"),
    ],
)
def test_links_follow_the_names_of_pages(text: str, mended: str) -> None:
    assert docs.with_links(text, PAGE, PAGES) == mended


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        (
            ["# Ten digits", "One of *each* digit. Here are [all](x.ipynb) of `ds`:"],
            "Here are all of ds",
        ),
        (["Said once.", "::: {.note}\n```\ncode. It is.\n```\n:::"], "Said once."),
        (["## A heading alone"], "A heading alone"),
        ([], ""),
    ],
)
def test_a_picture_is_described_by_what_leads_to_it(before: list[str], sentence: str) -> None:
    assert docs.last_sentence(map(markdown, before)) == sentence


def test_a_page_keeps_its_own_words_and_no_widget() -> None:
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "x"}}
    widget = {**picture, "data": {docs.WIDGET: {}, "text/plain": "VBox(children=())"}}
    told = {"cell_type": "code", "metadata": {}, "source": '#| fig-alt: "Own"\nshow()'}
    cells = [markdown("---\noutput-file: one.html\n---"), {**told, "outputs": [picture, widget]}]
    notebook: dict[str, Any] = {"metadata": {"widgets": {}}, "cells": cells}
    docs.finish(notebook, PAGE, PAGES)
    front, badge, cell = notebook["cells"]
    assert "output-file" not in front["source"] and f"{COLAB}nbs/{PAGE.source}" in badge["source"]
    assert cell["outputs"] == [picture] and cell["source"] == told["source"]
    assert notebook["metadata"] == {}


def test_only_a_site_is_replaced(tmp_path: Path) -> None:
    new, old, other = tmp_path / "new", tmp_path / "old", tmp_path / "other"
    for folder, name in ((new, "index.html"), (old, "llms.txt"), (other, "thesis.txt")):
        folder.mkdir()
        (folder / name).write_text("x")
    docs.replace_site(new, old)
    assert [path.name for path in old.iterdir()] == ["index.html"]
    with pytest.raises(ValueError, match="holds other things than a site"):
        docs.replace_site(new, other)
    assert (other / "thesis.txt").exists()


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for quarto is a shell script")
def test_quarto_is_asked_where_it_is(tmp_path: Path) -> None:
    """A stand-in notes what it is given, and gives a site of one page."""
    quarto = tmp_path / "bin" / "quarto"
    quarto.parent.mkdir()
    quarto.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nls > {tmp_path}/given\n'
        "mkdir _docs && echo page > _docs/index.html\n"
    )
    quarto.chmod(0o755)
    done = build(tmp_path / "out", PATH=os.pathsep.join([str(quarto.parent), os.environ["PATH"]]))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "asked").read_text() == "render --no-cache\n"
    assert {"_quarto.yml", "nbdev.yml", "sidebar.yml", "compose.ipynb", "changelog.qmd"} <= set(
        (tmp_path / "given").read_text().split()
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"index.html", "llms.txt"}


# What a reader sees

CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
UNFOLD = "document.querySelectorAll('details').forEach(one => { one.open = true })"
# What sticks out of the window and lies in nothing that can be moved sideways.
STICKS_OUT = """() => {
  const moves = one => /auto|scroll/.test(getComputedStyle(one).overflowX);
  const held = one => one && one.tagName !== "MAIN" && (moves(one) || held(one.parentElement));
  return [...document.querySelectorAll("main *")]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1 && !held(one.parentElement))
    .map(one => one.tagName + " " + one.textContent.trim().slice(0, 40));
}"""


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    with serve(site) as url:
        yield url


@pytest.fixture
def reader(chromium: Any, served: str) -> Iterator[Callable[..., Any]]:
    """Open pages at a width, in light or dark, and hear what goes wrong on them."""
    contexts = []

    def start(viewport: dict[str, int], scheme: str = "light") -> tuple[Any, list[str]]:
        context = chromium.new_context(viewport=viewport, color_scheme=scheme)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page, wrong = context.new_page(), []
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda it: None if at_home(it.url, served) else wrong.append(it.url))
        return page, wrong

    yield start
    for context in contexts:
        context.close()


def at_home(url: str, served: str) -> bool:
    return url.startswith((served, "data:", "blob:"))


def show(page: Any, url: str, dark: bool) -> None:
    """Go to a page and wait until it has taken on its colours."""
    page.goto(url)
    page.wait_for_function(
        "dark => document.documentElement.classList.contains('quarto-dark') === dark", arg=dark
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_search_leads_to_the_page(reader: Callable[..., Any], served: str, scheme: str) -> None:
    page, wrong = reader(WIDE, scheme)
    show(page, f"{served}/index.html", scheme == "dark")
    page.get_by_label("Search").fill("compose")
    first = page.locator(".search-result", has_text="Compose").first
    first.wait_for()
    assert not weak_words(page)
    first.click()
    page.wait_for_url(re.compile(r"/compose\.html"))
    assert page.title().startswith("Compose")
    assert not wrong


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_quiet_and_fit_a_phone(
    reader: Callable[..., Any], served: str, pages: dict[str, Seen], scheme: str
) -> None:
    """No error, nothing fetched from elsewhere, nothing wider than the screen."""
    page, wrong = reader(NARROW, scheme)
    for name in pages:
        show(page, f"{served}/{name}", scheme == "dark")
        assert fits(page), f"{name} moves sideways"
        assert page.evaluate(STICKS_OUT) == [], name
        assert not wrong, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", LOOKED_AT)
def test_text_stands_out(
    reader: Callable[..., Any], served: str, name: str, viewport: dict[str, int], scheme: str
) -> None:
    """WCAG AA: 4.5 for text, 3 for large text, measured on every piece of text that is shown."""
    page, _ = reader(viewport, scheme)
    show(page, f"{served}/{name}", scheme == "dark")
    page.evaluate(UNFOLD)
    assert fits(page) and page.evaluate(STICKS_OUT) == []
    assert not weak_words(page)


def test_a_phone_opens_the_sidebar_at_its_top(reader: Callable[..., Any], served: str) -> None:
    page, _ = reader({"width": 390, "height": 600})
    show(page, f"{served}/index.html", False)
    page.get_by_label("Toggle sidebar navigation").click()
    page.wait_for_function(
        "document.querySelector('#quarto-sidebar').getBoundingClientRect().x === 0"
    )
    first = page.locator("#quarto-sidebar a").first.bounding_box()
    last = page.locator("#quarto-sidebar a", has_text="Changelog")
    assert first["y"] >= page.locator("#quarto-header").bounding_box()["height"]
    last.click()
    page.wait_for_url(re.compile(r"/changelog\.html"))


def fits(page: Any) -> bool:
    return bool(page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"))


def weak_words(page: Any) -> list[str]:
    """Name the words that are hard to read; there must be some to judge."""
    measured = page.evaluate(CONTRAST)
    assert len(measured) > 100
    return sorted({json.dumps(one) for one in measured if one["ratio"] < one["needed"]})
