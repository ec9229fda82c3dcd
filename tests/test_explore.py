"""Explorers, beyond their notebook: all that a hand can set, and what is left when it rests."""

import ast
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ipywidgets.widgets.widget import _instances
from PIL import Image

from digitseq import exploring
from digitseq.core import Glyphs
from digitseq.exploring import STEPS, Explorer, explore, facts_html, spelled
from digitseq.loading import load_sample

MakeGlyphs = Callable[..., Glyphs]


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Close all widgets that a test leaves."""
    yield
    widgets.Widget.close_all()


@pytest.fixture
def seven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Explorer]]:
    """Open one explorer of each kind; what their code writes goes to a folder of its own."""
    monkeypatch.chdir(tmp_path)
    yield {name: explore(name) for name in STEPS}


def decoded(explorer: Explorer) -> np.ndarray:
    """Decode the picture that is on the screen."""
    return np.asarray(Image.open(io.BytesIO(explorer.picture.value)))


def is_seen(explorer: Explorer) -> bool:
    """Tell whether there is a picture, and no message instead; never both, never neither."""
    seen = not explorer.picture.layout.display
    assert seen == (explorer.message.value == "")
    assert seen == (not explorer.facts.layout.display)
    return seen


def run(code: str, **names: Any) -> np.ndarray:
    """Run code as a notebook does, and give the picture that its last line is."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr)
    exec(compile(tree, "code", "exec"), names)
    picture = eval(compile(ast.Expression(last.value), "code", "eval"), names)
    return np.asarray(picture)


def values(control: Any) -> st.SearchStrategy[Any]:
    """Draw what a hand can set a control to."""
    if isinstance(control, widgets.Checkbox):
        return st.booleans()
    if isinstance(control, widgets.Dropdown):
        return st.sampled_from(control.options)
    if isinstance(control, widgets.Text):
        return st.text("0123456789", max_size=9) | st.text(max_size=4) | st.just("2934 007")
    steps = round((control.max - control.min) / getattr(control, "step", 1))
    one = st.integers(0, min(steps, 2**53 - 1)).map(lambda k: control.min + k * control.step)
    if not isinstance(control.value, tuple):
        return one
    return st.tuples(one, one).map(lambda pair: tuple(sorted(pair)))


# The code is what is seen


@pytest.mark.parametrize("name", STEPS)
def test_the_code_makes_what_is_seen(seven: dict[str, Explorer], name: str) -> None:
    explorer = seven[name]
    assert is_seen(explorer)
    assert np.array_equal(run(explorer.code()), decoded(explorer))


@pytest.mark.parametrize("name", [name for name in STEPS if name != "save"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_code_makes_what_is_seen_whatever_is_set(
    seven: dict[str, Explorer], name: str, data: st.DataObject
) -> None:
    explorer = seven[name]
    if "draws" in explorer.controls:
        explorer.controls["draws"].min = explorer.controls["draws"].max = 20
    for key in data.draw(st.lists(st.sampled_from(sorted(explorer.controls)), max_size=5)):
        control = explorer.controls[key]
        control.value = data.draw(values(control), label=key)
    if is_seen(explorer):
        picture = explorer.render(explorer.params)
        assert np.array_equal(decoded(explorer), picture)
        assert np.array_equal(np.asarray(explorer.snapshot()), picture)
        assert np.array_equal(run(explorer.code()), picture)
    else:
        with pytest.raises(ValueError) as refused:
            explorer.snapshot()
        assert str(refused.value) in text_of(explorer.message.value)
        with pytest.raises(ValueError) as same:
            run(explorer.code())
        assert str(same.value) == str(refused.value)


@pytest.mark.parametrize("format", ["png", "coco", "npz"])
def test_a_folder_that_is_shown_is_the_one_that_the_code_writes(
    seven: dict[str, Explorer], format: str
) -> None:
    explorer = seven["save"]
    explorer.controls["shard_size"].value = 3
    explorer.controls["format"].value = format
    assert np.array_equal(run(explorer.code()), decoded(explorer))
    shown = text_of(explorer.facts.value)
    files = [path for path in Path("digits").rglob("*") if path.is_file()]
    listed = [path for path in files if path.relative_to("digits").as_posix() in shown]
    assert len(listed) >= 8 and all(str(path.stat().st_size) in shown for path in listed)


@pytest.mark.parametrize("name", [name for name in STEPS if name != "save"])
def test_other_glyphs_are_seen_and_named(make_glyphs: MakeGlyphs, name: str) -> None:
    glyphs = replace(make_glyphs(height=20, width=16, n=60), name="<b>mine</b>")
    explorer = explore(name, glyphs)
    assert is_seen(explorer), explorer.message.value
    assert "load_sample" not in explorer.code()
    assert f"# glyphs: 60 of '<b>mine</b>', SHA-256 {glyphs.sha256[:12]}" in explorer.code()
    assert np.array_equal(run(explorer.code(), glyphs=glyphs), decoded(explorer))
    assert "<b>mine" not in explorer.listing.value


def test_glyphs_that_code_can_get_are_got() -> None:
    source = "dsq.load_sample().subset(range(0, 5000, 10))"
    explorer = explore("pipeline", load_sample().subset(range(0, 5000, 10)), source)
    assert f"glyphs = {source}\n" in explorer.code()
    assert np.array_equal(run(explorer.code()), decoded(explorer))


@given(
    value=st.recursive(
        st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False), st.tuples
    )
)
def test_what_is_typed_is_a_value_and_never_code(value: Any) -> None:
    assert ast.literal_eval(spelled(value)) == value


# Hands, and what they do


def test_a_value_that_is_refused_hides_the_picture_until_it_goes() -> None:
    explorer = explore()
    before = explorer.picture.value
    explorer.controls["width"].value = 100
    assert not is_seen(explorer) and "width must be at least" in explorer.message.value
    assert 'role="alert"' in explorer.message.value
    explorer.controls["overflow"].value = "shrink"
    assert is_seen(explorer) and explorer.picture.value != before
    explorer.controls["overflow"].value = "error"
    assert not is_seen(explorer)
    explorer.controls["width"].value = 220
    assert is_seen(explorer) and explorer.picture.value == before


def test_a_mistake_of_ours_reaches_whoever_made_the_change() -> None:
    def broken(glyphs: Glyphs, params: Any) -> Any:
        if params["others"] == 3:
            raise ZeroDivisionError("ours")
        return STEPS["glyphs"].view(glyphs, params)

    explorer = Explorer(replace(STEPS["glyphs"], view=broken), load_sample())
    with pytest.raises(ZeroDivisionError, match="ours"):
        explorer.controls["others"].value = 3


class Loop:
    """An event loop that waits for nothing: it keeps what shall happen later."""

    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []

    def call_later(self, delay: float, action: Callable[[], None]) -> "Loop.Handle":
        assert 0 < delay <= 0.1
        self.later.append(action)
        return Loop.Handle(self, action)

    class Handle:
        def __init__(self, loop: "Loop", action: Callable[[], None]) -> None:
            self.loop, self.action = loop, action

        def cancel(self) -> None:
            if self.action in self.loop.later:
                self.loop.later.remove(self.action)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    """Put such a loop in place of asyncio's."""
    own = Loop()
    monkeypatch.setattr(exploring, "get_running_loop", lambda: own)
    return own


def count_views(explorer: Explorer) -> list[int]:
    """Write down the seeds that are painted from now on."""
    painted: list[int] = []

    def view(glyphs: Glyphs, params: Any) -> Any:
        painted.append(params["seed"])
        return STEPS["pipeline"].view(glyphs, params)

    explorer.step = replace(explorer.step, view=view)
    return painted


def test_a_hand_that_moves_is_waited_for(loop: Loop) -> None:
    explorer = explore()
    painted = count_views(explorer)
    for seed in range(1, 30):
        explorer.controls["seed"].set_state({"value": seed})  # as a browser does it
    assert painted == [] and len(loop.later) == 1
    loop.later.pop()()
    assert painted == [29]
    assert np.array_equal(decoded(explorer), explorer.render(explorer.params))


def test_a_program_is_not_waited_for(loop: Loop) -> None:
    explorer = explore()
    painted = count_views(explorer)
    explorer.controls["seed"].set_state({"value": 5})
    explorer.controls["seed"].value = 6
    assert painted == [6] and loop.later == []


def test_without_a_loop_a_hand_is_not_waited_for_either() -> None:
    explorer = explore()
    painted = count_views(explorer)
    explorer.controls["seed"].set_state({"value": 5})
    assert painted == [5]


def test_next_is_the_next_seed() -> None:
    explorer = explore()
    (button,) = (part for part in exploring._parts(explorer) if isinstance(part, widgets.Button))
    before = explorer.picture.value
    button.click()
    assert explorer.params["seed"] == 1 and explorer.picture.value != before


# What stays


def test_nothing_is_made_at_import() -> None:
    code = (
        "import digitseq.exploring; from ipywidgets.widgets.widget import _instances;"
        "print(len(_instances))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


@pytest.mark.parametrize("name", STEPS)
def test_nothing_is_left_when_it_is_closed(name: str) -> None:
    before = set(_instances)
    explorer = explore(name)
    assert len(_instances) > len(before) + 10
    explorer.close()
    assert set(_instances) == before
    explorer.close()


def test_what_was_waiting_is_dropped_when_it_is_closed(loop: Loop) -> None:
    explorer = explore()
    explorer.controls["seed"].set_state({"value": 5})
    explorer.close()
    assert loop.later == []


# For everybody


class Text(HTMLParser):
    """Collect what a page says, and the names of its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.tags: list[str] = []

    def handle_data(self, data: str) -> None:
        self.said.append(data)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)


def text_of(html: str) -> str:
    """Give what HTML says."""
    (parser := Text()).feed(html)
    return " ".join(parser.said)


@given(cell=st.text(min_size=1).filter(lambda text: "\r" not in text and "\0" not in text))
def test_whatever_a_table_says_stays_text(cell: str) -> None:
    (parser := Text()).feed(facts_html([["a"], [cell]]))
    assert parser.tags == ["table", "thead", "tr", "th", "tbody", "tr", "td"]
    assert "".join(parser.said) == "a" + cell


@pytest.mark.parametrize("name", STEPS)
def test_every_control_has_a_label_of_its_own(seven: dict[str, Explorer], name: str) -> None:
    labels = [control.description for control in seven[name].controls.values()]
    assert all(labels) and len(set(labels)) == len(labels)


def test_a_missing_library_is_said_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    explorer = explore("save")
    explorer.controls["format"].value = "parquet"
    assert not is_seen(explorer)
    assert "pip install 'digitseq[parquet]'" in text_of(explorer.message.value)
    explorer.controls["format"].value = "npz"
    assert is_seen(explorer)


def test_gaps_need_neighbours() -> None:
    explorer = explore("spacing")
    explorer.controls["text"].value = "7"
    assert "two digits or more" in explorer.message.value


def test_an_unknown_step_is_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'spacing'"):
        explore("spaceing")


def test_a_slider_of_eight_sequences_paints_one_sheet() -> None:
    explorer = explore()
    assert explorer.params["num_samples"] == 8
    images = explorer.render(explorer.params)
    assert images.dtype == np.uint8 and images.ndim == 3
