"""Pages: each a pure function of its number, labelled to the pixel, and like what was measured."""

import copy
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy.ndimage import gaussian_filter, label
from scipy.stats import binomtest, kstest

from digitseq.cli import main
from digitseq.core import Glyphs, SequenceBatch, stream_key
from digitseq.drawing import AT, CHANCE, SIGN, SPREAD, WORD, spread_knots
from digitseq.generating import DigitSequences
from digitseq.inking import BAR, ENDS, SIGNS, STROKES, outlines_of
from digitseq.loading import load_sample
from digitseq.paging import DIGIT_NAMES, GROUPS, LINE_NAMES, PRESETS, Page, varying_names
from digitseq.photographing import TAPS, blur, coarsen, compress
from digitseq.saving import verify
from digitseq.specifying import SequenceSpec
from digitseq.writing import (
    SIGN_BREADTH,
    SIGN_GAP,
    SIGN_SIZE,
    Writing,
    apply_writing,
    place_sign,
)

FALSE_ALARM = 1e-6  # of each statistical test, were its seed not fixed
GLYPHS = load_sample()
ARRAYS = ("images", "digits", "lengths", "sources", "boxes", "cells", "gaps", "widths")
FACTS = {  # quantiles at 5, 25, 50, 75 and 95 % of 1,080 real amounts
    "gap": (-0.23, -0.03, 0.07, 0.20, 0.58),
    "size": (0.76, 0.93, 1.00, 1.07, 1.36),
    "slope": (-6.1, -2.4, -0.5, 1.2, 3.6),
    "wander": (-0.10, -0.04, 0.0, 0.04, 0.10),
}


def pages(page: Any = "cheque", threads: int = 1, **wishes: Any) -> DigitSequences:
    wishes = {"num_samples": 300, "length": (1, 6), "height": 32, "width": 150} | wishes
    return DigitSequences(GLYPHS, SequenceSpec(page=page, **wishes), threads=threads)


def assert_same(one: SequenceBatch, other: SequenceBatch) -> None:
    for name in ARRAYS:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.factors.keys() == other.factors.keys()
    for name, values in one.factors.items():
        assert np.array_equal(values, other.factors[name]), name


# Sample i is a function of its number


@pytest.mark.parametrize("name", PRESETS)
def test_a_page_depends_on_its_number_alone(name: str) -> None:
    ds = pages(name)
    whole, order = ds[:150], np.random.default_rng(2).permutation(150)
    shuffled = ds.batch(order)
    assert np.array_equal(shuffled.images, whole.images[order])
    assert np.array_equal(shuffled.masks(), whole.masks()[order])
    assert_same(pages(name, threads=3)[:150], whole)
    assert_same(pages(name, num_samples=150)[:], whole)
    for i in (0, 7, 149):
        sample = ds[i]
        assert np.array_equal(sample.image, whole.images[i])
        assert np.array_equal(sample.boxes, whole.boxes[i]) and sample.text == whole.texts[i]
        assert set(sample.factors) == set(whole.factors)
    assert not np.array_equal(pages(name, seed=1)[:20].images, whole.images[:20])


def test_another_process_makes_the_same_pages() -> None:
    code = (
        "import digitseq as dsq\n"
        "spec = dsq.SequenceSpec(300, (1, 6), 150, 32, page='photo')\n"
        "print(dsq.DigitSequences(dsq.load_sample(), spec).batch([3, 299, 0]).sha256)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == pages("photo").batch([3, 299, 0]).sha256


def test_plain_python_makes_the_same_pages() -> None:
    code = (
        "import digitseq as dsq\n"
        "glyphs = dsq.load_sample().subset(range(0, 5000, 250))\n"
        "spec = dsq.SequenceSpec(9, 2, 30, 14, page='cheque', seed=5)\n"
        "print(dsq.DigitSequences(glyphs, spec).batch([0, 4]).sha256)"
    )
    found = []
    for switch in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": switch}
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0] == found[1]


def test_out_ink_and_dtype() -> None:
    white, black, floats = pages(), pages(ink="black"), pages(dtype="float32")
    batch = white[:40]
    assert np.array_equal(255 - black[:40].images, batch.images)
    assert np.array_equal(floats[:40].images, batch.images / np.float32(255))
    room = np.zeros((40, 32, 150), np.uint8)
    assert white.batch(range(40), out=room).images is room
    assert np.array_equal(room, batch.images)
    room = np.zeros((40, 32, 150), np.float32)
    assert np.array_equal(floats.batch(range(40), out=room).images, floats[:40].images)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(PRESETS),
    st.integers(12, 70),
    st.integers(1, 50),
    st.integers(0, 400),
    st.sampled_from(("left", "center", "right", "random")),
    st.integers(0, 2**64 - 1),
)
def test_any_size_and_length(
    name: str, height: int, longest: int, more: int, align: str, seed: int
) -> None:
    width = 6 * longest + 4 + more
    wishes = {"length": (1, longest), "height": height, "width": width, "align": align}
    batch = pages(name, num_samples=4, seed=seed, **wishes)[:]
    assert batch.images.shape == (4, height, width) and batch.images.dtype == np.uint8
    used = batch.digits >= 0
    for frames in (batch.boxes, batch.cells):
        x0, y0, x1, y1 = np.moveaxis(frames, 2, 0)
        assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= width).all() and (y1 <= height).all()
        assert (frames[~used] == 0).all() and (x0 <= x1).all() and (y0 <= y1).all()
    between = batch.boxes[:, 1:, 0] - batch.boxes[:, :-1, 2]
    assert np.array_equal(batch.gaps, np.where(used[:, 1:], between, 0))


def test_writers_texts_and_splits() -> None:
    writers = np.arange(5000) % 7
    glyphs = Glyphs(GLYPHS.images, GLYPHS.labels, GLYPHS.ids, writers)
    spec = SequenceSpec(60, (2, 5), page="form", writer="same", width=140)
    batch = DigitSequences(glyphs, spec)[:]
    hands = dict(zip(GLYPHS.ids.tolist(), writers.tolist(), strict=True))
    for row, writer in zip(batch.sources, batch.factors["writer"], strict=True):
        assert {hands[i] for i in row.tolist() if i >= 0} == {int(writer)}
    told = DigitSequences(GLYPHS, SequenceSpec(4, page="meter", texts=("007", "9")))[:]
    assert told.texts == ["007", "9", "007", "9"]
    parts = [DigitSequences(part, spec.replace(writer=None)) for part in GLYPHS.train_test_split()]
    first, second = (set(ds[:].sources.ravel().tolist()) - {-1} for ds in parts)
    assert first and second and not first & second


# Labels


def clean(**writing: Any) -> Page:
    """Make a page with nothing on it but ink."""
    return Page(writing=Writing(**writing))


def test_masks_and_boxes_hold_the_ink_of_their_digit_and_no_other() -> None:
    strays = {"neighbours": 1, "aside": 1, "specks": (5, 9), "after": {"—": 1}, "before": {"#": 1}}
    plain = {"gap": (0.2, 0.6), "thickness": 0.1, "slant": (-15, 15), "slope": (-6, 6)}
    shapes = {"flag": 1, "foot": 1, "crossed": 1, "tail": 1, "turn": (-20, 20), "bend": (-0.1, 0.1)}
    ds = pages(clean(**plain, **shapes, **strays), width=260)
    batch = ds[:200]
    masks = batch.masks()
    for n, length in enumerate(batch.lengths.tolist()):
        for j in range(length):
            rows, columns = np.nonzero(masks[n] == j + 1)
            x0, y0, x1, y1 = batch.boxes[n, j].tolist()
            assert len(rows) > 0
            assert x0 <= columns.min() and columns.max() < x1
            assert y0 <= rows.min() and rows.max() < y1
            ink = batch.images[n, rows, columns]
            assert ink.min() >= 63  # a quarter of 255
        assert masks[n].max() <= length
    assert (batch.images[masks == 0] > 63).any()  # strays are there, and nobody's


def test_a_lone_digit_is_all_in_its_box() -> None:
    batch = pages(clean(thickness=(0.06, 0.2), turn=(-30, 30)), length=1, width=60)[:150]
    for image, (x0, y0, x1, y1) in zip(batch.images, batch.boxes[:, 0].tolist(), strict=True):
        rows, columns = np.nonzero(image >= 65)
        assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == [x0, y0, x1, y1]


# What is drawn is what was asked for


def all_fields() -> list[tuple[str, Any]]:
    return [
        (name, kind.__dataclass_fields__[name].metadata)
        for kind in GROUPS.values()
        for name in kind.__dataclass_fields__
    ]


@pytest.mark.parametrize(("name", "about"), all_fields(), ids=lambda value: str(value)[:12])
def test_each_property_can_be_moved_alone(name: str, about: Any) -> None:
    ones = pages("cheque", length=5, width=200, texts=("17917", "91197"))
    before = ones[:60]
    value: Any = {SPREAD: 0.5, CHANCE: 1.0, SIGN: float(ord("=")), WORD: 7.0}[about["kind"]]
    value = {"paper": 140.0, "specks": 9.0, "quality": 20.0, "blur": 0.1}.get(name, value)
    if name == "quality":
        before, given = ones.batch(range(60), override={"page.jpeg": 1.0}), {"page.jpeg": 1.0}
    elif name == "period":
        given = {"page.waves": 0.3}
        before = ones.batch(range(60), override=given)
    elif name in ("pitch", "grain", "weave", "scatter"):
        given = {"page.noise": 9.0, "page.neighbours": 1.0, "page.shadow": 0.3}
        before = ones.batch(range(60), override=given)
    else:
        given = {}
    moved = ones.batch(range(60), override={**given, f"page.{name}": value})
    assert moved.texts == before.texts and np.array_equal(moved.sources, before.sources)
    changed = (moved.images != before.images).any(axis=(1, 2))
    assert changed.mean() > 0.4
    assert (moved.factors[f"page.{name}"] == value).all()
    for other, values in before.factors.items():
        if other not in ("left", f"page.{name}"):
            assert np.array_equal(values, moved.factors[other]), other
    if name in (*GROUPS["paper"].names(), *GROUPS["camera"].names()):
        assert np.array_equal(moved.boxes, before.boxes)
        assert np.array_equal(moved.masks(), before.masks())


@pytest.mark.parametrize(("name", "digit"), [("flag", 1), ("foot", 1), ("crossed", 7), ("tail", 9)])
def test_a_stroke_is_added_to_its_own_digit_alone(name: str, digit: int) -> None:
    ds = pages(clean(thickness=0.1), length=None, width=64, texts=tuple("0123456789"))
    before, after = (ds.batch(range(200), override={f"page.{name}": v}) for v in (0.0, 1.0))
    same = (before.images == after.images).all(axis=(1, 2))
    assert np.array_equal(same, before.digits[:, 0] != digit)
    x0, y0, x1, y1 = np.moveaxis(np.stack([before.boxes, after.boxes])[:, ~same, 0], 2, 0)
    before_is, after_is = ((x1 - x0) / (y1 - y0)).mean(axis=1)
    assert after_is >= before_is  # broader for its height, or as broad


positive = st.floats(0.2, 5)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SIGNS) - 1), st.floats(-1, 10), positive, positive, st.floats(0.05, 3))
def test_a_sign_stands_where_it_should(
    which: int, gap: float, size: float, breadth: float, digit: float
) -> None:
    """By its gap from the last digit, never beyond its middle, and as large as it was drawn."""
    line, pose, reach = np.zeros(len(Writing.names())), np.zeros(16), np.array([99, -99, 99, -99.0])
    line[[SIGN_GAP, SIGN_SIZE, SIGN_BREADTH]] = gap, size, breadth
    end = place_sign(which, 2.0, False, digit, 0.0, line, pose, reach)
    strokes, inside = STROKES[ENDS[which] : ENDS[which + 1]].astype(float), min(0.45, digit / 2)
    begin = 2 - inside if which == BAR else 2 + max(gap, -inside)
    assert end - begin == pytest.approx(np.ptp(strokes[:, ::2]) * size * breadth, abs=1e-6)
    assert reach.tolist()[:2] == pytest.approx([begin, end], abs=1e-6)
    assert np.ptp(reach[2:]) == pytest.approx(np.ptp(strokes[:, 1::2]) * size, abs=1e-6)


@pytest.mark.parametrize(
    "name", ("gap", "size", "slope", "wander", "slant", "sign_gap", "blur", "contrast")
)
def test_values_follow_their_quantiles(name: str) -> None:
    page = Page.preset("cheque")
    params = page.draw(4000, 3, seed=11)[name].ravel()
    group = next(g for g in GROUPS if name in GROUPS[g].__dataclass_fields__)
    about = GROUPS[group].__dataclass_fields__[name].metadata
    knots = spread_knots(getattr(getattr(page, group), name), about["low"], about["high"])
    found = kstest(params, lambda x: np.interp(x, knots, AT, left=0.0, right=1.0))
    assert found.pvalue > FALSE_ALARM


@pytest.mark.parametrize("name", ("rule", "frame", "jpeg", "neighbours", "flag", "crossed", "tail"))
def test_chances_strike_as_often_as_they_say(name: str) -> None:
    page = Page.preset("cheque")
    group = next(g for g in GROUPS if name in GROUPS[g].__dataclass_fields__)
    drawn = page.draw(5000, 1, seed=5)[name].ravel()
    share = getattr(getattr(page, group), name)
    assert binomtest(int((drawn > 0).sum()), len(drawn), share).pvalue > FALSE_ALARM
    assert kstest(drawn[drawn > 0], "uniform").pvalue > FALSE_ALARM


def test_signs_come_with_their_chances() -> None:
    page = Page.preset("cheque")
    drawn = page.draw(8000, 1, seed=8)["after"]
    for sign, share in page.writing.after.items():
        hits = int((drawn == ord(sign)).sum())
        assert binomtest(hits, len(drawn), share).pvalue > FALSE_ALARM, sign
    assert set(np.unique(drawn)) <= {0.0, *(float(ord(sign)) for sign in page.writing.after)}


def test_properties_are_drawn_apart() -> None:
    drawn = Page.preset("photo").draw(4000, 1, seed=3)
    columns = np.stack([values.ravel() for values in drawn.values() if values.std() > 0])
    found = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(found).max() < 6 / np.sqrt(4000)  # six deviations, 1,500 pairs


def test_words_are_those_of_numpys_philox() -> None:
    names = Writing.names()
    drawn = Page.preset("cheque").draw(3, 2, seed=77, start=5, split="train")
    key = stream_key("train", "page.writing")
    for n in range(3):
        for k in (names.index("scatter"), names.index("slope")):
            source = np.random.Philox(
                key=np.array([77, key], np.uint64),
                counter=np.array([k // 4, 5 + n, 0, 0], np.uint64),
            )
            word = int(source.random_raw(4)[k % 4])
            u = (word >> 11) * 2.0**-53
            if names[k] == "scatter":
                assert drawn["scatter"][n] == word >> 32
            else:
                assert drawn["slope"][n] == pytest.approx(
                    np.interp(u, AT, spread_knots(FACTS["slope"]))
                )


def test_gaps_of_cheques_are_as_real_ones_were_measured() -> None:
    spec = SequenceSpec(3000, (2, 7), 900, 96, page=Page(Page.preset("cheque").writing), seed=6)
    batch = DigitSequences(GLYPHS, spec)[:]
    tall = (batch.boxes[:, :, 3] - batch.boxes[:, :, 1]).astype(float)
    there = np.arange(7) < batch.lengths[:, None]
    usual = np.nanmedian(np.where(there, tall, np.nan), axis=1, keepdims=True)
    found = (batch.gaps / usual)[there[:, 1:]]  # dots, dashes and all
    measured = np.quantile(found, (0.05, 0.25, 0.5, 0.75, 0.95))
    assert np.abs(measured - FACTS["gap"]).max() < 0.03, measured
    assert 0.24 < (found < 0).mean() < 0.33  # 27 % of the real ones overlap


def test_a_dot_stands_in_the_gap_and_does_not_add_to_it() -> None:
    page = clean(gap=(0.5, 0.9), thickness=0.1, thousands={".": 0.5})
    ds = pages(page, length=7, width=500, num_samples=100)
    dotted, plain = (
        ds.batch(range(100), override={"page.thousands": sign}) for sign in (float(ord(".")), 0.0)
    )
    assert np.array_equal(dotted.gaps, plain.gaps)
    assert dotted.images.sum() > plain.images.sum()
    narrow = clean(gap=-0.3, thickness=0.1, thousands={".": 1})
    gaps = pages(narrow, length=4, width=300, num_samples=100)[:].gaps
    assert (gaps[:, 0] > 0).all() and (gaps[:, 1:] < 0).all()


@pytest.mark.parametrize("name", ("size", "slope", "wander"))
def test_cheques_are_as_real_ones_were_measured(name: str) -> None:
    assert getattr(Page.preset("cheque").writing, name) == FACTS[name]
    free = {"page.before": 0, "page.after": 0, "page.thousands": 0, "page.slope": 0.0}
    free |= {"page.turn": 0.0}
    if name == "slope":
        del free["page.slope"]
    ds = pages("cheque", length=5, width=400, height=48)
    batch = ds.batch(range(300), override=free)
    tall = (batch.boxes[:, :, 3] - batch.boxes[:, :, 1]).astype(float)
    usual = np.median(tall, axis=1, keepdims=True)
    middles = (batch.boxes[:, :, 0] + batch.boxes[:, :, 2]) / 2
    feet = batch.boxes[:, :, 3].astype(float)
    line = [np.polyfit(x, y, 1) for x, y in zip(middles, feet, strict=True)]
    if name == "size":
        found = tall / usual
    elif name == "slope":
        found = np.degrees(np.arctan([slope for slope, _ in line]))
    else:
        found = (feet - np.median(feet, axis=1, keepdims=True)) / usual
    tolerance = {"size": 0.12, "slope": 1.6, "wander": 0.05}[name]
    measured = np.quantile(found, (0.05, 0.25, 0.5, 0.75, 0.95))
    assert np.abs(measured - FACTS[name]).max() < tolerance


# Ink and pictures against others' work


def test_thin_pens_do_not_break_strokes() -> None:
    positions = np.arange(0, 5000, 17)[:, None]
    drawn = {"fill": 2.0, "drop": 0.5}
    areas, found = [], []
    for pressure in (0.38, 1.0, 1.8):
        params = Writing(pressure=pressure, **drawn).draw(len(positions), 1)
        params["fill"][:] = 0.9
        one = apply_writing(GLYPHS.images, GLYPHS.labels, positions, params, 90, 90)
        areas.append(one.ink.sum(axis=(1, 2)))
        found.append([label(ink >= 0.5, np.ones((3, 3)))[1] for ink in one.ink])
    assert (areas[0] < areas[1]).all() and (areas[1] < areas[2]).all()
    assert np.mean(np.array(found[0]) == np.array(found[1])) > 0.85


def test_outlines_of_a_bar() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 4:24, 11:17] = 255
    found = outlines_of(image)
    assert found.inks[0].tolist() == [11, 4, 17, 24]
    across = found.depths[0, 14].astype(float) / 16
    assert (across[11:17] > 0).all() and (across[:11] < 0).all() and (across[17:] < 0).all()
    assert across[8] == pytest.approx(-3 + 0.5, abs=0.6) and across[22] == across[5]


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(2, 40), st.integers(2, 60), st.floats(0.2, 3.0))
def test_blur_is_scipys(data: st.DataObject, height: int, width: int, sigma: float) -> None:
    image = data.draw(hnp.arrays(np.uint8, (height, width))).astype(np.float32)
    ours = image.ravel().copy()
    blur(ours, height, width, sigma, np.zeros(TAPS, np.float32), np.empty_like(ours))
    radius = int(np.ceil(2.5 * sigma))
    theirs = gaussian_filter(image, sigma, mode="nearest", radius=radius)
    assert np.abs(ours.reshape(image.shape) - theirs).max() < 0.05


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(4, 40), st.integers(4, 60), st.floats(0.1, 1.0))
def test_coarse_pictures_stay_in_their_range(
    data: st.DataObject, height: int, width: int, share: float
) -> None:
    image = data.draw(hnp.arrays(np.uint8, (height, width))).astype(np.float32)
    ours = image.ravel().copy()
    coarsen(ours, height, width, share, np.empty_like(ours))
    assert ours.min() >= image.min() - 0.01 and ours.max() <= image.max() + 0.01
    flat = np.full(height * width, 77, np.float32)
    coarsen(flat, height, width, share, np.empty_like(flat))
    assert np.allclose(flat, 77)


@pytest.mark.parametrize("quality", (5, 30, 50, 75, 95))
def test_jpeg_loses_what_pillows_loses(quality: int) -> None:
    images, apart, costs = pages("photo", height=37, width=150)[:12].images, [], []
    for image in images:
        ours = image.astype(np.float32).ravel()
        compress(ours, *image.shape, quality, np.empty(192, np.float32))
        Image.fromarray(image).save(buffer := io.BytesIO(), "JPEG", quality=quality)
        theirs = np.asarray(Image.open(buffer)).astype(float)
        costs.append(np.abs(theirs - image).mean())
        apart.append(np.abs(ours.reshape(image.shape) - theirs).mean())
        # where steps are small, Pillow's rounding of the transform moves noise by whole steps
        assert apart[-1] < max(costs[-1] / 3, 0.35)
    assert np.mean(apart) < 0.25 * np.mean(costs)


# What goes in, and what can't


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_page_survives_json(data: st.DataObject) -> None:
    groups: dict[str, dict[str, Any]] = {}
    for group, kind in GROUPS.items():
        values: dict[str, Any] = {}
        for name, item in kind.__dataclass_fields__.items():
            about = item.metadata
            if about["kind"] == WORD or not data.draw(st.booleans()):
                continue
            if about["kind"] == SIGN:
                chosen = data.draw(st.lists(st.sampled_from(SIGNS), unique=True, max_size=4))
                values[name] = {sign: 0.2 for sign in chosen}
                continue
            number = st.floats(about["low"], about["high"])
            size = 1 if about["kind"] == CHANCE else data.draw(st.sampled_from((1, 2, 5)))
            row = sorted(data.draw(number) for _ in range(size))
            values[name] = row if size > 1 else row[0]
        groups[group] = values
    page = Page(**groups, about=data.draw(st.text(max_size=9)))
    assert Page.from_json(page.to_json()) == page
    spec = SequenceSpec(page=page)
    assert SequenceSpec.from_json(spec.to_json()) == spec
    assert SequenceSpec(page=page.to_dict()).sha256 == spec.sha256
    assert set(varying_names(page)) <= {*LINE_NAMES, *DIGIT_NAMES}


BAD_PAGES: list[tuple[Any, str]] = [
    ({"writing": {"slope": 90}}, "slope must lie in -30 to 30, got 90"),
    ({"writing": {"gap": (0.3, 0.1)}}, "gap must ascend"),
    ({"writing": {"gap": (1, 2, 3)}}, "gap must be a number, .least, most., or the quantiles"),
    ({"writing": {"gap": "wide"}}, "gap must be a number"),
    ({"writing": {"gap": float("nan")}}, "gap must be a number"),
    ({"writing": {"gap": True}}, "gap must be a number"),
    ({"writing": {"flag": (0.1, 0.2)}}, "flag must be one probability"),
    ({"writing": {"flag": 1.5}}, "flag must lie in 0 to 1, got 1.5"),
    ({"writing": {"after": {"?": 0.5}}}, "after knows the signs"),
    ({"writing": {"after": {"-": 0.7, "=": 0.7}}}, "1 together at most"),
    ({"writing": {"after": "-"}}, "after must give signs their chances"),
    ({"papers": {}}, "a page has no 'papers': did you mean 'paper'"),
    ({"camera": 3}, "Camera must be settings by name, got 3"),
    ({"about": 3}, "about must be a text, got 3"),
    ({"writing": {"scatter": 3}}, "Writing has no 'scatter'"),
]


@pytest.mark.parametrize(("page", "message"), BAD_PAGES, ids=lambda value: str(value)[:40])
def test_bad_pages_are_refused(page: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceSpec(page=page)


BAD_WISHES: list[tuple[dict[str, Any], str]] = [
    ({"height": 11}, "height of a page must be at least 12, got 11"),
    ({"width": 39}, "width of a page must be at least 40 for 6 digits, got 39: widen it"),
]


@pytest.mark.parametrize(("wishes", "message"), BAD_WISHES, ids=repr)
def test_pages_that_are_too_small_are_refused(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pages(**wishes)


BAD_OVERRIDES: list[tuple[dict[str, Any], str]] = [
    ({"page.slop": 3}, "there is no factor 'page.slop': did you mean 'page.slope'"),
    ({"gaps": 3}, "there is no factor 'gaps'"),
    ({"page.slope": [1, 2, 3, 4, 5, 6]}, "page.slope belongs to the line: give one number"),
    ({"page.gap": [1, 2]}, "page.gap must be one number, or 6, got"),
    ({"page.gap": float("inf")}, "page.gap must be within 1e.09"),
    ({"page.slope": 80}, "page.slope must lie in -30 to 30, got 80"),
    ({"page.after": 64}, "page.after must be ord.. of one of"),
]


@pytest.mark.parametrize(("override", "message"), BAD_OVERRIDES, ids=repr)
def test_bad_overrides_are_refused(override: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pages().batch([0], override=override)


def test_a_page_from_a_file_and_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    changed = Page.preset("form").to_dict()
    changed["writing"]["slope"] = 4
    Path("mine.json").write_text(json.dumps(changed), encoding="utf-8")
    common = ["--num-samples", "30", "--quiet", "--length", "2:4", "--height", "32"]
    assert main(["generate", "one", "--page", "mine.json", *common]) == 0
    recipe = json.loads(Path("one/recipe.json").read_text(encoding="utf-8"))
    assert "slope" in json.dumps(recipe)
    assert main(["generate", "two", "--recipe", "one/recipe.json", "--quiet"]) == 0
    manifests = [Path(name, "manifest.json").read_bytes() for name in ("one", "two")]
    assert manifests[0] == manifests[1]
    assert verify("two", deep=True).ok
    capsys.readouterr()
    assert main(["generate", "three", "--page", "chque", *common]) == 2
    assert "did you mean 'cheque'" in capsys.readouterr().err
    assert main(["generate", "three", "--page", "none.json", *common]) == 2
    assert not Path("three").exists()


# What must not depend on how something was written down, kept or drawn before


def test_equal_settings_draw_alike_in_whatever_order_they_were_written() -> None:
    chances = {"-": 0.2, "=": 0.3, "#": 0.1}
    turned = dict(reversed(chances.items()))
    one, other = (pages(Page(writing={"after": each}), seed=1) for each in (chances, turned))
    assert one.spec == other.spec and one.spec.sha256 == other.spec.sha256
    assert_same(one[:64], other[:64])
    again = Page.from_json(json.dumps(json.loads(one.spec.page.to_json()), sort_keys=True))
    assert_same(pages(again, seed=1)[:64], one[:64])


@pytest.mark.parametrize("name", ["cheque", "photo"])
def test_a_preset_is_the_same_for_everybody(name: str) -> None:
    before, preset = pages(name).spec.sha256, Page.preset(name)
    spelled = preset.to_dict()
    spelled["writing"]["after"]["-"] = 0.61
    pages(name).spec.to_dict()["page"]["writing"]["after"]["-"] = 0.61
    signs = preset.writing.after
    for change in (
        lambda: signs.update({"-": 0.6}),
        lambda: signs.__setitem__("-", 0.6),
        lambda: signs.pop("-"),
        lambda: signs.clear(),
        lambda: signs.setdefault("x", 0.6),
        lambda: signs.__ior__({"-": 0.6}),
        lambda: signs.__delitem__("-"),
        lambda: signs.popitem(),
    ):
        with pytest.raises(TypeError, match="can't be changed: make another setting"):
            change()
    assert Page.preset(name).writing.after["-"] < 0.2 and pages(name).spec.sha256 == before
    changed = Page.from_dict(spelled)
    assert changed != preset and changed.writing.after["-"] == 0.61


def test_specs_with_pages_can_be_keys_and_travel() -> None:
    specs = [pages(name).spec for name in PRESETS]
    assert len({*specs, *(pages(name).spec for name in PRESETS)}) == len(PRESETS)
    for spec in specs:
        again = pickle.loads(pickle.dumps(spec))
        assert again == spec and hash(again) == hash(spec)
        assert copy.deepcopy(spec.page).to_dict() == spec.page.to_dict()


@pytest.mark.parametrize("side", [56, 112])
def test_a_page_looks_alike_however_fine_its_glyphs_are(side: int) -> None:
    some = GLYPHS.subset(np.arange(0, len(GLYPHS), 10))
    sizes = [Image.fromarray(one).resize((side, side), Image.BICUBIC) for one in some.images]
    fine = Glyphs(np.stack([np.asarray(one) for one in sizes]), some.labels, some.ids)
    spec = SequenceSpec(200, 4, 120, 32, page="cheque", seed=1)
    coarse, other = (DigitSequences(each, spec)[:] for each in (some, fine))
    assert (other.boxes[:, :, 2] > other.boxes[:, :, 0]).mean() > 0.999
    assert np.abs(coarse.boxes - other.boxes).mean() < 1
    assert np.corrcoef(coarse.images.ravel(), other.images.ravel())[0, 1] > 0.85
    assert 0.95 < coarse.images.mean() / other.images.mean() < 1.05


def test_a_sign_before_boxes_stands_beside_the_first_digit() -> None:
    writing = {"pitch": 1.0, "before": {"#": 1.0}}
    batch = pages(Page(writing=writing), length=3, ink="black")[:100]
    masks = batch.masks()
    for image, mask, box in zip(batch.images, masks, batch.boxes[:, 0], strict=True):
        sign = (image < 128) & (mask == 0)
        assert sign[:, : box[0]].sum() > 20
        assert sign[:, box[0] :].sum() == 0


def test_there_is_no_gap_beside_what_is_not_seen() -> None:
    writing = {"fill": 2.0, "drop": [0.0, 1.0], "wander": [-1.5, 1.5]}
    batch = pages(Page(writing=writing), length=4)[:]
    seen = batch.boxes[:, :, 2] > batch.boxes[:, :, 0]
    both = seen[:, 1:] & seen[:, :-1]
    assert not both.all() and both.any()
    apart = batch.boxes[:, 1:, 0] - batch.boxes[:, :-1, 2]
    assert np.array_equal(batch.gaps, np.where(both, apart, 0))
