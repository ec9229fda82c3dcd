"""normalize, beyond its notebook: every type, exact oracles, and the centre of mass."""

import math
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from digitseq.normalizing import (
    _light_border,
    ink_bounds,
    normalize,
    resize_area,
    to_float32,
    to_uint8,
    white_on_black,
)

sides = st.integers(1, 12)
pictures = hnp.arrays(np.uint8, st.tuples(sides, sides))
stacks = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6))
INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i4", ">u2"]
FLOATS = ["float16", "float32", "float64", "longdouble", ">f4"]


# Bytes and floats


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_of_every_type_become_the_same_bytes(dtype: str) -> None:
    most = min(255, int(np.iinfo(dtype).max))
    values = np.arange(most + 1).astype(dtype)
    found = to_uint8(values)
    assert found.dtype == np.uint8
    assert found.tolist() == list(range(most + 1))


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_of_every_type_are_rounded_half_to_even(dtype: str) -> None:
    values = np.linspace(0, 1, 1021).astype(dtype)
    found = to_uint8(values)
    expected = [round(float(value) * 255) for value in values]
    assert found.dtype == np.uint8
    assert found.tolist() == expected
    assert (found[0], found[-1]) == (0, 255)


def test_halves_go_to_the_even_neighbour() -> None:
    halves = (np.arange(255) + 0.5) / 255
    exact = halves * 255 == np.arange(255) + 0.5
    assert exact.sum() > 100
    assert (to_uint8(halves)[exact] % 2 == 0).all()


def test_truth_becomes_black_and_white() -> None:
    assert to_uint8([[True, False]]).tolist() == [[255, 0]]
    assert to_uint8(True).shape == ()


@given(stacks)
def test_bytes_to_floats_and_back_is_no_change(images: np.ndarray) -> None:
    floats = to_float32(images)
    assert (floats.dtype, floats.shape) == (np.float32, images.shape)
    assert np.array_equal(to_uint8(floats), images)
    wanted = [np.float32(int(value)) / np.float32(255) for value in images.ravel()]
    assert floats.ravel().tolist() == wanted


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, "bool"])
def test_nothing_may_be_empty_without_harm(dtype: str) -> None:
    assert to_uint8(np.empty((0, 28, 28), dtype)).shape == (0, 28, 28)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([0.5, np.nan], "must not hold NaN"),
        (np.array([np.nan], np.float16), "must not hold NaN"),
        ([0.0, np.inf], "got inf: divide by inf"),
        ([-np.inf, 0.5], "got -inf: add inf"),
        ([-0.25, 0.5], r"\[0, 1\], got -0.25: add 0.25 first"),
        ([0.0, 255.0], "got 255: divide by 255 first"),
        ([0.0, 17.5], "got 17.5: divide by 255 first"),
        ([0.0, 1000.0], "got 1000: divide by 1000 first"),
        ([np.nextafter(1, 2)], "got 1: "),
        ([-1, 3], "0 to 255, got -1: shift or scale"),
        ([0, 256], "got 256: shift or scale"),
        (np.array([2**64 - 1], np.uint64), "got 18446744073709551615"),
        (np.array([-(2**63)]), "got -9223372036854775808"),
        (["7"], "bool, integers or floats, got <U1"),
        ([1j], "got complex128"),
        ([None], "got object"),
        (np.array(["2020-01-01"], "M8[D]"), r"got datetime64\[D\]"),
    ],
    ids=repr,
)
def test_pixels_out_of_range_are_refused(images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_uint8(images)


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool", "uint16", "object"])
def test_only_bytes_become_floats(dtype: str) -> None:
    with pytest.raises(ValueError, match=f"must be uint8, got {dtype}"):
        to_float32(np.zeros((2, 2), dtype))


# Resizing


def exact_mean(picture: np.ndarray, height: int, width: int, y: int, x: int) -> Fraction:
    """Average what lies under one new pixel, in fractions of the old ones."""
    h, w = picture.shape

    def shares(k: int, new: int, old: int) -> list[Fraction]:
        start, stop = Fraction(k * old, new), Fraction((k + 1) * old, new)
        return [max(Fraction(0), min(stop, i + 1) - max(start, Fraction(i))) for i in range(old)]

    rows, columns = shares(y, height, h), shares(x, width, w)
    total = sum(
        rows[i] * columns[j] * int(picture[i, j])
        for i in range(h)
        for j in range(w)
        if rows[i] and columns[j]
    )
    return total / (sum(rows) * sum(columns))


@given(pictures, sides, sides)
def test_area_averages_are_exact(picture: np.ndarray, height: int, width: int) -> None:
    found = resize_area(picture, height, width)
    expected = [
        [
            math.floor(exact_mean(picture, height, width, y, x) + Fraction(1, 2))
            for x in range(width)
        ]
        for y in range(height)
    ]
    assert found.dtype == np.uint8
    assert found.tolist() == expected


@given(stacks, sides, sides)
def test_stacks_are_resized_one_by_one(images: np.ndarray, height: int, width: int) -> None:
    found = resize_area(images, height, width)
    assert found.shape == (*images.shape[:-2], height, width)
    for k in np.ndindex(images.shape[:-2]):
        assert np.array_equal(found[k], resize_area(images[k], height, width))
    turned = resize_area(np.swapaxes(images, -1, -2), width, height)  # not contiguous
    assert np.array_equal(turned, np.swapaxes(found, -1, -2))


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 5), st.integers(1, 5), st.randoms())
def test_downscaling_by_whole_factors_is_pillows_within_one(
    height: int, width: int, tall: int, wide: int, random: Random
) -> None:
    picture = np.frombuffer(random.randbytes(height * tall * width * wide), np.uint8)
    picture = picture.reshape(height * tall, width * wide)
    pillow = Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
    ours = resize_area(picture, height, width).astype(int)
    assert np.abs(ours - np.asarray(pillow)).max() <= 1


def test_a_large_picture_does_not_overflow() -> None:
    white = np.full((1500, 1400), 255, np.uint8)
    assert (resize_area(white, 1499, 1399) == 255).all()
    assert (resize_area(white[:1], 3000, 1) == 255).all()


@pytest.mark.parametrize("size", [(0, 3), (3, 0), (-1, 3), (2.0, 3), (True, 3), ("3", 3)])
def test_bad_sizes_are_refused(size: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError, match="(height|width) must be"):
        resize_area(np.zeros((4, 4), np.uint8), *size)


@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (5, 0), (2, 3, 0)])
def test_what_is_no_picture_is_refused_everywhere(shape: tuple[int, ...]) -> None:
    for work in (ink_bounds, white_on_black, lambda images: resize_area(images, 2, 2)):
        with pytest.raises(ValueError, match=r"shape \(..., h, w\), not empty, got"):
            work(np.zeros(shape, np.uint8))
        with pytest.raises(ValueError, match="must be uint8, got float64"):
            work(np.zeros(shape))


# Polarity and ink


def light_by_hand(picture: np.ndarray) -> bool:
    """Count the border pixels that are above the middle of what occurs."""
    h, w = picture.shape
    border = [
        int(picture[y, x]) for y in range(h) for x in range(w) if y in (0, h - 1) or x in (0, w - 1)
    ]
    low, high = int(picture.min()), int(picture.max())
    middle = Fraction(low + high, 2) if low < high else Fraction(255, 2)
    return 2 * sum(value > middle for value in border) > len(border)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(2, 8), st.integers(2, 8))))
def test_the_border_decides_which_way_round_a_picture_is(picture: np.ndarray) -> None:
    assert bool(_light_border(picture)) == light_by_hand(picture)
    turned = white_on_black(picture)
    expected = 255 - picture if light_by_hand(picture) else picture
    assert turned.dtype == np.uint8
    assert np.array_equal(turned, expected)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=5)))
def test_every_picture_of_a_stack_is_judged_alone(images: np.ndarray) -> None:
    found = white_on_black(images)
    for k in np.ndindex(images.shape[:-2]):
        assert np.array_equal(found[k], white_on_black(images[k]))
    assert np.array_equal(white_on_black(images, invert=True), 255 - images)
    assert np.array_equal(white_on_black(images, invert=np.bool_(False)), images)


def test_digits_come_out_the_same_from_black_and_from_white_paper() -> None:
    rng = np.random.default_rng(3)
    images = np.zeros((50, 28, 28), np.uint8)
    images[:, 6:22, 8:20] = rng.integers(0, 256, (50, 16, 12))
    assert np.array_equal(white_on_black(images), images)
    assert np.array_equal(white_on_black(255 - images), images)


@pytest.mark.parametrize("invert", [1, 0, "yes", [True], np.array([True, False])])
def test_invert_is_yes_no_or_unknown(invert: Any) -> None:
    with pytest.raises(ValueError, match="invert must be True, False or None"):
        white_on_black(np.zeros((2, 4, 4), np.uint8), invert=invert)


@given(stacks.map(lambda images: images * (images > 200)))
def test_ink_bounds_are_tight(images: np.ndarray) -> None:
    found = ink_bounds(images)
    assert (found.dtype, found.shape) == (np.int32, (*images.shape[:-2], 4))
    for k in np.ndindex(images.shape[:-2]):
        ys, xs = np.nonzero(images[k])
        box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [0, 0, 0, 0]
        assert found[k].tolist() == box


# Glyphs


def with_ink(picture: np.ndarray) -> bool:
    return bool((picture > 127).any())


@given(
    hnp.arrays(np.uint8, st.tuples(sides, sides)).filter(with_ink),
    st.integers(1, 20),
    st.integers(1, 20),
    st.data(),
)
def test_glyphs_are_scaled_and_centred(
    picture: np.ndarray, height: int, width: int, data: st.DataObject
) -> None:
    box = data.draw(st.integers(1, min(height, width)))
    x0, y0, x1, y1 = ink_bounds(picture).tolist()
    longer = max(x1 - x0, y1 - y0)
    scale = Fraction(box, longer)
    tall, wide = (max(1, math.floor(side * scale + Fraction(1, 2))) for side in (y1 - y0, x1 - x0))
    ink = resize_area(picture[y0:y1, x0:x1], tall, wide)
    assume(ink.any())
    cell = normalize([picture], height, width, box)[0]
    assert max(tall, wide) == box
    expected = np.zeros((height, width), np.uint8)
    starts = []
    for axis, size, taken in ((1, height, tall), (0, width, wide)):
        masses = [int(mass) for mass in ink.sum(axis=axis, dtype=np.int64)]
        centre = sum(mass * (Fraction(k) + Fraction(1, 2)) for k, mass in enumerate(masses))
        pixel = math.floor(centre / sum(masses))  # which one the centre of mass lies in
        starts.append(min(max(size // 2 - pixel, 0), size - taken))
    expected[starts[0] : starts[0] + tall, starts[1] : starts[1] + wide] = ink
    assert np.array_equal(cell, expected)


def test_the_centre_of_mass_is_in_the_middle_pixel() -> None:
    rng = np.random.default_rng(8)
    images = np.zeros((40, 60, 50), np.uint8)
    for image in images:
        y, x, h, w = *rng.integers(0, 15, 2), *rng.integers(5, 30, 2)
        image[y : y + h, x : x + w] = rng.integers(1, 256, (h, w))
    cells = normalize(images).astype(float)
    places = np.arange(28) + 0.5
    for axis in (1, 2):
        masses = cells.sum(axis=3 - axis)
        centres = (masses * places).sum(axis=1) / masses.sum(axis=1)
        assert (np.floor(centres) == 14).all()
    boxes = ink_bounds(cells.astype(np.uint8))
    longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    assert (longer == 20).all()


def test_place_and_surroundings_of_the_ink_do_not_matter() -> None:
    ink = np.random.default_rng(4).integers(1, 256, (9, 6)).astype(np.uint8)
    pages = [np.zeros((20 + k, 30), np.uint8) for k in range(8)]
    for k, page in enumerate(pages):
        page[k : k + 9, 2 * k : 2 * k + 6] = ink
    cells = normalize([*pages, ink])
    assert cells.shape == (9, 28, 28)
    assert (cells == cells[0]).all()
    assert cells[0].any()


def test_nothing_to_normalize_is_nothing() -> None:
    assert normalize([], 9, 7, 5).shape == (0, 9, 7)
    assert normalize([], 9, 7, 5).dtype == np.uint8


ONE_DOT = np.zeros((300, 300), np.uint8)
ONE_DOT[0, 0] = ONE_DOT[-1, -1] = 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 4), np.uint8), "position 1: the image is blank: leave it out"),
        (ONE_DOT, "position 1: the ink vanishes at 20 pixels: thicken"),
        (np.ones((2, 4, 4), np.uint8), r"position 1: each image must have shape \(h, w\)"),
        (np.ones((4, 4)), "position 1: images must be uint8, got float64"),
        (np.ones(4, np.uint8), r"position 1: images must have shape"),
        (np.ones((0, 4), np.uint8), "position 1: .*not empty"),
        ("seven", "position 1: images must be uint8, got <U5"),
    ],
    ids=["blank", "faint", "stack", "floats", "flat", "empty", "text"],
)
def test_the_bad_picture_is_named(bad: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalize([np.ones((5, 3), np.uint8), bad])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 28, 20), "height must be at least 1, got 0"),
        ((28, -2, 20), "width must be at least 1, got -2"),
        ((28, 28, 0), "box must be at least 1, got 0"),
        ((28, 16, 20), "box must be at most 16, got 20"),
        ((28, 28, 20.0), "box must be an integer"),
        ((28, True, 20), "width must be an integer, got True"),
    ],
)
def test_sizes_are_checked_before_anything_else(sizes: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalize([np.zeros((4, 4), np.uint8)], *sizes)
