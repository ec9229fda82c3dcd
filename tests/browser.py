"""A browser, and a web server for it: what a reader of a page sees and does."""

import io
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # offline
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Start a browser; skip, or fail where DIGITSEQ_REQUIRE names chromium, if there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="chromium: playwright is missing")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on the loopback interface; gives its address, without a slash at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# An explorer in a page, or in a frame of one

PICTURE = "img.widget-image"
WAIT = 60_000  # at most, for a picture to change, in milliseconds


def picture(page: Any) -> np.ndarray:
    """Decode the picture that is on the page."""
    read = """async (selector) => {
        const reply = await fetch(document.querySelector(selector).src);
        return [...new Uint8Array(await reply.arrayBuffer())];
    }"""
    return np.asarray(Image.open(io.BytesIO(bytes(page.evaluate(read, PICTURE)))))


def source(page: Any) -> str:
    """Give the address of the picture, another one for each that was painted."""
    return str(page.evaluate("selector => document.querySelector(selector).src", PICTURE))


def wait_for_another(page: Any, before: str) -> None:
    """Wait until there is another picture."""
    changed = "([selector, before]) => document.querySelector(selector).src !== before"
    page.wait_for_function(changed, arg=[PICTURE, before], timeout=WAIT)


def control(page: Any, label: str) -> Any:
    """Find a control by its label."""
    exact = page.get_by_text(label, exact=True)
    return page.locator(".jupyter-widgets.widget-inline-hbox").filter(has=exact)


def type_width(page: Any, width: str) -> None:
    """Type a number beside the slider for the width."""
    readout = control(page, "Width").locator(".widget-readout")
    readout.click()
    readout.press("Control+a")
    readout.type(width)
    readout.press("Enter")
