"""`digitseq explore`, as a person meets it: an address, a page, sliders under a hand."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from digitseq.cli import main
from digitseq.exploring import explore
from tests.browser import (
    PICTURE,
    chromium,
    control,
    picture,
    source,
    type_width,
    wait_for_another,
)

pytest.importorskip("voila", reason="voila is not installed")
fixture = chromium  # pytest finds it by its name
SECONDS = 60_000  # at most, for a page to do what it should, in milliseconds
COMMAND = [sys.executable, "-c", "from digitseq.cli import main; raise SystemExit(main())"]


@pytest.fixture(scope="module")
def app() -> Iterator[subprocess.Popen[str]]:
    """Start the app on any port that is free."""
    process = subprocess.Popen(
        [*COMMAND, "explore", "--no-browser", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def address(app: subprocess.Popen[str]) -> str:
    """Read the address that it prints."""
    assert app.stdout is not None
    line = app.stdout.readline()
    found = re.fullmatch(r"(http://localhost:[0-9]+/) is the explorer; Ctrl-C ends it\n", line)
    assert found, line
    return found[1]


@pytest.fixture(scope="module")
def page(address: str, chromium: Any) -> Iterator[Any]:
    """Open the app in a browser that may copy, and see its first picture."""
    permissions = ["clipboard-read", "clipboard-write"]
    context = chromium.new_context(permissions=permissions, viewport={"width": 1280, "height": 900})
    own = context.new_page()
    own.said = []
    own.on("console", lambda told: own.said.append((told.type, told.text)))
    own.on("pageerror", lambda error: own.said.append(("error", str(error))))
    own.goto(address)
    own.wait_for_selector(PICTURE, timeout=SECONDS)
    yield own
    context.close()


def expected(**changes: Any) -> np.ndarray:
    """Paint what should be seen."""
    explorer = explore()
    try:
        return explorer.render(explorer.params | changes)
    finally:
        explorer.close()


def test_the_first_picture_is_that_of_the_package(page: Any) -> None:
    assert np.array_equal(picture(page), expected())
    assert page.title() == "digitseq: explore"


def test_a_slider_that_is_moved_changes_the_picture(page: Any) -> None:
    before, handle = source(page), control(page, "Width").locator(".noUi-handle")
    handle.focus()
    handle.press("ArrowRight")
    wait_for_another(page, before)
    width = int(control(page, "Width").locator(".widget-readout").inner_text())
    assert width > 220 and np.array_equal(picture(page), expected(width=width))
    before = source(page)
    handle.press("ArrowLeft")
    wait_for_another(page, before)
    assert np.array_equal(picture(page), expected())


def test_a_width_that_is_refused_says_so_in_place_and_goes(page: Any) -> None:
    type_width(page, "40")
    page.wait_for_selector("[role=alert]", timeout=SECONDS)
    assert "width must be at least" in page.inner_text("[role=alert]")
    page.wait_for_selector(PICTURE, state="hidden", timeout=SECONDS)
    type_width(page, "220")
    page.wait_for_selector("[role=alert]", state="detached", timeout=SECONDS)
    page.wait_for_selector(PICTURE, state="visible", timeout=SECONDS)
    assert np.array_equal(picture(page), expected())


def test_a_text_is_typed_into_the_box_of_that_label(page: Any) -> None:
    before, box = source(page), page.get_by_label("Texts")
    box.fill("2934 007")
    wait_for_another(page, before)
    assert np.array_equal(picture(page), expected(text="2934 007"))
    before = source(page)
    box.fill("")
    wait_for_another(page, before)


def test_next_is_a_button_for_the_keyboard_too(page: Any) -> None:
    before, button = source(page), page.get_by_role("button", name="Next")
    button.focus()
    button.press("Enter")
    wait_for_another(page, before)
    assert np.array_equal(picture(page), expected(seed=1))
    before = source(page)
    page.get_by_label("Seed").fill("0")
    page.get_by_label("Seed").press("Enter")
    wait_for_another(page, before)
    assert np.array_equal(picture(page), expected())


def test_the_code_is_copied(page: Any) -> None:
    explorer = explore()
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for(timeout=SECONDS)
    assert page.evaluate("navigator.clipboard.readText()") == explorer.code()
    explorer.close()


def test_a_telephone_is_wide_enough_and_shows_the_picture_first(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    try:
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
        seen, moved = page.locator(PICTURE).bounding_box(), control(page, "Length").bounding_box()
        assert seen["y"] + seen["height"] <= moved["y"] and seen["width"] <= 390
    finally:
        page.set_viewport_size({"width": 1280, "height": 900})


def test_the_page_complains_of_nothing_but_fonts_that_lie_elsewhere(page: Any) -> None:
    others = "/voila/labextensions/@jupyterlite/"  # installed beside Voila, and not made for it
    wrong = [text for kind, text in page.said if kind == "error" and others not in text]
    assert all("net::ERR" in text for text in wrong), wrong


def test_a_port_that_is_taken_is_said(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    port = re.search(r":([0-9]+)/", address)
    assert port and main(["explore", "--no-browser", "--port", port[1]]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert f"port {port[1]} can't be used" in err and "0 for any that is free" in err


def test_without_voila_the_line_that_installs_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "voila", None)
    assert main(["explore", "--no-browser"]) == 2
    assert capsys.readouterr().err == ("error: voila is missing: pip install 'digitseq[explore]'\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't send Ctrl-C to one process")
def test_ctrl_c_ends_it_at_once() -> None:
    command = [*COMMAND, "explore", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None and b"Ctrl-C" in process.stdout.readline()
        process.send_signal(signal.SIGINT)  # the server may not have started yet
        assert process.wait(timeout=60) == 0


def test_ctrl_c_ends_it(app: subprocess.Popen[str], address: str) -> None:
    assert address and app.poll() is None
    app.send_signal(signal.SIGINT)
    assert app.wait(timeout=60) == 0
