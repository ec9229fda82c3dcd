"""Augment, beyond its notebook: its draws by an oracle, its shortcuts, its settings, bad input."""

import ctypes
import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from decimal import Decimal, getcontext
from fractions import Fraction
from itertools import islice, product
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitseq.augmenting import (
    FACTORS,
    Augment,
    apply_all,
    as_planes,
    check_in_spec,
    draw_all,
    factor_table,
    full_of,
    named_factors,
)
from digitseq.warping import FILL_MODES, affine, fold, keras_matrix, turn, warp_exactly

ROOT = Path(__file__).resolve().parents[1]
NEAREST, CONSTANT, REFLECT, WRAP = (
    FILL_MODES.index(mode) for mode in ("nearest", "constant", "reflect", "wrap")
)
modes = pytest.mark.parametrize("mode", FILL_MODES)

getcontext().prec = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


# Angles and maps


def series(x: Decimal, first: int) -> Decimal:
    """Sum the cosine (first = 0) or sine (first = 1), in 60 digits."""
    term, total, n = x if first else Decimal(1), Decimal(0), first
    while abs(term) > Decimal("1e-40"):
        total, n = total + term, n + 2
        term = -term * x * x / (n * (n - 1))
    return total


ANGLES = st.one_of(
    st.floats(-1e6, 1e6),
    st.floats(-400, 400),
    st.integers(-40, 40).map(lambda k: 45.0 * k),
    st.integers(-8, 8).map(lambda k: float(np.nextafter(45.0 * k, np.inf))),
)


@given(ANGLES)
def test_a_turn_is_right_to_the_last_bit_or_so(degrees: float) -> None:
    rest = Fraction(degrees) % 360
    radians = Decimal(rest.numerator) / Decimal(rest.denominator) * PI / 180
    cosine, sine = turn(degrees)
    assert abs(Decimal(cosine) - series(radians, 0)) < Decimal("4e-16")
    assert abs(Decimal(sine) - series(radians, 1)) < Decimal("4e-16")
    if rest % 90 == 0:
        assert {abs(cosine), abs(sine)} == {0.0, 1.0}


@given(
    ANGLES,
    *[st.floats(-100, 100)] * 2,
    st.floats(-200, 200),
    *[st.floats(-5, 5)] * 2,
    *[st.integers(1, 100)] * 2,
)
def test_both_ways_to_multiply_give_the_same_map(
    theta: float, tx: float, ty: float, shear: float, zx: float, zy: float, h: int, w: int
) -> None:
    plain = affine(theta, tx, ty, shear, zx, zy, h, w)
    keras = keras_matrix(theta, tx, ty, shear, zx, zy, h, w)
    assert np.allclose(plain, keras, rtol=0, atol=1e-7)  # of an angle of 1e6, most bits are turns
    if abs(theta) <= 400:
        assert np.allclose(plain, keras, rtol=0, atol=1e-10)
    assert plain._fields == ("m0", "m1", "m2", "m3", "o0", "o1")


@given(st.one_of(st.floats(-1e4, 1e4), st.integers(-300, 300).map(lambda k: k / 4)), st.data())
def test_folding_is_what_its_picture_says(x: float, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60))
    assert fold(x, n, NEAREST) == min(max(x, 0.0), n - 1.0)
    mirrored = (x + 0.5) % (2 * n)
    mirrored = min(max(min(mirrored, 2 * n - mirrored) - 0.5, 0), n - 1)
    found = fold(x, n, REFLECT)
    assert -1 <= found < n
    assert abs(min(max(found, 0), n - 1) - mirrored) < 1e-8
    found, period = fold(x, n, WRAP), max(n - 1, 1)
    assert 0 <= found <= n - 1 + 1e-9
    if n > 1:
        away = (found - x) / period
        assert abs(away - round(away)) < 1e-8
    if 0 <= x <= n - 1:
        assert fold(x, n, REFLECT) == fold(x, n, WRAP) == x


# Drawing


KEY = int.from_bytes(hashlib.sha256(b"all/augment").digest()[:8], "little")
SEEDS = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**64 - 1]))
STARTS = st.one_of(st.integers(0, 2**62 - 100), st.integers(0, 50))


def ordered(low: float, high: float) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(low, high), st.floats(low, high)).map(lambda p: (min(p), max(p)))


SHIFTS = st.one_of(
    st.floats(0, 0.99),
    st.floats(1, 50),
    st.integers(0, 40),
    st.lists(st.one_of(st.integers(-9, 9), st.floats(-9, 9)), min_size=1, max_size=5).map(tuple),
    st.lists(st.floats(-0.9, 0.9), min_size=1, max_size=3).map(tuple),
)
RANGES: dict[str, st.SearchStrategy[Any]] = {
    "rotation_range": st.one_of(st.floats(0, 400), st.integers(0, 180)),
    "width_shift_range": SHIFTS,
    "height_shift_range": SHIFTS,
    "brightness_range": st.one_of(st.none(), ordered(0, 5)),
    "shear_range": st.floats(0, 90),
    "zoom_range": st.one_of(st.floats(0, 0.99), ordered(0.01, 9)),
    "channel_shift_range": st.one_of(st.floats(0, 300), st.integers(0, 300)),
    "horizontal_flip": st.booleans(),
    "vertical_flip": st.booleans(),
}
DRAWN_FROM = {
    "theta": "rotation_range",
    "tx": "width_shift_range",
    "ty": "height_shift_range",
    "shear": "shear_range",
    "zx": "zoom_range",
    "zy": "zoom_range",
    "brightness": "brightness_range",
    "channel_shift": "channel_shift_range",
    "flip_horizontal": "horizontal_flip",
    "flip_vertical": "vertical_flip",
}
some_ranges = st.fixed_dictionaries({}, optional=RANGES)


def words_of(seed: int, index: int, draw: int) -> list[int]:
    key, counter = np.array([seed, KEY], np.uint64), np.array([draw, index, 0, 0], np.uint64)
    return [int(word) for word in np.random.Philox(key=key, counter=counter).random_raw(4)]


def unit(word: int) -> float:
    return (word >> 11) * 2.0**-53


def even(low: float, high: float, word: int) -> float:
    return low + (high - low) * unit(word)


def shift(value: Any, size: int, word: int, coin: int) -> float:
    if isinstance(value, float):
        most = value * size if value < 1 else value
        return even(-most, most, word)
    members = list(value) if isinstance(value, tuple) else list(range(value)) or [0]
    step = float(members[word * len(members) >> 64])  # no word of these seeds is discarded
    step = step * size if isinstance(value, tuple) and max(members) < 1 else step
    return -step if unit(coin) < 0.5 else step


def by_numpy(
    wishes: dict[str, Any], seed: int, index: int, shape: tuple[int, int]
) -> dict[str, Any]:
    """Draw as the design says, from NumPy's Philox, in plain Python."""
    get = {item.name: item.default for item in fields(Augment)} | wishes
    first, second, third = (words_of(seed, index, draw) for draw in range(3))
    zoom = get["zoom_range"]
    zoom = zoom if isinstance(zoom, tuple) else (1 - zoom, 1 + zoom)
    turn_most, slant, grey = get["rotation_range"], get["shear_range"], get["channel_shift_range"]
    return {
        "theta": even(-turn_most, turn_most, first[0]),
        "tx": shift(get["width_shift_range"], shape[1], first[1], third[2]),
        "ty": shift(get["height_shift_range"], shape[0], first[2], third[3]),
        "shear": even(-slant, slant, first[3]),
        "zx": even(*zoom, second[0]),
        "zy": even(*zoom, second[1]),
        "brightness": even(*(get["brightness_range"] or (1.0, 1.0)), second[2]),
        "channel_shift": even(-grey, grey, second[3]),
        "flip_horizontal": get["horizontal_flip"] and unit(third[0]) < 0.5,
        "flip_vertical": get["vertical_flip"] and unit(third[1]) < 0.5,
    }


@settings(max_examples=150)
@given(some_ranges, SEEDS, STARTS, st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_draws_are_numpys(
    wishes: dict[str, Any], seed: int, start: int, shape: tuple[int, int]
) -> None:
    drawn = Augment(**wishes).draw(4, seed=seed, start=start, shape=shape)
    assert tuple(drawn) == FACTORS
    expected = [by_numpy(wishes, seed, start + k, shape) for k in range(4)]
    for name, values in drawn.items():
        assert values.dtype == (bool if name.startswith("flip") else np.float64)
        assert values.tolist() == [row[name] for row in expected], name


@settings(max_examples=60)
@given(some_ranges, some_ranges, SEEDS, STARTS)
def test_a_draw_depends_on_seed_and_number_only(
    wishes: dict[str, Any], others: dict[str, Any], seed: int, start: int
) -> None:
    aug = Augment(**wishes)
    many = aug.draw(40, seed=seed, start=start)
    for k in (39, 0, 17):
        for n in (1, 40 - k):
            part = aug.draw(n, seed=seed, start=start + k)
            assert all(np.array_equal(part[f], many[f][k : k + n]) for f in FACTORS)
    assert all(np.array_equal(draw_all(aug, 40, seed, start)[f], many[f]) for f in FACTORS)
    changed = Augment(**wishes | others).draw(40, seed=seed, start=start)
    for factor, setting in DRAWN_FROM.items():
        if setting not in others:
            assert np.array_equal(changed[factor], many[factor]), factor
    for values in many.values():
        assert values.flags.writeable and values.flags.c_contiguous and values.shape == (40,)


def test_seeds_and_numbers_do_not_repeat_each_other() -> None:
    aug = Augment(rotation_range=10, width_shift_range=0.2)
    drawn = [aug.draw(200, seed=seed)["theta"] for seed in (0, 1, 2, 2**63, 2**64 - 1)]
    assert len(np.unique(drawn)) == 1000
    assert aug.draw(0)["tx"].shape == (0,)
    assert len(set(aug.draw(2, start=2**62 - 1)["theta"].tolist())) == 2


# Applying: what is meant


def spread(rng: np.random.Generator, n: int, *kinds: Callable[[int], Any]) -> np.ndarray:
    """Draw n numbers, each of one kind or another."""
    return np.choose(rng.integers(0, len(kinds), n), [kind(n) for kind in kinds]).astype(float)


def wild_params(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Draw maps that rest, are at an edge or go far."""

    def at(*values: float) -> Callable[[int], Any]:
        return lambda n: rng.choice(values, n)

    def between(low: float, high: float) -> Callable[[int], Any]:
        return lambda n: rng.uniform(low, high, n)

    small, whole = between(-9, 9), lambda n: rng.integers(-12, 13, n)
    shifts = [at(0), small, whole, lambda n: rng.integers(-9, 9, n) + 0.5, between(-1e5, 1e5)]
    zooms = [at(1), at(1), between(0.2, 4), at(0.5, 2, 0.25), at(0, 1e-3, 1e3, 1e5, -1, 1e-7)]
    return {
        "theta": spread(rng, n, at(0), between(-400, 400), at(90, -90, 180, 270, 45, 360, 1e-9)),
        "tx": spread(rng, n, *shifts),
        "ty": spread(rng, n, *shifts),
        "shear": spread(rng, n, at(0), between(-80, 80), at(90, -90, 89.9999, 180, 90 - 1e-9)),
        "zx": spread(rng, n, *zooms),
        "zy": spread(rng, n, *zooms),
    }


def any_images(rng: np.random.Generator, n: int, h: int, w: int, dtype: str) -> np.ndarray:
    """Make images: blank, full, noise, one pixel, a box of ink anywhere, ink at the edges."""
    images = np.zeros((n, h, w))
    for k, image in enumerate(images):
        noise = rng.random((h, w)) * 0.9 + 0.1
        kind = (k + rng.integers(6)) % 6
        y0, x0 = rng.integers(0, (h, w))
        y1, x1 = rng.integers((y0, x0), (h, w)) + 1
        if kind == 1:
            image[:] = 1
        elif kind == 2:
            image[:] = noise
        elif kind == 3:
            image[y0, x0] = 1
        elif kind == 4:
            image[y0:y1, x0:x1] = noise[y0:y1, x0:x1]
        elif kind == 5:
            edge = [np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]][rng.integers(4)]
            image[edge] = noise[edge]
    return (images * (255 if dtype == "uint8" else 1)).astype(dtype)


SIDES = st.one_of(st.integers(1, 12), st.sampled_from([1, 2, 28]))
HAIR = 1e-8


def exact_around(
    image: np.ndarray, params: dict[str, float], mode: int, cval: float, order: int
) -> np.ndarray:
    """Look up exactly, and a hair's breadth beside, in all directions."""
    (h, w), results = image.shape, []
    m = keras_matrix(**params, h=h, w=w)
    for dy, dx in product((0, -HAIR, HAIR), repeat=2):
        out = np.empty((h, w), np.float32)
        warp_exactly(image, m + np.array([0, 0, 0, 0, dy, dx]), mode, cval, order, out)
        results.append(out)
    if mode == CONSTANT:  # one pixel wide or high, it is not met by any step to the side
        r, c = np.mgrid[:h, :w]
        y, x = m[0] * r + m[1] * c + m[4], m[2] * r + m[3] * c + m[5]
        inside = (y > -HAIR) & (y < h - 1 + HAIR) & (x > -HAIR) & (x < w - 1 + HAIR)
        warp_exactly(image, m, NEAREST, 0.0, order, out := np.empty((h, w), np.float32))
        results.append(np.where(inside, out, results[0]))
    return np.array(results)


@settings(max_examples=500)
@given(
    st.integers(0, 2**32),
    SIDES,
    SIDES,
    st.sampled_from(["uint8", "float32"]),
    st.sampled_from(FILL_MODES),
    st.sampled_from([0.0, 0.7, -2.0]),
    st.sampled_from([1, 1, 0]),
)
def test_fast_is_exact(
    seed: int, h: int, w: int, dtype: str, mode: str, cval: float, order: int
) -> None:
    """Within 1e-4 of white, wherever the last bit of a coordinate does not decide.

    Where it does (constant's edge, wrap's seam, half-way between two pixels for order 0), the
    fast result must be that of one of its sides: the exact one may itself be on the wrong side.
    """
    rng = np.random.default_rng(seed)
    full = 255 if dtype == "uint8" else 1
    images, params = any_images(rng, 8, h, w, dtype), wild_params(rng, 8)
    aug = Augment(fill_mode=mode, cval=cval * full, interpolation_order=order)
    before = images.copy()
    fast, exact = aug.apply(images, params), aug.apply(images, params, exact=True)
    assert fast.dtype == exact.dtype == np.float32 and fast.shape == exact.shape == images.shape
    assert np.array_equal(images, before)
    for k in np.flatnonzero((np.abs(fast - exact) > 1e-4 * full).any(axis=(1, 2))):
        own = {name: float(values[k]) for name, values in params.items()}
        around = exact_around(images[k], own, FILL_MODES.index(mode), cval * full, order)
        assert np.array_equal(around[0], exact[k])
        error = np.abs(around - fast[k]).min(axis=0).max()
        assert error <= 1e-4 * full, (own, images[k].tolist())


@settings(max_examples=60)
@given(st.integers(0, 2**32), SIDES, SIDES, st.sampled_from(FILL_MODES), st.sampled_from([1, 0]))
def test_at_ordinary_sizes_fast_is_exact_within_a_tenth_of_the_contract(
    seed: int, h: int, w: int, mode: str, order: int
) -> None:
    """Ordinary parameters, drawn evenly: there is no need for a hair's breadth then.

    An odd side has a middle pixel, which would look at itself: zoom, shift and turn never rest.
    """
    rng = np.random.default_rng(seed)
    images = any_images(rng, 8, h, w, "float32")
    aug = Augment(
        rotation_range=180,
        width_shift_range=0.4,
        height_shift_range=0.4,
        shear_range=40,
        zoom_range=0.4,
        fill_mode=mode,
        cval=0.3,
        interpolation_order=order,
    )
    params = aug.draw(8, seed=seed, shape=(h, w))
    error = np.abs(aug.apply(images, params) - aug.apply(images, params, exact=True)).max()
    assert error <= (1e-5 if order else 0)


@pytest.mark.parametrize(
    "size", [(498, 498), (20, 498), (300, 260), (1200, 40), (3, 2000)], ids=str
)
def test_large_pictures_keep_the_contract(size: tuple[int, int]) -> None:
    """A small error at each step along a row adds up; black and white pixels show most of it."""
    rng = np.random.default_rng(4)
    images = (rng.random((40, *size)) < 0.5).astype(np.float32)
    params = {
        "theta": rng.uniform(-3, 3, 40),
        "tx": rng.uniform(-1, 1, 40),
        "ty": rng.uniform(-1, 1, 40),
        "shear": rng.uniform(-3, 3, 40),
        "zx": rng.uniform(0.9, 1, 40),
        "zy": rng.uniform(0.9, 1, 40),
    }
    fast, exact = Augment().apply(images, params), Augment().apply(images, params, exact=True)
    assert np.abs(fast - exact).max() <= 1e-4


@pytest.mark.parametrize("mode", ["nearest", "constant"])
@pytest.mark.parametrize("order", [1, 0])
def test_all_that_is_not_background_is_computed(mode: str, order: int) -> None:
    """Full ink away from the edges, enlarged, turned, slanted: to miss a border would be seen."""
    rng, n = np.random.default_rng(25), 300
    for h, w in ((3, 3), (8, 8), (9, 20), (28, 28), (30, 5)):
        images = np.zeros((n, h, w), np.float32)
        for image in images:
            y0, x0 = rng.integers(1, (h - 1, w - 1))
            y1, x1 = rng.integers((y0, x0), (h - 1, w - 1)) + 1
            image[y0:y1, x0:x1] = 1
        params = {
            "theta": rng.choice([0, 1], n) * rng.uniform(-200, 200, n),
            "tx": rng.uniform(-0.5, 0.5, n) * w,
            "ty": rng.uniform(-0.5, 0.5, n) * h,
            "shear": rng.choice([0, 1], n) * rng.uniform(-70, 70, n),
            "zx": rng.choice([-1, 1], n) * 10 ** rng.uniform(-1.7, 0.3, n),
            "zy": rng.choice([-1, 1], n) * 10 ** rng.uniform(-1.7, 0.3, n),
        }
        aug = Augment(fill_mode=mode, interpolation_order=order)
        fast, exact = aug.apply(images, params), aug.apply(images, params, exact=True)
        assert np.abs(fast - exact).max() <= (1e-5 if order else 0)
        assert exact.any(axis=(1, 2)).mean() > 0.2


@modes
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("order", [1, 0])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_nothing_asked_nothing_done(mode: str, exact: bool, order: int, dtype: str) -> None:
    aug = Augment(fill_mode=mode, cval=77.0, interpolation_order=order)
    rest = {name: float(name in ("zx", "zy", "brightness")) for name in FACTORS}
    for h, w in ((28, 28), (1, 1), (1, 7), (6, 1), (13, 20)):
        images = any_images(np.random.default_rng(h * w), 12, h, w, dtype)
        for params in ({}, rest, {"theta": np.zeros(12), "flip_vertical": [False] * 12}):
            result = aug.apply(images, params, exact=exact)
            assert np.array_equal(result, images.astype(np.float32))
            assert not np.shares_memory(result, images)


@modes
def test_quarter_turns_and_whole_steps_are_exact_in_the_fast_kernel(mode: str) -> None:
    aug = Augment(fill_mode=mode, cval=0.5)
    for side in (1, 2, 7, 28):
        images = any_images(np.random.default_rng(side), 12, side, side, "float32")
        for quarters in range(-5, 6):
            turned = aug.apply(images, {"theta": 90.0 * quarters})
            assert np.array_equal(turned, np.rot90(images, quarters, axes=(1, 2)))
        for zoom in ({"zx": -1}, {"zy": -1}, {"zx": -1, "zy": -1}):
            mirrored = aug.apply(images, zoom)
            axes = [{"zx": 2, "zy": 1}[name] for name in zoom]
            assert np.array_equal(mirrored, np.flip(images, axes))
    images = any_images(np.random.default_rng(0), 12, 9, 11, "float32")
    padding: Any = {"nearest": "edge", "constant": "constant", "reflect": "symmetric"}
    if mode in padding:
        more = {"constant_values": 0.5} if mode == "constant" else {}
        wide = np.pad(images, ((0, 0), (20, 20), (20, 20)), padding[mode], **more)
        for tx, ty in ((3, 0), (-3, 2), (0, -8), (10, 8), (19, -20)):
            moved = aug.apply(images, {"tx": tx, "ty": ty})
            assert np.array_equal(moved, wide[:, 20 + ty : 29 + ty, 20 + tx : 31 + tx])


@modes
@pytest.mark.parametrize("exact", [True, False])
def test_flips_follow_the_map_and_undo_themselves(mode: str, exact: bool) -> None:
    rng = np.random.default_rng(5)
    aug, n = Augment(fill_mode=mode, cval=0.2), 24
    for h, w in ((8, 11), (1, 5), (4, 1), (28, 28)):
        images, params = any_images(rng, n, h, w, "float32"), wild_params(rng, n)
        across, over = rng.random((2, n)) < 0.5
        flips = {"flip_horizontal": across, "flip_vertical": over}
        expected = aug.apply(images, params, exact=exact)
        expected[across] = np.flip(expected[across], 2)
        expected[over] = np.flip(expected[over], 1)
        result = aug.apply(images, {**flips, **params}, exact=exact)
        assert np.array_equal(result, expected)
        twice = aug.apply(aug.apply(images, flips, exact=exact), flips, exact=exact)
        assert np.array_equal(twice, images)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_channels_are_planes(exact: bool, data_format: str) -> None:
    rng, n = np.random.default_rng(6), 16
    axis = 3 if data_format == "channels_last" else 1
    for channels in (1, 2, 3, 5):
        planes = [any_images(rng, n, 9, 6, "uint8") for _ in range(channels)]
        params = wild_params(rng, n) | {"flip_horizontal": rng.random(n) < 0.5, "brightness": 0.5}
        aug = Augment(fill_mode="constant", cval=9, data_format=data_format)
        result = aug.apply(np.stack(planes, axis=axis), params, exact=exact)
        alone = [aug.apply(plane, params, exact=exact) for plane in planes]
        assert np.array_equal(result, np.stack(alone, axis=axis))
        assert result.flags.c_contiguous


def test_greys_are_shifted_within_what_there_is_then_multiplied() -> None:
    rng, n = np.random.default_rng(7), 40
    for full, dtype in ((255, "uint8"), (255, "float32"), (1, "float32")):
        images = (rng.random((n, 5, 4, 2)) * full).astype(dtype)
        shifts, factors = rng.uniform(-0.5, 0.5, n) * full, rng.uniform(0, 3, n)
        x, s, b = (np.asarray(a, np.float32).reshape(n, -1) for a in (images, shifts, factors))
        shifted = np.clip(x + s, x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True))
        expected = {"channel_shift": shifted, "brightness": np.clip(x * b, 0, full)}
        for name, values in (("channel_shift", shifts), ("brightness", factors)):
            result = Augment().apply(images, {name: values})
            assert np.array_equal(result.reshape(n, -1), expected[name])
        both = Augment().apply(images, {"channel_shift": shifts, "brightness": factors})
        assert np.array_equal(both.reshape(n, -1), np.clip(shifted * b, 0, full))


def test_white_is_told_from_the_images() -> None:
    for planes, full in (
        (np.zeros((1, 1, 2, 2), np.uint8), 255),
        (np.ones((1, 1, 2, 2), np.uint8), 255),
        (np.zeros((1, 1, 2, 2), np.float32), 1),
        (np.ones((1, 1, 2, 2), np.float32), 1),
        (np.full((1, 1, 2, 2), 1.01, np.float32), 255),
        (np.full((1, 1, 2, 2), 255, np.float32), 255),
        (np.ones((1, 1, 2, 2), np.int64), 255),
        (np.zeros((0, 1, 2, 2), np.float32), 255),
    ):
        assert full_of(planes) == full
    assert full_of(np.zeros((1, 2, 2), np.float32), beyond=200.0) == 255
    for wrong in (-0.1, 255.5, np.nan, np.inf):
        planes = np.array([0.5, wrong], np.float32).reshape(1, 1, 1, 2)
        with pytest.raises(ValueError, match="must lie in"):
            full_of(planes)
        with pytest.raises(ValueError, match="must lie in"):
            Augment().apply(planes[:, 0], {"brightness": 0.9})
    negative = np.array([[[-3, 4]]], np.float32)  # nobody asks for white here
    assert np.array_equal(
        Augment().apply(negative, {"brightness": 1, "theta": 180}), -1 * -negative[:, ::-1, ::-1]
    )


@pytest.mark.parametrize("exact", [True, False])
def test_inputs_of_every_kind_give_the_same_and_stay_as_they_are(exact: bool) -> None:
    rng = np.random.default_rng(8)
    images, params = any_images(rng, 12, 10, 7, "uint8"), wild_params(rng, 12)
    params["brightness"] = rng.uniform(0.5, 1.5, 12)
    aug = Augment(fill_mode="reflect")
    expected = aug.apply(images, params, exact=exact)
    frozen = images.copy()
    frozen.flags.writeable = False
    same = [
        frozen,
        np.repeat(images, 2, axis=2)[:, :, ::2],
        np.asfortranarray(images),
        images[::-1].copy()[::-1],
        images.tolist(),
        *(images.astype(dtype) for dtype in ("int64", "float32", ">f4", "float64", "uint16")),
    ]
    for one in same:
        before = np.array(one)
        assert np.array_equal(aug.apply(one, params, exact=exact), expected)
        assert np.array_equal(before, one)
    colours = np.stack([images, images[::-1]], axis=3)
    wanted = aug.apply(colours, params, exact=exact)
    assert np.array_equal(wanted[..., 0], expected)
    for one in (np.asfortranarray(colours), np.flip(np.flip(colours, 3).copy(), 3)):
        assert np.array_equal(aug.apply(one, params, exact=exact), wanted)
    assert aug.apply(images[:0], {"theta": 3.0}, exact=exact).shape == (0, 10, 7)
    assert aug.apply(colours[:0], {"theta": []}, exact=exact).shape == (0, 10, 7, 2)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", np.float64, np.dtype("f2")])
def test_results_have_the_dtype_of_the_settings(dtype: Any) -> None:
    rng = np.random.default_rng(9)
    images, params = any_images(rng, 9, 6, 6, "uint8"), wild_params(rng, 9)
    plain, other = Augment(), Augment(dtype=dtype)
    assert other.dtype == np.dtype(dtype).name
    for exact in (True, False):
        result = other.apply(images, params, exact=exact)
        assert result.dtype == np.dtype(dtype)
        assert np.array_equal(result, plain.apply(images, params, exact=exact).astype(dtype))
    for aug in (other, other.replace(samplewise_std_normalization=True, rescale=1 / 255)):
        assert aug(images).dtype == aug.standardize(images).dtype == np.dtype(dtype)


@settings(max_examples=30)
@given(some_ranges, SEEDS, STARTS, st.booleans())
def test_calling_is_drawing_applying_standardizing(
    wishes: dict[str, Any], seed: int, start: int, exact: bool
) -> None:
    aug = Augment(**wishes, samplewise_center=True, rescale=0.5)
    images = any_images(np.random.default_rng(3), 6, 8, 5, "uint8")
    params = aug.draw(6, seed=seed, start=start, shape=(8, 5))
    expected = aug.standardize(aug.apply(images, params, exact=exact))
    assert np.array_equal(aug(images, seed=seed, start=start, exact=exact), expected)
    part = aug(images[2:4], seed=seed, start=start + 2, exact=exact)
    assert np.array_equal(part, expected[2:4])
    assert np.array_equal(apply_all(aug, images, params, exact), aug.apply(images, params, exact))


# Memory, threads, no numba


def run_script(
    script: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=known, check=False)


FENCED = """
import ctypes, mmap, sys
import numpy as np
from digitseq.augmenting import Augment
from digitseq.warping import FILL_MODES, keras_matrix, warp_exactly

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
kept, at_end = [], True

def fenced(shape, dtype=float, *others, **more):
    # An array whose first or last byte touches a page that nobody may read or write.
    shape = (shape,) if np.ndim(shape) == 0 else tuple(shape)
    count = int(np.prod(shape))
    size = count * np.dtype(dtype).itemsize
    pages = -(-max(size, 1) // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for fence in (address, address + (pages + 1) * PAGE):
        if libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    kept.append(memory)
    start = (pages + 1) * PAGE - size if at_end else PAGE
    return np.frombuffer(memory, dtype, count, start).reshape(shape)

def copy(values):
    array = fenced(values.shape, values.dtype)
    array[...] = values
    return array

rng = np.random.default_rng(0)
if sys.argv[1] == "trespass":
    image, m = copy(np.ones((9, 9), np.float32)), keras_matrix(0, 0, 0, 0, 1, 1, 9, 9)
    warp_exactly(image, m, 0, 0.0, 1, np.empty((9, 9), np.float32))
    print("fenced", flush=True)
    warp_exactly(image, m, 0, 0.0, 1, fenced((8, 9), np.float32))
    print("not reached")
    sys.exit()

def wild(n):
    params = {
        "theta": rng.choice([0, 90, -45, 13.7], n),
        "tx": rng.choice([0, 1, -2.5, 0.3, 1e5, -3e4], n),
        "ty": rng.choice([0, -1, 3.5, 0.7, -1e5, 2e4], n),
        "shear": rng.choice([0, 90, 30, -60], n),
        "zx": rng.choice([1, 0, 0.3, 2, -1, 1e4], n),
        "zy": rng.choice([1, 0, 0.3, 2, -1, 1e4], n),
        "channel_shift": rng.choice([0, 0.1], n),
        "brightness": rng.choice([1, 0.5], n),
    }
    return params | {name: rng.random(n) < 0.5 for name in ("flip_horizontal", "flip_vertical")}

def everything(check):
    done = 0
    for h, w in ((1, 1), (1, 5), (5, 1), (7, 9), (16, 16), (28, 28)):
        for dtype in (np.uint8, np.float32):
            full = 255 if dtype == np.uint8 else 1
            images = copy((rng.random((12, h, w)) * full).astype(dtype))
            params = {name: copy(values) for name, values in wild(12).items()}
            for mode in FILL_MODES:
                for order in (1, 0):
                    aug = Augment(fill_mode=mode, cval=0.5, interpolation_order=order)
                    for exact in (False, True):
                        result = aug.apply(images, params, exact=exact)
                        high = max(images.max(), 0.5) + 1e-4
                        assert (result >= -1e-4).all() and (result <= high).all()
                        done += 1
    return done

everything(False)  # compile first: kernels know np.empty, not what replaces it
np.empty = np.zeros = fenced
counts = []
for at_end in (True, False):
    counts.append(everything(True))
assert len(kept) > 3 * sum(counts), "the arrays of apply were not fenced"
print("checked", *counts)
"""
FENCES = hasattr(ctypes.CDLL(None), "mprotect") if os.name == "posix" else False


@pytest.mark.skipif(not FENCES, reason="pages can't be protected here: there is no mprotect")
def test_no_byte_outside_of_the_arrays_is_touched() -> None:
    trespasser = run_script(FENCED, "trespass")  # the fence is one
    assert trespasser.stdout == "fenced\n", trespasser.stderr
    assert -trespasser.returncode in (signal.SIGSEGV, signal.SIGBUS)
    done = run_script(FENCED, "apply")
    assert done.returncode == 0, done.stderr or f"killed by signal {-done.returncode}"
    assert done.stdout == f"checked {6 * 2 * 4 * 2 * 2} {6 * 2 * 4 * 2 * 2}\n"


ABSURD = """
import itertools, sys
import numpy as np
from digitseq.augmenting import Augment
from digitseq.warping import FILL_MODES

images = np.random.default_rng(0).integers(0, 256, (2, 9, 7), np.uint8)
huge = [1e7, -1e7, 1e12, 1e17, -1e20, 1e200, -1e308, 1e-308]
cases = [{name: value} for name in ("theta", "tx", "ty", "shear", "zx", "zy") for value in huge]
cases += [{"zx": 1e308, "zy": -1e308, "theta": 30, "tx": 1e308}]
cases += [{"tx": 1e308, "ty": 1e308, "theta": 45}]
cases += [{"channel_shift": 1e308}, {"brightness": 1e308}, {"brightness": -1e308}]
ranges = [("zoom_range", (1, 1e300)), ("zoom_range", (1e300, 1e308))]
ranges += [("brightness_range", (0, 1e300))]
refused = 0
for params, mode, order, exact in itertools.product(cases, FILL_MODES, (0, 1), (False, True)):
    print(params, mode, order, exact, file=sys.stderr, flush=True)
    aug = Augment(fill_mode=mode, interpolation_order=order)
    try:
        result = aug.apply(images, params, exact=exact)
    except ValueError as error:
        assert next(iter(params)) in str(error) or len(params) > 1, error
        refused += 1
        continue
    assert (result >= 0).all() and (result <= 255.001).all()
for name, value in ranges:
    try:
        assert (Augment(**{name: value})(images) <= 255.001).all()
    except ValueError:
        refused += 1
print("still alive")
"""


def test_absurd_numbers_are_refused_or_do_no_harm() -> None:
    done = run_script(ABSURD)
    last = done.stderr.strip().splitlines()[-1] if done.stderr else ""
    assert done.returncode == 0, f"signal or exit {done.returncode} at {last}"
    assert done.stdout == "still alive\n"


def test_the_exact_loop_writes_its_picture_and_nothing_else() -> None:
    rng = np.random.default_rng(10)
    for h, w in ((1, 1), (3, 8), (9, 4)):
        surrounded, memory = np.full((2, h * w + 128), 77, np.float32)
        image, out = (array[64:-64].reshape(h, w) for array in (surrounded, memory))
        image[:] = rng.random((h, w))  # a value read outside would be seen
        for params in ({"tx": 1e5}, {"theta": 77.0}, {"ty": -3, "zx": 9}, {"zy": 0.01}):
            rest = dict.fromkeys(FACTORS[:4], 0.0) | {"zx": 1.0, "zy": 1.0} | params
            m = keras_matrix(**rest, h=h, w=w)
            for mode in range(4):
                for order in (0, 1):
                    warp_exactly(image, m, mode, 0.5, order, out)
                    assert (out >= 0).all() and (out <= 1).all()
                    aug = Augment(fill_mode=FILL_MODES[mode], cval=0.5, interpolation_order=order)
                    again = aug.apply(image[None], params, exact=True)[0]
                    assert np.array_equal(out, again)
                    assert (memory[:64] == 77).all() and (memory[-64:] == 77).all()


def test_threads_leave_each_other_alone() -> None:
    rng = np.random.default_rng(11)
    images = any_images(rng, 400, 28, 28, "uint8")
    aug = Augment(
        rotation_range=30, zoom_range=0.3, brightness_range=(0.5, 1.5), horizontal_flip=True
    )
    alone = {exact: aug(images, seed=1, exact=exact) for exact in (False, True)}
    for exact, gate in ((False, Barrier(4)), (True, Barrier(4))):

        def share(k: int, exact: bool = exact, gate: Barrier = gate) -> Any:
            gate.wait()
            own = [aug(images, seed=1, exact=exact) for _ in range(3)]
            part = slice(100 * k, 100 * k + 100)
            return own, aug(images[part], seed=1, start=100 * k, exact=exact)

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(share, range(4)))
        for own, _ in results:
            assert all(np.array_equal(one, alone[exact]) for one in own)
        assert np.array_equal(np.concatenate([part for _, part in results]), alone[exact])


WITHOUT_NUMBA = """
import hashlib, itertools, sys
if sys.argv[1] == "hide":
    sys.modules["numba"] = None
import numpy as np
from digitseq import warping
from digitseq.augmenting import Augment
from digitseq.warping import FILL_MODES, affine, fold, turn

assert hasattr(warping.turn, "py_func") == (sys.argv[1] == "show")

def told(array):
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"

rng = np.random.default_rng(12)
def one_of(*values):
    return values[rng.integers(len(values))]

for case in range(200):
    wishes = {
        "rotation_range": one_of(0, 30.5, 180),
        "width_shift_range": one_of(0.0, 0.3, 3, [1, 2.5], 2.5, [0.1, 0.3]),
        "height_shift_range": one_of(0.0, 0.3, 4, (0.5, -1), 1.0),
        "shear_range": one_of(0, 20.0, 90),
        "zoom_range": one_of(0.0, 0.5, (0.1, 8.0)),
        "brightness_range": one_of(None, (0.2, 2.0)),
        "channel_shift_range": one_of(0.0, 0.2),
        "horizontal_flip": one_of(False, True),
        "vertical_flip": one_of(False, True),
        "fill_mode": FILL_MODES[case % 4],
        "cval": one_of(0.0, 0.5),
        "interpolation_order": one_of(1, 1, 0),
        "samplewise_std_normalization": one_of(False, True),
        "rescale": one_of(1 / 255, 0.5 / 255),
        "dtype": one_of("float32", "float64", "float16"),
    }
    h, w = rng.integers(1, 7, 2)
    shape = one_of((2, h, w), (1, h, w, 2))
    images = rng.random(shape) * (rng.random(shape) < one_of(0.0, 0.4, 1.0))
    images = (images * 255).astype(np.uint8) if case % 3 == 0 else images.astype(np.float32)
    aug, seed = Augment(**wishes), int(rng.integers(2**63))
    drawn = aug.draw(len(images), seed=seed, start=case, shape=(h, w))
    wild = drawn | {"theta": one_of(drawn["theta"], 90.0, 180.0), "tx": one_of(drawn["tx"], 1e5, 7)}
    wild["zx"] = one_of(drawn["zx"], 1.0, 1e3, 0.0, -1.0)
    found = [told(values) for values in drawn.values()]
    found += [told(aug.apply(images, wild, exact=exact)) for exact in (False, True)]
    found += [told(aug(images, seed=seed, start=case, exact=exact)) for exact in (False, True)]
    x = float(rng.normal(0, 20))
    found.append(repr([float(v) for v in (*turn(x * 9), *affine(x, 1.5, x, 9.0, 0.7, x, 9, 4))]))
    found.append(repr([float(fold(x, 5, mode)) for mode in (0, 2, 3)]))
    print(case, *found)
for blank, mode, order in itertools.product((0, 200), FILL_MODES, (0, 1)):
    images = np.full((1, 1, 2), blank, np.uint8)
    aug = Augment(fill_mode=mode, interpolation_order=order)
    for exact in (False, True):
        far = [{"zx": zoom, "zy": zoom} for zoom in (1e3, -1e5, 1e9)]
        print(*(told(aug.apply(images, params, exact=exact)) for params in far))
"""


def test_without_numba_everything_is_the_same() -> None:
    shown, hidden = (run_script(WITHOUT_NUMBA, mode) for mode in ("show", "hide"))
    assert shown.returncode == 0, shown.stderr
    assert hidden.returncode == 0, hidden.stderr
    assert shown.stdout.count("\n") == 200 + 2 * 4 * 2 * 2
    for here, there in zip(shown.stdout.splitlines(), hidden.stdout.splitlines(), strict=True):
        assert here == there


# Settings


NUMBERS = (
    *("zca_epsilon", "rotation_range", "shear_range", "channel_shift_range", "cval", "rescale"),
    "validation_split",
)
SHIFT_NAMES = ("width_shift_range", "height_shift_range")
SWITCHES = (
    *("featurewise_center", "samplewise_center", "featurewise_std_normalization"),
    *("samplewise_std_normalization", "zca_whitening", "horizontal_flip", "vertical_flip"),
)
WORDS = {"fill_mode": "'nearst'", "data_format": "'channel_last'", "dtype": "'float31'"}
NAN, INF = float("nan"), float("inf")
PAIRS = ("zoom_range", "brightness_range")

BAD: list[tuple[dict[str, Any], str]] = [
    *[
        ({name: wrong}, f"{name} must be a number.* got {re.escape(repr(wrong))}")
        for name in (*NUMBERS, *SHIFT_NAMES, "zoom_range")
        for wrong in (True, np.True_, "10", b"1", 1j, {}, object)
    ],
    *[
        ({name: wrong}, f"{name} must be finite, got {wrong}")
        for name in (*NUMBERS, *SHIFT_NAMES, "zoom_range")
        for wrong in (NAN, INF, -INF, np.float32("nan"))
    ],
    *[
        ({name: None}, f"{name} must be a number.* got None")
        for name in (*NUMBERS, *SHIFT_NAMES, "zoom_range")
        if name != "rescale"
    ],
    *[({name: [1.0]}, f"{name} must be a number, got \\[1.0\\]") for name in NUMBERS],
    *[
        ({name: np.array(1.0)}, f"{name} must be .* got array")
        for name in (*NUMBERS, *SHIFT_NAMES, *PAIRS)
    ],
    *[
        ({name: -1}, f"{name} must be .*, got -1")
        for name in (*NUMBERS, *SHIFT_NAMES, "zoom_range")
        if name not in ("cval", "rescale")
    ],
    *[({name: 10**400}, f"{name} must be") for name in (*NUMBERS, *SHIFT_NAMES, "zoom_range")],
    ({"zca_epsilon": 0}, "zca_epsilon must be .* got 0"),
    ({"cval": 1e39}, "cval must be .* got 1e"),
    ({"rotation_range": 1e9}, "rotation_range must be 0 to .* got 1000000000"),
    ({"zoom_range": 1.5}, "zoom_range must be 0 to .* got 1.5"),
    ({"validation_split": 1}, "validation_split must be 0 to .* got 1"),
    ({"validation_split": 1.5}, "validation_split must be 0 to .* got 1.5"),
    *[({name: 2**40}, f"{name} must be 0 to .* got 1099511627776") for name in SHIFT_NAMES],
    *[({name: []}, f"{name} must hold at least one number.* got none") for name in SHIFT_NAMES],
    *[
        ({name: [1, wrong]}, f"{name}\\[1\\] must be .*, got {re.escape(repr(wrong))}")
        for name in (*SHIFT_NAMES, *PAIRS)
        for wrong in (True, "2", None, [3], NAN, INF)
    ],
    *[({name: [1, 2**40]}, f"{name}\\[1\\] must be .* got 1099511627776") for name in SHIFT_NAMES],
    *[
        ({name: wrong}, f"{name} must be \\(least, greatest\\), got")
        for name in PAIRS
        for wrong in ([], (), [1], (1, 2, 3), np.ones(3), (1.5, 0.5))
    ],
    *[({name: (1.5, 0.5)}, "got \\(1.5, 0.5\\): swap them") for name in PAIRS],
    *[
        ({"brightness_range": wrong}, "brightness_range must be \\(least, greatest\\), got")
        for wrong in (0, 0.0, 1, 0.5, False, True, "", "ab", {}, {0.5, 1.5})
    ],
    *[({name: (-0.5, 1)}, f"{name}\\[0\\] must be .* got -0.5") for name in PAIRS],
    ({"zoom_range": (0, 1)}, "zoom_range\\[0\\] must be .* got 0"),
    ({"zoom_range": (True, True)}, "zoom_range\\[0\\] must be a number, got True"),
    *[
        ({name: wrong}, f"{name} must be True or False, got {re.escape(repr(wrong))}")
        for name in SWITCHES
        for wrong in (0, 1, None, "yes", [])
    ],
    *[({name: eval(word)}, f"got {word}: did you mean '") for name, word in WORDS.items()],
    *[
        ({name: wrong}, f"{name} must be one of .* got")
        for name in WORDS
        for wrong in (None, 5, True, ["x"], "")
        if wrong is not None or name == "fill_mode"
    ],
    ({"dtype": "int8"}, "dtype must be one of float32, float16, float64, got 'int8'"),
    ({"interpolation_order": 2}, "interpolation_order must be at most 1, got 2"),
    ({"interpolation_order": -1}, "interpolation_order must be at least 0, got -1"),
    *[
        ({"interpolation_order": wrong}, "interpolation_order must be an integer, got")
        for wrong in (True, 1.0, "1", None)
    ],
    *[
        ({"preprocessing_function": wrong}, "preprocessing_function must be a function, got")
        for wrong in (5, "sqrt", [np.sqrt], False)
    ],
]


@pytest.mark.parametrize(("wishes", "message"), BAD, ids=lambda value: repr(value)[:60])
def test_bad_settings_are_refused(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augment(**wishes)


IMAGES = np.arange(60, dtype=np.uint8).reshape(2, 5, 6)
BAD_CALLS: list[tuple[Callable[[], Any], str]] = [
    *[
        (lambda name=name, wrong=wrong: Augment().draw(1, **{name: wrong}), f"{name} must be")
        for name, wrongs in {
            "seed": (-1, 2**64, 1.0, True, "1", None),
            "start": (-1, 2**63, 1.0, True, "1", None),
            "shape": ((0, 5), (5, -1), (5.0, 5), ("5", 5), (True, 5), (28,), 28, (), None, "ab"),
        }.items()
        for wrong in wrongs
    ],
    *[
        (lambda wrong=wrong: Augment().draw(wrong), "n must be")
        for wrong in (-1, 1.0, True, "1", None)
    ],
    *[
        (lambda wrong=wrong: Augment().apply(wrong, {}), "images must")
        for wrong in (
            *(5, None, "images", [], IMAGES[0], IMAGES[None, None], IMAGES > 3, IMAGES * 1j),
            *(IMAGES.astype(str), IMAGES.astype(object), np.empty((2, 0, 6)), np.empty((2, 5, 0))),
        )
    ],
    *[
        (lambda wrong=wrong: Augment().standardize(wrong), "images must")
        for wrong in (5, None, "images", [], IMAGES[0], IMAGES[None, None], IMAGES * 1j)
    ],
    *[
        (lambda wrong=wrong: Augment(samplewise_center=True)(wrong), "images must")
        for wrong in (5, IMAGES[0], IMAGES[None, None])
    ],
    *[
        (lambda wrong=wrong: Augment().apply(IMAGES, {"theta": wrong}), "theta must be .*got")
        for wrong in ([1], [1, 2, 3], [[1, 2]], "3", None, 1j, NAN, [0, INF], [0, None], {})
    ],
    (lambda: Augment().apply(IMAGES, {"thetta": 1}), "no factor 'thetta': did you mean 'theta'"),
    (lambda: Augment().apply(IMAGES, {"qqq": 1}), "no factor 'qqq': there are theta, tx"),
    (lambda: Augment().apply(IMAGES, {5: 1}), "no factor 5"),
    *[
        (lambda wrong=wrong: Augment().apply(IMAGES, wrong), "params|factors")
        for wrong in (None, 5, [1, 2])
    ],
    (lambda: Augment().fit(IMAGES[:0]), "fit needs at least one image, got none"),
    (lambda: Augment().fit(IMAGES[0]), "images must have shape"),
    *[
        (lambda wrong=wrong, a=a: Augment().fit(IMAGES, augment=a, rounds=wrong), "rounds must be")
        for wrong in (0, -1, 1.5, True, "2", None)
        for a in (True, False)
    ],
    *[
        (lambda wrong=wrong, a=a: Augment().fit(IMAGES, augment=a, seed=wrong), "seed must be")
        for wrong in (-1, 2**64, 1.5, True, "2")
        for a in (True, False)
    ],
    *[
        (lambda wrong=wrong: Augment().flow(IMAGES, batch_size=wrong), "batch_size must be")
        for wrong in (0, -1, 1.5, True, "2", None)
    ],
    *[
        (lambda wrong=wrong: Augment().flow(IMAGES, seed=wrong), "seed must be")
        for wrong in (-1, 2**64, 1.5, True, "2")
    ],
    *[
        (lambda wrong=wrong: Augment().flow(IMAGES, subset=wrong), "subset must be one of training")
        for wrong in ("train", "", 5, True)
    ],
    (lambda: Augment().flow(IMAGES, subset="validation"), "'validation' of 2 images is empty"),
    (lambda: Augment().flow(IMAGES[:0]), "at least one image|0 images"),
    (lambda: Augment().flow(IMAGES[0]), "images must have shape"),
    (lambda: Augment().flow(IMAGES, [1]), "label for each of 2 images, got 1"),
    (lambda: Augment().flow(IMAGES, 5), "label"),
    (lambda: Augment(featurewise_center=True).flow(IMAGES), "must be fitted first"),
    (lambda: Augment(zca_whitening=True).standardize(IMAGES), "must be fitted first"),
    (lambda: Augment(featurewise_center=True)(IMAGES), "must be fitted first"),
    *[
        (lambda wrong=wrong: Augment.from_dict(wrong), "augment")
        for wrong in (None, 5, [1], "x", {"rotation": 1}, {5: 1}, {"statistics": None})
    ],
    (lambda: Augment.from_dict({"zoom_rage": 1}), "no 'zoom_rage': did you mean 'zoom_range'"),
    (lambda: Augment.from_dict({"zoom_range": "1"}), "zoom_range must be a number"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[message for _, message in BAD_CALLS])
def test_bad_calls_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_arguments_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[int] = []
    aug = Augment(preprocessing_function=lambda image: worked.append(1) or image)
    for call in (
        lambda: aug(IMAGES, seed=-1),
        lambda: aug(IMAGES, start="0"),
        lambda: aug.flow(IMAGES, [1]),
        lambda: aug.fit(IMAGES, augment=True, seed=-1),
    ):
        with pytest.raises(ValueError):
            call()
    assert not worked


ANY_SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        **RANGES,
        **{name: st.booleans() for name in SWITCHES[:4]},
        "zca_epsilon": st.floats(1e-9, 10),
        "fill_mode": st.sampled_from(FILL_MODES),
        "cval": st.floats(-300, 300),
        "rescale": st.one_of(st.none(), st.floats(-2, 2)),
        "data_format": st.sampled_from(["channels_last", "channels_first"]),
        "validation_split": st.floats(0, 0.9),
        "interpolation_order": st.sampled_from([0, 1]),
        "dtype": st.sampled_from(["float16", "float32", "float64"]),
    },
)


@settings(max_examples=200)
@given(ANY_SETTINGS, SEEDS)
def test_settings_survive_every_journey(wishes: dict[str, Any], seed: int) -> None:
    aug = Augment(**wishes)
    spelled = aug.to_dict()
    assert set(spelled) <= set(wishes) | {"featurewise_center", "samplewise_center"}
    travelled = [
        Augment.from_dict(spelled),
        Augment.from_dict(json.loads(json.dumps(spelled, allow_nan=False))),
        pickle.loads(pickle.dumps(aug)),
        aug.replace(),
    ]
    drawn = aug.draw(3, seed=seed)
    for other in travelled:
        assert other == aug and hash(other) == hash(aug)
        assert other.to_dict() == spelled
        again = other.draw(3, seed=seed)
        assert all(np.array_equal(drawn[name], again[name]) for name in FACTORS)
    assert Augment.from_dict({}) == Augment() and Augment().to_dict() == {}


def test_every_setting_makes_a_difference() -> None:
    """Records that do another thing are not equal: a shift of 3 picks, a shift of 3.0 does not."""
    others = [
        Augment(width_shift_range=3),
        Augment(width_shift_range=3.0),
        Augment(width_shift_range=[3]),
        Augment(width_shift_range=[3.0, 1]),
        Augment(height_shift_range=3),
        Augment(rescale=0.5),
        Augment(dtype="float64"),
        Augment(interpolation_order=0),
        Augment(brightness_range=(1, 1)),
        Augment(),
    ]
    assert [a == b for a in others for b in others] == [a is b for a in others for b in others]


def test_numpy_numbers_are_numbers() -> None:
    plain = Augment(
        rotation_range=10,
        width_shift_range=3,
        height_shift_range=0.25,
        zoom_range=(0.5, 1.5),
        brightness_range=(0.5, 2),
        channel_shift_range=4,
        cval=7,
        rescale=0.5,
        interpolation_order=0,
        horizontal_flip=True,
    )
    numpys = Augment(
        rotation_range=np.float32(10),
        width_shift_range=np.int8(3),
        height_shift_range=np.float16(0.25),
        zoom_range=np.array([0.5, 1.5]),
        brightness_range=np.array([0.5, 2.0], np.float32),
        channel_shift_range=np.uint64(4),
        cval=np.int64(7),
        rescale=np.float64(0.5),
        interpolation_order=np.int64(0),
        horizontal_flip=np.True_,
    )
    assert plain == numpys and hash(plain) == hash(numpys)
    assert json.dumps(plain.to_dict()) == json.dumps(numpys.to_dict())  # of equals, one hash
    one, other = plain.draw(50, seed=3), numpys.draw(np.int32(50), seed=np.uint64(3))
    assert all(np.array_equal(one[name], other[name]) for name in FACTORS)
    steps = Augment(width_shift_range=np.array([1, 2, 5]))
    assert steps == Augment(width_shift_range=[1, 2, 5]) == Augment(width_shift_range=(1, 2, 5))


def test_settings_are_frozen_and_what_was_learned_is_beside_them() -> None:
    aug, images = Augment(featurewise_std_normalization=True), IMAGES.astype(np.float32)
    fresh = Augment(featurewise_std_normalization=True)
    for item in fields(aug):
        with pytest.raises(FrozenInstanceError):
            setattr(aug, item.name, getattr(aug, item.name))
    before = (hash(aug), repr(aug), aug.to_dict())
    assert aug.fit(images) is aug
    assert aug == fresh and hash(aug) == hash(fresh)
    assert (hash(aug), repr(aug), aug.to_dict()) == before
    for other in (aug.replace(), aug.replace(rescale=2.0), Augment.from_dict(aug.to_dict())):
        with pytest.raises(ValueError, match="must be fitted first"):
            other.standardize(images)
    again = pickle.loads(pickle.dumps(aug))
    assert np.array_equal(again.standardize(images), aug.standardize(images))
    with pytest.raises(TypeError):
        Augment(rotation=5)  # type: ignore[call-arg]


def test_settings_that_imply_others() -> None:
    implied = Augment(samplewise_std_normalization=True, featurewise_std_normalization=True)
    assert implied.samplewise_center and implied.featurewise_center
    assert Augment(zca_whitening=True).featurewise_center
    with pytest.warns(UserWarning, match="featurewise_std_normalization is off") as caught:
        both = Augment(zca_whitening=True, featurewise_std_normalization=True)
    assert not both.featurewise_std_normalization and both.featurewise_center
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("wishes", "name"),
    [
        *[({name: True}, name) for name in SWITCHES[:2]],
        ({"featurewise_std_normalization": True}, "featurewise"),
        ({"samplewise_std_normalization": True}, "samplewise"),
        ({"zca_whitening": True}, "featurewise_center|zca_whitening"),
        ({"rescale": 0.5}, "rescale"),
        ({"preprocessing_function": np.sqrt}, "preprocessing_function"),
        ({"validation_split": 0.1}, "validation_split"),
        ({"dtype": "float64"}, "dtype"),
        ({"data_format": "channels_first"}, "data_format"),
        ({"cval": -1}, "cval must be 0 to 255 in a spec, got -1"),
        ({"cval": 256}, "cval must be 0 to 255 in a spec, got 256"),
    ],
    ids=repr,
)
def test_what_bytes_cannot_hold_has_no_place_in_a_spec(wishes: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        check_in_spec(Augment(**wishes))


@given(some_ranges, st.sampled_from(FILL_MODES), st.integers(0, 255), st.sampled_from([0, 1]))
def test_what_bytes_can_hold_has(wishes: dict[str, Any], mode: str, cval: int, order: int) -> None:
    check_in_spec(Augment(**wishes, fill_mode=mode, cval=cval, interpolation_order=order))


# Shapes, tables


def test_planes_and_tables() -> None:
    colours = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    assert np.array_equal(as_planes(colours), np.moveaxis(colours, 3, 1))
    assert np.array_equal(as_planes(colours, "channels_first"), colours)
    assert np.array_equal(as_planes(colours[0]), colours[0][:, None])
    assert as_planes(colours).dtype == np.uint8 and as_planes(colours + 0.5).dtype == np.float32
    assert as_planes(colours.astype(np.int64)).dtype == np.float32
    table = factor_table({"tx": [1, 2], "flip_vertical": True, "zy": np.float32(3)}, 2)
    assert table.tolist() == [[0, 1, 0, 0, 1, 3, 1, 0, 0, 1], [0, 2, 0, 0, 1, 3, 1, 0, 0, 1]]
    named = named_factors(table.reshape(1, 2, 10))
    assert tuple(named) == FACTORS and all(values.shape == (1, 2) for values in named.values())
    assert named["flip_vertical"].dtype == bool and named["tx"].tolist() == [[1, 2]]
    drawn = Augment(rotation_range=5, zoom_range=0.5, horizontal_flip=True).draw(30)
    again = named_factors(factor_table(drawn, 30))
    assert all(np.array_equal(again[name], drawn[name]) for name in FACTORS)


# Learning and standardizing


def test_each_image_is_standardized_for_itself() -> None:
    rng = np.random.default_rng(14)
    images = rng.random((9, 6, 5, 2)).astype(np.float32)
    images[4] = 0
    for data_format in ("channels_last", "channels_first"):
        aug = Augment(samplewise_std_normalization=True, data_format=data_format)
        result = aug.standardize(images)
        inked = np.arange(9) != 4
        assert np.abs(result.mean(axis=(1, 2, 3))).max() < 1e-6
        assert np.abs(result[inked].std(axis=(1, 2, 3)) - 1).max() < 1e-4
        assert not result[4].any()
    assert np.array_equal(aug.standardize(images[2:3]), result[2:3])


def test_inputs_are_not_changed_by_learning_or_standardizing() -> None:
    images = any_images(np.random.default_rng(15), 12, 5, 5, "float32")
    kept, seen = images.copy(), []

    def spoil(image: np.ndarray) -> np.ndarray:
        seen.append(image.copy())
        image *= 0
        return image + 1

    aug = Augment(
        preprocessing_function=spoil,
        rescale=2.0,
        samplewise_std_normalization=True,
        featurewise_std_normalization=True,
    )
    frozen = images.copy()
    frozen.flags.writeable = False
    aug.fit(frozen, augment=True, rounds=2)
    aug.fit(frozen)
    assert not seen  # as in Keras: it is not applied when learning
    aug.standardize(images)
    aug.standardize(frozen)
    assert np.array_equal(images, kept) and np.array_equal(frozen, kept)
    assert np.array_equal(seen[:12], kept) and len(seen) == 24


def test_a_function_must_keep_the_shape() -> None:
    for function in (lambda image: image[1:], lambda image: 5.0, lambda image: None):
        aug = Augment(preprocessing_function=function)
        with pytest.raises(ValueError, match=r"must keep the shape \(5, 6\)|shape"):
            aug.standardize(IMAGES)


def test_learning_from_augmented_images_is_learning_from_what_was_applied() -> None:
    images = any_images(np.random.default_rng(16), 10, 6, 6, "float32")
    wishes = {"rotation_range": 40, "height_shift_range": 0.3, "rescale": 3.0}
    aug = Augment(featurewise_std_normalization=True, **wishes)
    aug.fit(images, augment=True, rounds=4, seed=7)
    scaled = images * np.float32(3)
    seen = aug.apply(np.concatenate([scaled] * 4), aug.draw(40, seed=7, shape=(6, 6)))
    expected = (scaled - seen.mean()) / (seen.std() + 1e-6)
    assert np.allclose(aug.standardize(images), expected, atol=1e-5)
    aug.fit(images, augment=True, rounds=4, seed=8)
    assert not np.allclose(aug.standardize(images), expected, atol=1e-5)
    aug.fit(images)
    assert np.allclose(aug.standardize(images), (scaled - scaled.mean()) / scaled.std(), atol=1e-4)


def test_other_images_than_those_of_fit_are_refused() -> None:
    rng = np.random.default_rng(17)
    images = rng.random((30, 4, 5, 3), np.float32)
    for wishes in (
        {"featurewise_center": True},
        {"featurewise_std_normalization": True},
        {"zca_whitening": True, "zca_epsilon": 1.0},
    ):
        aug = Augment(**wishes).fit(images)
        with pytest.raises(ValueError, match="images must be like those of fit"):
            aug.standardize(images[..., :1])
        with pytest.raises(ValueError, match="images must be like those of fit"):
            aug.standardize(images[..., 0])
        result = aug.standardize(images)
        assert np.allclose(aug.standardize(images[3:5]), result[3:5], atol=1e-5)


def test_whitening_takes_correlations_away() -> None:
    rng = np.random.default_rng(18)
    images = rng.random((4000, 3, 3), np.float32)
    images[:, 1] += images[:, 0]  # rows that follow each other
    images -= images.mean(axis=0) - 0.3  # one mean for all pixels: it is all that is subtracted
    aug = Augment(zca_whitening=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing here is amplified without bounds
        result = aug.fit(images).standardize(images).reshape(4000, 9)
    assert np.allclose(np.cov(result.T), np.eye(9), atol=2e-3)


def test_the_warning_of_whitening_tells_a_better_epsilon() -> None:
    rng = np.random.default_rng(19)
    images = rng.random((50, 6, 6), np.float32)
    images[:, 0] = 0  # never inked, like the corners of digits
    with pytest.warns(UserWarning, match="with zca_epsilon=") as caught:
        Augment(zca_whitening=True).fit(images)
    assert caught[0].filename == __file__
    better = float(re.search(r"zca_epsilon=(\S+) ", str(caught[0].message)).group(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        aug = Augment(zca_whitening=True, zca_epsilon=better, width_shift_range=1.0).fit(images)
        assert np.abs(aug(images)).max() < 20


def test_half_precision_is_that_of_results_not_of_sums() -> None:
    images = any_images(np.random.default_rng(24), 20, 8, 8, "uint8")
    for wishes in (
        {"samplewise_std_normalization": True},
        {"featurewise_std_normalization": True},
        {"rescale": 1 / 255, "samplewise_center": True},
    ):
        single = Augment(**wishes).fit(images).standardize(images)
        half = Augment(**wishes, dtype="float16").fit(images).standardize(images)
        assert np.allclose(half, single, rtol=0.01, atol=0.01)


def test_whitening_works_at_every_precision() -> None:
    images = np.random.default_rng(20).random((60, 4, 4), np.float32)
    single = Augment(zca_whitening=True, zca_epsilon=1.0).fit(images).standardize(images)
    for dtype, tolerance in (("float64", 1e-4), ("float16", 0.05)):
        aug = Augment(zca_whitening=True, zca_epsilon=1.0, dtype=dtype).fit(images)
        result = aug.standardize(images)
        assert result.dtype == dtype
        assert np.abs(result - single).max() < tolerance


# Flow


def epochs(
    batches: Iterator[Any], n: int, size: int, count: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Take whole epochs of images and labels."""
    each = -(-n // size)
    taken = list(islice(batches, each * count))
    assert [len(labels) for _, labels in taken[:each]] == [
        min(size, n - start) for start in range(0, n, size)
    ]
    return [
        tuple(np.concatenate(part) for part in zip(*taken[k : k + each], strict=True))
        for k in range(0, len(taken), each)
    ]


@pytest.mark.parametrize("size", [1, 4, 23, 32])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_epoch_shows_each_image_once_augmented_anew(size: int, shuffle: bool) -> None:
    n, images = 23, any_images(np.random.default_rng(21), 23, 7, 9, "uint8")
    aug = Augment(rotation_range=30, width_shift_range=0.2, samplewise_center=True)
    labels = [f"image {k}" for k in range(n)]
    shown = epochs(aug.flow(images, labels, size, shuffle=shuffle, seed=5), n, size, 3)
    orders = []
    for epoch, (found, own) in enumerate(shown):
        order = [labels.index(label) for label in own]
        orders.append(order)
        assert sorted(order) == list(range(n))
        expected = aug(images, seed=5, start=epoch * n)
        assert np.allclose(found, expected[order], atol=1e-4)
    assert len({tuple(order) for order in orders}) == (3 if shuffle else 1)
    if not shuffle:
        assert orders[0] == list(range(n))


def test_flow_depends_on_its_seed_only() -> None:
    images = any_images(np.random.default_rng(22), 20, 6, 6, "uint8")
    aug = Augment(rotation_range=30, zoom_range=0.2)
    one, same, other = (aug.flow(images, batch_size=7, seed=seed) for seed in (1, 1, 2))
    for _ in range(7):
        batch = next(one)
        assert batch.dtype == np.float32 and np.array_equal(batch, next(same))
        assert not np.array_equal(batch, next(other))


def test_neighbouring_seeds_have_other_orders() -> None:
    images = np.zeros((99, 1, 1), np.uint8)
    seeds = [base + k for base in (0, 2**53, 2**63 - 1, 2**64 - 9) for k in range(3)]
    orders = {tuple(next(Augment().flow(images, range(99), 99, seed=seed))[1]) for seed in seeds}
    assert len(orders) == len(seeds)


def test_flow_goes_with_subsets_and_does_not_keep_or_change_what_it_is_given() -> None:
    images = any_images(np.random.default_rng(23), 30, 6, 6, "float32")
    kept = images.copy()
    aug = Augment(rotation_range=30, validation_split=0.2)
    whole = {
        subset: epochs(aug.flow(images, range(30), 8, seed=3, subset=subset), n, 8, 2)
        for subset, n in (("training", 24), ("validation", 6), (None, 30))
    }
    members = {subset: sorted(shown[0][1].tolist()) for subset, shown in whole.items()}
    assert members["validation"] == list(range(6))
    assert members["training"] == list(range(6, 30))
    assert members[None] == list(range(30))
    assert np.array_equal(images, kept)
    batches = aug.flow(images, seed=3, batch_size=4)
    next(batches)[:] = 77  # a batch is the caller's
    assert np.array_equal(images, kept)
    colours = np.stack([images] * 3, axis=1)
    first = next(Augment(data_format="channels_first").flow(colours, shuffle=False))
    assert np.array_equal(first, colours)


# What Keras' own defaults, wrong images and the last bit of a double must not break


def test_the_defaults_of_keras_can_be_spelled_out() -> None:
    spelled = Augment(rotation_range=10, preprocessing_function=None, data_format=None, dtype=None)
    assert spelled == Augment(rotation_range=10)
    assert spelled.data_format == "channels_last" and spelled.dtype == "float32"
    assert spelled.to_dict() == {"rotation_range": 10.0}


def test_a_missing_or_foreign_fit_is_found_before_the_work() -> None:
    def fails(image: Any) -> Any:
        raise AssertionError("work was done")

    images = np.zeros((3, 8, 8), np.uint8)
    unfitted = Augment(featurewise_center=True, preprocessing_function=fails)
    for call in (unfitted, unfitted.standardize, unfitted.flow):
        with pytest.raises(ValueError, match="must be fitted first"):
            call(images)
    rng = np.random.default_rng(0)
    tame = Augment(zca_whitening=True, zca_epsilon=1.0, preprocessing_function=fails)
    tame.fit(rng.random((20, 6, 6)))
    for call in (tame, tame.standardize, tame.flow):
        with pytest.raises(ValueError, match=r"like those of fit \(36 values\), got 64"):
            call(images)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("own", ["featurewise_center", "zca_whitening"])
def test_nothing_is_learned_from_what_is_not_finite(own: str, wrong: float) -> None:
    images = np.random.default_rng(0).random((9, 4, 4))
    images[2, 1, 1] = wrong
    with pytest.raises(ValueError, match="fit needs finite numbers"):
        Augment(**{own: True}, zca_epsilon=1.0).fit(images)


def test_shuffle_is_a_switch() -> None:
    with pytest.raises(ValueError, match="shuffle must be True or False, got 'no'"):
        Augment().flow(np.zeros((3, 8, 8)), shuffle="no")  # type: ignore[arg-type]


def test_flow_asks_all_images_what_white_is() -> None:
    images = np.zeros((2, 8, 8), np.float32)
    images[0], images[1] = 0.9, 200
    bright = Augment(brightness_range=(3, 3))
    for size in (1, 2):
        flow = bright.flow(images, batch_size=size, shuffle=False)
        assert np.isclose(next(flow)[0].max(), 2.7)


@pytest.mark.parametrize("side", [5, 29, 31, 101])
def test_an_edge_that_is_met_exactly_keeps_its_ink(side: int) -> None:
    white = np.ones((200, side, side), np.float32)
    slanted = Augment(shear_range=20, fill_mode="constant")
    assert (slanted(white)[:, side // 2] == 1).all()
    moved = slanted.apply(white[:1], {"shear": 11.0, "tx": 2.0})[0, side // 2]
    assert (moved[: side - 2] == 1).all() and (moved[side - 2 :] == 0).all()


@pytest.mark.parametrize(
    "name", ["zca_whitening", "featurewise_std_normalization", "samplewise_std_normalization"]
)
def test_what_switched_others_on_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has no place in a spec"):
        check_in_spec(Augment(**{name: True}))


def test_the_shape_of_an_image_is_read_in_its_format() -> None:
    first = Augment(data_format="channels_first", height_shift_range=0.5)
    last = Augment(height_shift_range=0.5)
    drawn = first.draw(400, shape=(3, 20, 28))["ty"]
    assert np.array_equal(drawn, last.draw(400, shape=(20, 28, 3))["ty"])
    assert np.array_equal(drawn, last.draw(400, shape=(20, 28))["ty"])
    assert 9 < np.abs(drawn).max() <= 10


def test_no_seed_is_a_seed_where_keras_has_none() -> None:
    aug = Augment(rotation_range=20)
    none, nought = (next(aug.flow(IMAGES, seed=seed)) for seed in (None, 0))
    assert np.array_equal(none, nought)
    whole = Augment(featurewise_center=True, rotation_range=20)
    none, nought = (
        whole.fit(IMAGES, augment=True, seed=seed).statistics.mean for seed in (None, 0)
    )
    assert np.array_equal(none, nought)
    with pytest.raises(ValueError, match="seed must be an integer, got ''"):
        aug.flow(IMAGES, seed="")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="augment must be True or False, got 'yes'"):
        whole.fit(IMAGES, augment="yes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="flow needs at least one image, got none"):
        aug.flow(IMAGES[:0])
