"""compose, beyond its notebook: a plain oracle, guarded memory, threads, bad input."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitseq import composing
from digitseq.composing import (
    compose,
    compose_masks,
    compose_plainly,
    compose_unchecked,
    ink_boxes,
    paste_row,
    resize_glyph,
)
from digitseq.normalizing import resize_area

ROOT = Path(__file__).resolve().parents[1]
GUARD = 0xA5


# The oracle


def overlaps(old: int, new: int) -> np.ndarray:
    """Tell how much of each old pixel lies under each new one, in 1/new of a pixel."""
    low, high = np.arange(old) * new, (np.arange(old) + 1) * new
    start, stop = np.arange(new)[:, None] * old, (np.arange(new)[:, None] + 1) * old
    return np.clip(np.minimum(stop, high) - np.maximum(start, low), 0, None)


def resized(glyph: np.ndarray, height: int, width: int) -> np.ndarray:
    """Average areas in whole numbers, and round half up."""
    h, w = glyph.shape
    sums = overlaps(h, height) @ glyph.astype(np.int64) @ overlaps(w, width).T
    return ((2 * sums + h * w) // (2 * h * w)).astype(np.uint8)


def plain_layer(glyph: np.ndarray, left: int, top: int, shape: tuple[int, int]) -> np.ndarray:
    """Put one glyph onto black."""
    layer = np.zeros(shape, np.uint8)
    y, x = np.indices(glyph.shape) + np.reshape([top, left], (2, 1, 1))
    seen = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    layer[y[seen], x[seen]] = glyph[seen]
    return layer


@dataclass
class Case:
    """A batch to be composed, any of its digits anywhere."""

    images: np.ndarray
    positions: np.ndarray
    left: np.ndarray
    top: np.ndarray | None
    sizes: np.ndarray | None
    height: int
    width: int
    dtype: str = "uint8"
    ink: str = "white"
    given: bool = False
    layers: list[list[np.ndarray]] = field(init=False)

    def __post_init__(self) -> None:
        rows = range(len(self.positions))
        self.layers = [[self.layer(n, j) for j in range(self.positions.shape[1])] for n in rows]

    def layer(self, n: int, j: int) -> np.ndarray:
        shape = (self.height, self.width)
        if self.positions[n, j] < 0:
            return np.zeros(shape, np.uint8)
        glyph = self.images[self.positions[n, j]]
        if self.sizes is not None:
            glyph = resized(glyph, *self.sizes[n, j].tolist())
        top = (self.height - len(glyph)) // 2 if self.top is None else int(self.top[n, j])
        return plain_layer(glyph, int(self.left[n, j]), top, shape)

    def expected(self) -> np.ndarray:
        black = np.zeros((self.height, self.width), np.uint8)
        images = np.array([np.max([black, *layers], axis=0) for layers in self.layers], np.uint8)
        images = images.reshape(-1, self.height, self.width)
        images = 255 - images if self.ink == "black" else images
        return images / np.float32(255) if self.dtype == "float32" else images

    def arguments(self) -> dict[str, Any]:
        names = ("images", "positions", "left", "top", "sizes", "height", "width", "dtype", "ink")
        return {name: getattr(self, name) for name in names}


SIDES = st.one_of(st.integers(1, 40), st.sampled_from([15, 16, 17, 28, 31, 32, 33, 48, 49, 64, 70]))
FAR = st.sampled_from([2**39, -(2**39), 2**40, -(2**40), 2**31, -(2**31) - 1, 2**16])


@st.composite
def cases(draw: st.DrawFn, overlapping: bool = False) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    h, w = draw(st.one_of(st.just((28, 28)), st.tuples(st.integers(1, 40), SIDES)))
    images = rng.integers(0, 256, (draw(st.integers(1, 3)), h, w)).astype(np.uint8)
    images[:, :, :] *= rng.random((h, w)) < 0.8  # some paper between the ink
    images = np.where(rng.random(images.shape) < 0.2, 200, images).astype(np.uint8)  # some ties
    height, width = draw(st.integers(1, 45)), draw(st.integers(1, 90))
    shape = (draw(st.integers(0 + overlapping, 3)), draw(st.integers(0 + overlapping, 5)))

    def edges(size: int, side: int) -> np.ndarray:
        near = rng.integers(-side - 2, size + 3, shape)
        if draw(st.booleans()) and near.size:
            near.flat[rng.integers(near.size)] = draw(FAR)
        return near

    sizes = None
    if draw(st.booleans()):
        sizes = rng.integers(1, draw(st.sampled_from([3, 20, 60])), (*shape, 2))
    return Case(
        images,
        rng.integers(-1, len(images), shape),
        edges(width, w),
        draw(st.sampled_from([None, edges(height, h)])),
        sizes,
        height,
        width,
        draw(st.sampled_from(["uint8", "float32"])),
        draw(st.sampled_from(["white", "black"])),
        draw(st.booleans()),
    )


def guarded(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Make a canvas inside of a larger array; both are full of a value that must be overwritten."""
    shape = (len(case.positions), case.height, case.width)
    size, step = int(np.prod(shape)), np.dtype(case.dtype).itemsize
    memory = np.full((size + 128) * step, GUARD, np.uint8)
    inner = memory[64 * step : (64 + size) * step].view(case.dtype).reshape(shape)
    return memory, inner


@settings(max_examples=200)
@given(cases())
def test_composing_is_what_the_oracle_says(case: Case) -> None:
    memory, canvas = guarded(case)
    surrounded = np.full(case.images.size + 128, 255, np.uint8)  # what is read besides would show
    surrounded[64:-64] = case.images.ravel()
    wanted = case.arguments() | {"images": surrounded[64:-64].reshape(case.images.shape)}
    before = {name: np.copy(value) for name, value in wanted.items() if value is not None}
    found = compose(**wanted, out=canvas if case.given else None)
    expected = case.expected()
    assert found is canvas or not case.given
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.dtype == case.dtype
    assert np.array_equal(found, expected)
    step = canvas.itemsize
    assert (memory[: 64 * step] == GUARD).all()
    assert (memory[len(memory) - 64 * step :] == GUARD).all()
    assert (surrounded[:64] == 255).all() and (surrounded[-64:] == 255).all()
    assert all(np.array_equal(wanted[name], value) for name, value in before.items())


@settings(max_examples=200)
@given(cases())
def test_composing_is_what_the_notebook_says_it_means(case: Case) -> None:
    meant, found = compose_plainly(**case.arguments()), compose(**case.arguments())
    assert meant.dtype == found.dtype
    assert np.array_equal(meant, found)


@given(cases(overlapping=True))
def test_masks_name_the_brightest_and_of_equals_the_first(case: Case) -> None:
    shape = case.positions.shape
    top = case.top
    if top is None:
        tall = case.images.shape[1] if case.sizes is None else case.sizes[:, :, 0]
        top = np.broadcast_to((case.height - tall) // 2, shape)
    canvas = (case.height, case.width)
    masks = compose_masks(case.images, case.positions, case.left, top, case.sizes, *canvas)
    layers = np.array(case.layers)
    expected = np.where(layers.max(axis=1) > 0, layers.argmax(axis=1) + 1, 0)
    assert masks.dtype == np.uint8
    assert np.array_equal(masks, expected)


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 9), SIDES, SIDES)
def test_resizing_is_exact_and_the_same_everywhere(
    seed: int, h: int, w: int, height: int, width: int
) -> None:
    glyph = np.random.default_rng(seed).integers(0, 256, (h, w)).astype(np.uint8)
    out = np.full(height * width + 5, GUARD, np.uint8)
    resize_glyph(
        np.concatenate([[9, 9], glyph.ravel()]).astype(np.uint8), 2, h, w, out, height, width
    )
    assert out[height * width :].tolist() == [GUARD] * 5
    found = out[: height * width].reshape(height, width)
    assert np.array_equal(found, resized(glyph, height, width))
    assert np.array_equal(found, resize_area(glyph, height, width))
    y, x = seed % height, seed % width
    rows = [
        max(
            Fraction(0), min(Fraction((y + 1) * h, height), i + 1) - max(Fraction(y * h, height), i)
        )
        for i in range(h)
    ]
    columns = [
        max(Fraction(0), min(Fraction((x + 1) * w, width), j + 1) - max(Fraction(x * w, width), j))
        for j in range(w)
    ]
    total = sum(rows[i] * columns[j] * int(glyph[i, j]) for i in range(h) for j in range(w))
    mean = total * Fraction(height * width, h * w)
    assert found[y, x] == int(mean + Fraction(1, 2))


@pytest.mark.parametrize("n", range(101))
def test_a_row_of_any_length_is_joined_and_nothing_beside_it(n: int) -> None:
    rng = np.random.default_rng(n)
    canvas, glyph = rng.integers(0, 256, (2, n + 40)).astype(np.uint8)
    expected = canvas.copy()
    expected[13 : 13 + n] = np.maximum(canvas[13 : 13 + n], glyph[7 : 7 + n])
    paste_row(canvas, 13, glyph, 7, n)
    assert np.array_equal(canvas, expected)


# Memory


GUARDED = """
import ctypes, mmap, sys
import numpy as np
from digitseq.composing import compose_resized, compose_unchecked, ink_boxes

PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
kept = []

def fenced(values, at_end, dtype):
    # An array whose first or last byte touches a page that nobody may read or write.
    size = values.size * np.dtype(dtype).itemsize
    pages = -(-max(size, 1) // PAGE)
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    kept.append(memory)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for fence in (address, address + (pages + 1) * PAGE):
        if libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(PAGE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    start = (pages + 1) * PAGE - size if at_end else PAGE
    array = np.frombuffer(memory, dtype, values.size, start).reshape(values.shape)
    array[...] = values
    return array

if sys.argv[1] == "trespass":
    row = fenced(np.zeros(16, np.uint8), True, np.uint8)
    print("fenced", flush=True)
    beyond = np.lib.stride_tricks.as_strided(row, (17,))
    beyond[16] = 1
    print("not reached")
    sys.exit()

rng = np.random.default_rng(0)
checked = 0
for w in (1, 5, 15, 16, 17, 28, 31, 32, 33, 47, 48, 49, 64, 65):
    for at_end in (False, True):
        h, height, width = 3, 4, int(rng.choice([w, w + 1, max(1, w - 1), 16, 40]))
        glyphs = rng.integers(1, 256, (2, h, w)).astype(np.uint8)
        left = np.array([[0, width - w], [-w + 1, width - 1], [-1, 1], [width - 16, 16 - w]])
        top = np.array([[0, height - h], [1 - h, height - 1], [0, 1], [-1, 2]])
        positions = np.array([[0, 1], [1, 0], [1, 1], [0, 1]])
        expected = np.zeros((4, height, width), np.uint8)
        for n, j in np.ndindex(4, 2):
            for y, x in np.ndindex(h, w):
                to = top[n, j] + y, left[n, j] + x
                if 0 <= to[0] < height and 0 <= to[1] < width:
                    value = glyphs[positions[n, j], y, x]
                    expected[n][to] = max(expected[n][to], value)
        images = fenced(glyphs, at_end, np.uint8)
        sizes = np.full((4, 2, 2), (h, w), np.int32)
        for dtype in (np.uint8, np.float32):
            for given in (None, sizes):
                out = fenced(np.ones(expected.shape), at_end, dtype)
                scratch = fenced(np.zeros(h * w), at_end, np.uint8)
                places = [fenced(a, at_end, a.dtype) for a in (positions, left, top)]
                if given is not None and dtype == np.uint8:
                    compose_resized(images, *places, given, scratch, out)
                else:
                    compose_unchecked(images, *places, given, False, out)
                wanted = expected if dtype == np.uint8 else expected / np.float32(255)
                assert np.array_equal(out, wanted), (w, width, at_end, dtype)
                checked += 1
        assert (ink_boxes(images) == [0, 0, w, h]).all()
print("checked", checked)
"""
FENCES = hasattr(ctypes.CDLL(None), "mprotect") if os.name == "posix" else False


def run_script(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.skipif(not FENCES, reason="pages can't be protected here: there is no mprotect")
def test_no_byte_outside_of_the_arrays_is_touched() -> None:
    trespasser = run_script(GUARDED, "trespass")  # the fence is one
    assert trespasser.stdout == "fenced\n"
    assert -trespasser.returncode in (signal.SIGSEGV, signal.SIGBUS)
    done = run_script(GUARDED, "compose")
    assert done.returncode == 0, done.stderr or f"killed by signal {-done.returncode}"
    assert done.stdout == f"checked {14 * 2 * 4}\n"


def test_threads_on_neighbouring_slices_leave_each_other_alone() -> None:
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (9, 28, 28)).astype(np.uint8)
    positions = rng.integers(0, 9, (64, 6))
    left, top = rng.integers(-20, 90, (64, 6)), rng.integers(-9, 9, (64, 6))
    for dtype in (np.uint8, np.float32):
        alone = np.empty((64, 29, 93), dtype)
        compose_unchecked(images, positions, left, top, None, True, alone)
        for cut in (1, 31, 32, 63):
            together, gate = np.empty_like(alone), Barrier(2)

            def share(part: slice) -> None:
                gate.wait()  # noqa: B023
                places = [array[part] for array in (positions, left, top)]
                compose_unchecked(images, *places, None, True, together[part])  # noqa: B023

            with ThreadPoolExecutor(2) as pool:
                list(pool.map(share, (slice(0, cut), slice(cut, 64))))
            assert np.array_equal(together, alone)


def test_frozen_scattered_and_small_inputs_give_the_same() -> None:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (4, 20, 24)).astype(np.uint8)
    positions, left = rng.integers(-1, 4, (6, 3)), rng.integers(-9, 60, (6, 3))
    top, sizes = rng.integers(-9, 20, (6, 3)), rng.integers(1, 40, (6, 3, 2))
    expected = compose(images, positions, left, top, sizes, width=70)
    frozen = [array.copy() for array in (images, positions, left, top, sizes)]
    for array in frozen:
        array.flags.writeable = False
    assert np.array_equal(compose(*frozen, width=70), expected)
    scattered = [np.repeat(array, 2, axis=1)[:, ::2] for array in (positions, left, top, sizes)]
    turned = np.asfortranarray(images)
    assert np.array_equal(compose(turned, *scattered, width=70), expected)
    small = [
        array.astype(dtype)
        for array, dtype in zip(
            (positions, left, top, sizes), ("i1", ">i2", "i4", "u2"), strict=True
        )
    ]
    assert np.array_equal(compose(images, *small, width=70), expected)
    lists = [array.tolist() for array in (positions, left, top, sizes)]
    assert np.array_equal(compose(images, *lists, width=70), expected)


# Frames of ink


@given(
    st.integers(0, 2**32),
    st.integers(1, 20),
    SIDES,
    st.one_of(st.none(), st.tuples(st.integers(1, 30), st.integers(1, 30))),
)
def test_ink_boxes_are_tight(seed: int, h: int, w: int, size: tuple[int, int] | None) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (4, h, w)) * (rng.random((4, h, w)) < rng.random() ** 4)
    images[3] = 0
    found = ink_boxes(images.astype(np.uint8), size)
    assert (found.dtype, found.shape) == (np.int32, (4, 4))
    for box, image in zip(found.tolist(), images.astype(np.uint8), strict=True):
        ys, xs = np.nonzero(image if size is None else resized(image, *size))
        tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [0, 0, 0, 0]
        assert box == tight


# Bad input


GLYPHS = np.full((2, 4, 3), 200, np.uint8)
READ_ONLY = np.zeros((1, 28, 160), np.uint8)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"images": GLYPHS / 255}, r"images must be uint8 \(n, h, w\), got float64 \(2, 4, 3\)"),
        ({"images": GLYPHS.astype(int)}, r"images must be uint8 \(n, h, w\), got int64"),
        ({"images": GLYPHS[0]}, r"images must be uint8 \(n, h, w\), got uint8 \(4, 3\)"),
        ({"images": GLYPHS[:0]}, "positions must be -1 to -1, got 0 in image 0, digit 0"),
        ({"positions": [[0, 2]]}, "positions must be -1 to 1, got 2 in image 0, digit 1"),
        ({"positions": [[-2, 0]]}, "positions must be -1 to 1, got -2 in image 0, digit 0"),
        ({"positions": np.array([[0, 2**63]], np.uint64)}, "got 9223372036854775808"),
        ({"positions": [0, 1]}, r"integers \(N, L\), got int64 \(2,\)"),
        ({"positions": [[0.0, 1.0]]}, "got float64"),
        ({"positions": [[True, False]]}, "got bool"),
        ({"positions": [["0", "1"]]}, "got <U1"),
        ({"left": [[0, 1, 2]]}, r"left must be integers \(1, 2\), got int64 \(1, 3\)"),
        ({"left": [[0.0, 1.0]]}, "left must be integers .*got float64"),
        ({"left": [[0, 2**40 + 1]]}, r"left must be within 2\*\*40 pixels, got 0 to 1099511627777"),
        ({"left": [[-(2**63), 0]]}, "left must be within .*got -9223372036854775808"),
        (
            {"left": np.array([[0, 2**64 - 1]], np.uint64)},
            "left must be within .*18446744073709551615",
        ),
        ({"top": [0, 0]}, r"top must be integers \(1, 2\), got int64 \(2,\)"),
        ({"top": [[0, -(2**40) - 1]]}, r"top must be within 2\*\*40 pixels, got -1099511627777"),
        ({"sizes": [[4, 3]]}, r"sizes must be integers \(1, 2, 2\), got int64 \(1, 2\)"),
        ({"sizes": [[[4.0, 3], [4, 3]]]}, "sizes must be integers .*got float64"),
        ({"sizes": [[[4, 3], [4, 0]]]}, "sizes must be 1 to 4096 pixels, got 0 to 4"),
        ({"sizes": [[[4, 3], [-1, 3]]]}, "sizes must be 1 to 4096 pixels, got -1 to 4"),
        ({"sizes": [[[4, 3], [4097, 3]]]}, "sizes must be 1 to 4096 pixels, got 3 to 4097"),
        ({"height": 0}, "height must be at least 1, got 0"),
        ({"height": "28"}, "height must be an integer, got '28'"),
        ({"height": 28.0}, "height must be an integer, got 28.0"),
        ({"width": True}, "width must be an integer, got True"),
        ({"width": -3}, "width must be at least 1, got -3"),
        ({"dtype": "float64"}, 'dtype must be "uint8" or "float32", got \'float64\''),
        ({"dtype": np.uint8}, "dtype must be"),
        ({"ink": "blue"}, 'ink must be "white" or "black", got \'blue\''),
        ({"ink": None}, "ink must be"),
        ({"out": np.zeros((1, 28, 100), np.uint8)}, r"out must be uint8 \(1, 28, 160\), got uint8"),
        ({"out": np.zeros((1, 28, 160), np.float32)}, "out must be uint8 .*got float32"),
        (
            {"out": np.zeros((1, 28, 160), ">f4"), "dtype": "float32"},
            "out must be float32 .*got >f4",
        ),
        ({"out": [[0]]}, "out must be uint8 .*got list"),
        ({"out": np.zeros((1, 28, 320), np.uint8)[:, :, ::2]}, "contiguous and writable"),
        ({"out": np.zeros((1, 160, 28), np.uint8).swapaxes(1, 2)}, "contiguous and writable"),
        ({"out": READ_ONLY}, "contiguous and writable"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, str) else None,
)
def test_bad_input_is_refused_before_anything_is_written(
    wrong: dict[str, Any], message: str
) -> None:
    fine = {"images": GLYPHS, "positions": [[0, 1]], "left": [[0, 3]]}
    out = wrong.get("out", np.full((1, 28, 160), GUARD, np.uint8))
    before = np.copy(out)
    with pytest.raises(ValueError, match=message):
        compose(**{**fine, "out": out, **wrong})
    assert np.array_equal(out, before)


def test_a_size_that_nobody_uses_may_be_anything() -> None:
    sizes = [[[4, 3], [0, 0], [-5, 9999]]]
    found = compose(GLYPHS, [[0, -1, -1]], [[1, 0, 0]], None, sizes, height=6, width=5)
    assert np.array_equal(found, compose(GLYPHS, [[0]], [[1]], height=6, width=5))


@pytest.mark.parametrize(
    ("images", "size", "message"),
    [
        (GLYPHS / 255, None, r"images must be uint8 \(n, h, w\), got float64"),
        (GLYPHS[0], None, r"got uint8 \(4, 3\)"),
        (GLYPHS, (0, 3), "height must be at least 1, got 0"),
        (GLYPHS, (3, 2.0), "width must be an integer, got 2.0"),
        (GLYPHS, (3, 5000), "width must be at most 4096, got 5000"),
    ],
)
def test_ink_boxes_refuse_what_is_no_picture(images: Any, size: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ink_boxes(images, size)


def test_masks_of_too_many_digits_are_refused() -> None:
    places = np.zeros((1, 256), np.int64)
    masks = compose_masks(GLYPHS, places[:, :255], places[:, :255], places[:, :255], None, 4, 3)
    assert (masks == 1).all()
    with pytest.raises(ValueError, match="255 digits apart, got 256"):
        compose_masks(GLYPHS, places, places, places, None, 4, 3)


# Without numba


WITHOUT_NUMBA = """
import hashlib, json, sys
if sys.argv[1] == "hide":
    sys.modules["numba"] = None
import numpy as np
from digitseq import composing

assert hasattr(composing.paste, "py_func") == (sys.argv[1] == "show")
rng, found = np.random.default_rng(7), []
for w in (1, 3, 15, 16, 17, 28, 32, 33):
    images = rng.integers(0, 256, (3, 9, w)).astype(np.uint8) * (rng.random((3, 9, w)) < 0.6)
    images = images.astype(np.uint8)
    positions, left = rng.integers(-1, 3, (3, 4)), rng.integers(-w, 40, (3, 4))
    top, sizes = rng.integers(-9, 12, (3, 4)), rng.integers(1, 30, (3, 4, 2))
    for chosen in (None, sizes):
        for dtype in ("uint8", "float32"):
            for ink in ("white", "black"):
                call = (images, positions, left, top, chosen, 12, 38)
                made = composing.compose(*call, dtype=dtype, ink=ink)
                found.append([str(made.dtype), made.shape, hashlib.sha256(made).hexdigest()])
        found.append(composing.compose_masks(*call).tolist())
    found += [composing.ink_boxes(images, size).tolist() for size in (None, (5, 7), (20, 40))]
print(json.dumps(found))
"""


def test_without_numba_everything_is_the_same() -> None:
    shown, hidden = (run_script(WITHOUT_NUMBA, mode) for mode in ("show", "hide"))
    assert shown.returncode == 0, shown.stderr
    assert hidden.returncode == 0, hidden.stderr
    assert len(json.loads(shown.stdout)) == 8 * (2 * 5 + 3)
    assert shown.stdout == hidden.stdout


def test_the_vector_instruction_is_what_is_tested() -> None:
    assert composing._join is not composing._plain_join
