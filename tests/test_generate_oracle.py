"""Any sample once more, from the design alone: the same to the last pixel.

Nothing of the package helps here. Random words come from NumPy's Philox, chances are fractions,
gap vectors are counted by recursion, glyphs are shrunk in integers and pasted with np.maximum.
"""

import functools
import hashlib
import itertools
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from digitseq.core import Glyphs
from digitseq.generating import DigitSequences
from digitseq.specifying import SequenceSpec

WORDS = 2**64


@dataclass(frozen=True)
class Words:
    """The random words of one sample: in each stream, value v is word v % 4 of draw v // 4."""

    seed: int
    split: str
    index: int

    twist: int = 0  # joined to the stream's key by exclusive or

    def block(self, stream: str, draw: int) -> list[int]:
        digest = hashlib.sha256(f"{self.split}/{stream}".encode()).digest()
        name = int.from_bytes(digest[:8], "little") ^ self.twist
        key, counter = [self.seed, name], [draw, self.index, 0, 0]
        philox = np.random.Philox(
            key=np.array(key, np.uint64), counter=np.array(counter, np.uint64)
        )
        return philox.random_raw(4).tolist()

    def word(self, stream: str, value: int) -> int:
        return self.block(stream, value // 4)[value % 4]

    def below(self, limit: int, stream: str, value: int = 0) -> int:
        """Lemire: the high half of word x limit, unless the low half is one of those too many."""
        word, attempt = self.word(stream, value), 1
        while word * limit % WORDS < WORDS % limit:
            word, attempt = self.block(stream, (attempt << 32) + value)[0], attempt + 1
        return word * limit // WORDS

    def weighted(self, weights: list[Any], stream: str, value: int) -> int:
        """The first whose share, added up from the left, reaches (word + 1) / 2**64."""
        word, exact, reached = self.word(stream, value), [Fraction(w) for w in weights], 0
        for k, weight in enumerate(exact):
            reached += weight
            if reached * WORDS >= (word + 1) * sum(exact):
                return k
        raise AssertionError("shares add up to 1")


def shuffled(words: Words, number: int, size: int) -> int:
    """Eight Feistel rounds over base x base numbers, walked until one is below the size."""
    base = math.isqrt(size - 1) + 1
    while True:
        left, right = divmod(number, base)
        for turn in range(8):
            word = replace(words, index=right).block("unique", turn)[0]
            left, right = right, (left + word * base // WORDS) % base
        number = left * base + right
        if number < size:
            return number


def unique_text(words: Words, shortest: int, longest: int) -> list[int]:
    """Deal the samples out: each round gives one text to every length that has unused ones."""
    row, left, lengths = 0, words.index, list(range(shortest, longest + 1))
    while True:  # until the shortest length that is left has no unused text
        rounds = 10 ** min(18, lengths[0]) - row
        if left < rounds * len(lengths):
            break
        row, left, lengths = row + rounds, left - rounds * len(lengths), lengths[1:]
    row, turn = row + left // len(lengths), left % len(lengths)
    length = lengths[shuffled(replace(words, twist=row), turn, len(lengths))]
    told = min(18, length)
    number = shuffled(replace(words, twist=length << 40), row, 10**told)
    more = [words.below(10, "unique", 4 * (8 + j)) for j in range(told, length)]
    return [int(letter) for letter in f"{number:0{told}d}"] + more


@functools.cache
def ways(gaps: int, span: int, budget: int, exactly: bool) -> int:
    """Count vectors of gaps of 0 to span whose sum is at most, or exactly, the budget."""
    if budget < 0:
        return 0
    if gaps == 0:
        return int(budget == 0 or not exactly)
    return sum(ways(gaps - 1, span, budget - gap, exactly) for gap in range(span + 1))


def draw_gaps(words: Words, count: int, low: int, high: int, slack: int, fill: str) -> list[int]:
    """Draw gap after gap with exact chances; a sum out of reach becomes the nearest."""
    if fill == "equal":
        return [max(low, min(high, slack // count)) for _ in range(count)]
    span, exactly, gaps = high - low, fill == "justify", []
    budget = max(0, min(slack - count * low, count * span))
    for j in range(count):
        chances = [ways(count - j - 1, span, budget - gap, exactly) for gap in range(span + 1)]
        possible = [gap for gap, chance in enumerate(chances) if chance]
        if len({chances[gap] for gap in possible}) == 1:
            gap = possible[words.below(len(possible), "spacing", j)]
        else:
            gap = words.weighted(chances, "spacing", j)
        gaps.append(low + gap)
        budget -= gap
    return gaps


def shares(size: int, smaller: int) -> np.ndarray:
    """How much of each old pixel lies under each new one, in units that make both integers."""
    new, old = np.arange(smaller)[:, None], np.arange(size)
    covered = np.minimum((new + 1) * size, (old + 1) * smaller)
    return np.maximum(covered - np.maximum(new * size, old * smaller), 0)


def shrink(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Average over areas, half rounded up."""
    h, w = image.shape
    total = shares(h, height) @ image.astype(np.int64) @ shares(w, width).T
    return ((2 * total + h * w) // (2 * h * w)).astype(np.uint8)


def ink_of(image: np.ndarray) -> tuple[int, int, int, int]:
    """The tight frame x0 y0 x1 y1 of what is not 0; zeros for a blank glyph."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if len(rows) == 0:
        return (0, 0, 0, 0)
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def clipped(x: int, y: int, frame: tuple[int, ...], width: int, height: int) -> list[int]:
    """Move a frame and cut it off at the canvas; nothing left is zeros."""
    x0, x1 = (min(max(x + edge, 0), width) for edge in frame[::2])
    y0, y1 = (min(max(y + edge, 0), height) for edge in frame[1::2])
    return [x0, y0, x1, y1] if x0 < x1 and y0 < y1 else [0, 0, 0, 0]


class Oracle:
    """A glyph set and a spec, understood without the package."""

    def __init__(self, glyphs: Glyphs, spec: SequenceSpec) -> None:
        self.glyphs, self.spec = glyphs, spec
        self.fill, self.measure = spec.fill or "free", spec.measure or "cell"
        self.low, self.high = spec.spacing or (0, 10)
        lengths = [len(text) for text in spec.texts or ()] or spec.length
        lengths = [lengths] if isinstance(lengths, int) else lengths
        self.shortest, self.longest = min(lengths), max(lengths)
        self.h, self.w = glyphs.images.shape[1:]
        natural = self.longest * self.w + (self.longest - 1) * self.high
        self.width = spec.width or max(self.w, natural)
        allowed = [d for d in range(10) if spec.digits is None or spec.digits[d] > 0]
        if spec.texts is not None:
            allowed = sorted({int(letter) for text in spec.texts for letter in text})
        self.allowed = np.flatnonzero(np.isin(glyphs.labels, allowed))
        self.sized: dict[tuple[int, int], list[np.ndarray]] = {}

    # What fits

    def images(self, size: tuple[int, int]) -> list[np.ndarray]:
        if size not in self.sized:
            self.sized[size] = [shrink(image, *size) for image in self.glyphs.images]
        return self.sized[size]

    def digit_widths(self, size: tuple[int, int]) -> list[int]:
        """All widths that a digit can have, as the measure counts them."""
        if self.measure == "cell":
            return [size[1]]
        frames = [ink_of(self.images(size)[k]) for k in self.allowed]
        return [frame[2] - frame[0] for frame in frames]

    def fits(self, length: int, size: tuple[int, int]) -> bool:
        """Whether even the widest digits go in, with the least gaps."""
        widest, height = max(self.digit_widths(size)), size[0]
        least = length * widest + (length - 1) * self.low
        return max(widest, least) <= self.width and height <= self.spec.height

    def cell(self, length: int) -> tuple[int, int] | None:
        """The size of a cell for this length; None if there is none."""
        size: tuple[int, int] | None = (self.h, self.w)
        if not self.fits(length, (self.h, self.w)):
            size = self.smaller(length) if self.spec.overflow == "shrink" else None
        if size and self.measure == "cell" and length > 1 and self.low <= -size[1]:
            return None  # a digit would begin to the left of the one before it
        if size and self.fill == "justify" and self.measure == "cell" and length > 1:
            most = length * size[1] + (length - 1) * self.high
            size = size if most >= self.width else None
        return size

    def smaller(self, length: int) -> tuple[int, int] | None:
        """The largest cell of 8 px or more with which gaps of (low + high) / 2 fit."""
        middle = Fraction(self.low + self.high, 2) * (length - 1)
        for width in range(self.w, 7, -1):
            exact = Fraction(self.h * width, self.w)
            size = (max(1, int(exact + Fraction(1, 2))), width)
            widest = max(self.digit_widths(size))
            room = length * widest + middle <= self.width and widest <= self.width
            if room and exact <= self.spec.height:
                return size
        return None

    def possible(self) -> bool:
        return all(self.cell(n) for n in range(self.shortest, self.longest + 1))

    # One sample

    def text(self, words: Words) -> list[int]:
        if self.spec.texts is not None:
            return [int(letter) for letter in self.spec.texts[words.index % len(self.spec.texts)]]
        if self.spec.unique:
            return unique_text(words, self.shortest, self.longest)
        length = self.shortest + words.below(self.longest - self.shortest + 1, "length")
        if self.spec.digits is not None:
            weights = list(self.spec.digits)
            return [words.weighted(weights, "digits", j) for j in range(length)]
        return [words.below(10, "digits", j) for j in range(length)]

    def hand(self, words: Words, digits: list[int]) -> int | None:
        """The writer: drawn from all, draw after draw, until one has written all these digits."""
        if self.spec.writer is None:
            return None
        wrote = set(zip(self.glyphs.writers.tolist(), self.glyphs.labels.tolist(), strict=True))
        everybody = np.unique(self.glyphs.writers).tolist()
        for attempt in itertools.count():
            hand = everybody[words.below(len(everybody), "writer", 4 * attempt)]
            if all((hand, digit) in wrote for digit in digits):
                return int(hand)
        raise AssertionError("somebody has written them all")

    def sources(self, words: Words, digits: list[int], hand: int | None) -> list[int]:
        """Positions in the glyph set: glyphs of a digit stand in the order of the set."""
        positions = []
        for j, digit in enumerate(digits):
            found = self.glyphs.labels == digit
            group = np.flatnonzero(found if hand is None else found & (self.glyphs.writers == hand))
            if self.glyphs.weights is None:
                k = words.below(len(group), "glyphs", j)
            else:
                k = words.weighted(self.glyphs.weights[group].tolist(), "glyphs", j)
            positions.append(int(group[k]))
        return positions

    def edges(self, frames: list[tuple[int, ...]], gaps: list[int]) -> tuple[list[int], int, int]:
        """Left edges with the first digit at 0; where the leftmost begins, the rightmost ends."""
        begins = [0]
        for frame, gap in zip(frames, gaps, strict=False):
            begins.append(begins[-1] + frame[2] - frame[0] + gap)
        ends = [x + frame[2] - frame[0] for x, frame in zip(begins, frames, strict=True)]
        left = [x - frame[0] for x, frame in zip(begins, frames, strict=True)]
        return left, min(begins), max(ends)

    def begin(self, words: Words, margin: int) -> int:
        if self.spec.align == "random":
            return words.below(margin + 1, "align")
        return {"left": 0, "center": margin // 2, "right": margin}[self.spec.align]

    def sample(self, index: int) -> dict[str, Any]:
        words = Words(self.spec.seed, self.spec.split or self.glyphs.split, index)
        digits = self.text(words)
        hand, length = self.hand(words, digits), len(digits)
        chosen = self.sources(words, digits, hand)
        h, w = size = self.cell(length) or (0, 0)
        images = [self.images(size)[k] for k in chosen]
        inks, cells = [ink_of(image) for image in images], [(0, 0, w, h)] * length
        frames = inks if self.measure == "ink" else cells
        slack = self.width - sum(frame[2] - frame[0] for frame in frames)
        gaps = draw_gaps(words, length - 1, self.low, self.high, slack, self.fill)
        left, first, last = self.edges(frames, gaps)
        begin, top = self.begin(words, self.width - (last - first)), (self.spec.height - h) // 2
        left = [x + begin - first for x in left]
        canvas = (self.width, self.spec.height)
        pad, layers = self.longest - length, self.layers(images, left, top)
        found = {
            "image": self.picture(layers),
            "digits": digits + [-1] * pad,
            "length": length,
            "sources": [int(self.glyphs.ids[k]) for k in chosen] + [-1] * pad,
            "gaps": gaps + [0] * pad,
            "width": last - first,
            "text": "".join(map(str, digits)),
        }
        for name, each in (("boxes", inks), ("cells", cells)):
            placed = zip(left, each, strict=True)
            found[name] = [clipped(x, top, frame, *canvas) for x, frame in placed]
            found[name] += [[0, 0, 0, 0]] * pad
        factors: dict[str, Any] = {"left": begin}
        if self.spec.overflow == "shrink":
            factors["scale"] = np.float32(w) / np.float32(self.w)
        if self.spec.measure == "ink" and self.spec.fill == "justify":
            factors["unfilled"] = slack - sum(gaps)
        if hand is not None:
            factors["writer"] = hand
        owner = np.where(
            layers.any(axis=0), layers.argmax(axis=0) + 1, 0
        )  # the most ink, the first
        return found | {"factors": factors, "mask": owner}

    def layers(self, images: list[np.ndarray], left: list[int], top: int) -> np.ndarray:
        """Each glyph alone on the canvas."""
        h, w = images[0].shape
        rimmed = (len(images), self.spec.height + 2 * h, self.width + 2 * w)
        layers = np.zeros(rimmed, np.uint8)
        for layer, image, x in zip(layers, images, left, strict=True):
            layer[top + h : top + 2 * h, x + w : x + 2 * w] = image
        return layers[:, h:-h, w:-w]

    def picture(self, layers: np.ndarray) -> np.ndarray:
        joined = functools.reduce(np.maximum, layers)
        joined = joined if self.spec.ink == "white" else 255 - joined
        return joined if self.spec.dtype == "uint8" else np.float32(joined) / np.float32(255)


DTYPES = {
    "digits": np.int8,
    "sources": np.int64,
    "boxes": np.int32,
    "cells": np.int32,
    "gaps": np.int32,
}


def assert_equal(sample: Any, expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        if name in ("factors", "mask"):
            continue
        found = getattr(sample, name)
        assert np.array_equal(found, np.reshape(value, np.shape(found))), name
        if name in DTYPES:
            assert found.dtype == DTYPES[name], name
    assert sample.image.shape == expected["image"].shape
    assert sample.image.dtype == expected["image"].dtype
    assert {name: value.item() for name, value in sample.factors.items()} == expected["factors"]


# Cases


@st.composite
def glyph_sets(draw: st.DrawFn) -> Glyphs:
    """Small sets, seldom square, with every digit at least once, some of them blank."""
    height, width = draw(st.integers(3, 16)), draw(st.integers(3, 16))
    n, rng = draw(st.integers(10, 36)), np.random.default_rng(draw(st.integers(0, 2**32)))
    images = rng.integers(1, 256, (n, height, width), np.uint8)
    images *= rng.random((n, height, width)) < draw(st.sampled_from([0.2, 0.9, 1.0]))
    for image in images:
        x, y = rng.integers(0, width), rng.integers(0, height)
        image[:, : x // 2] = image[: y // 2] = 0
    images[: draw(st.integers(0, 1))] = 0
    labels = rng.permutation(np.concatenate([np.arange(10), rng.integers(0, 10, n - 10)]))
    ids = rng.permutation(n) * draw(st.sampled_from([1, 1000, 2**55])) + draw(st.integers(0, 9))
    split = draw(st.sampled_from(["all", "train", "test", "my-own_1"]))
    return Glyphs(images, labels, ids, split=split)


@st.composite
def texts_or_lengths(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["fixed", "range", "texts", "weights"]))
    if kind == "texts":
        words = st.text("0123456789", min_size=1, max_size=6)
        return {"length": None, "texts": draw(st.lists(words, min_size=1, max_size=5))}
    low = draw(st.integers(1, 6))
    length = low if kind == "fixed" else (low, low + draw(st.integers(0, 3)))
    if kind != "weights":
        return {"length": length}
    weights = draw(st.lists(st.sampled_from([0, 0.1, 1, 2.5, 7]), min_size=10, max_size=10))
    weights[draw(st.integers(0, 9))] = 1 / 3
    return {"length": length, "digits": weights}


@st.composite
def cases(draw: st.DrawFn) -> tuple[Glyphs, SequenceSpec]:
    glyphs, wishes = draw(glyph_sets()), draw(texts_or_lengths())
    height, width = glyphs.images.shape[1:]
    low = draw(st.integers(1 - width, 6))
    high = low + draw(st.integers(0, 9))
    shrink = draw(st.booleans())
    named = {
        "fill": st.sampled_from([None, "free", "justify", "equal"]),
        "align": st.sampled_from(["left", "center", "right", "random"]),
        "measure": st.sampled_from([None, "cell", "ink"]),
        "ink": st.sampled_from(["white", "black"]),
        "dtype": st.sampled_from(["uint8", "float32"]),
        "split": st.sampled_from([None, glyphs.split]),
        "seed": st.sampled_from([0, 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1),
        "height": st.integers(max(1, height - 4) if shrink else height, height + 7),
    }
    wishes |= draw(st.fixed_dictionaries(named))
    wishes |= {"num_samples": 2**62, "spacing": (low, high)}
    wishes["overflow"] = "shrink" if shrink else draw(st.sampled_from([None, "error"]))
    oracle = Oracle(glyphs, SequenceSpec(**wishes))
    if wishes["measure"] == "ink":  # an ink narrower than it overlaps: see test_generate.py
        sizes = [(height, width)]
        if shrink:
            sizes += [(max(1, height * cell // width), cell) for cell in range(8, width)]
        narrowest = min(min(oracle.digit_widths(size)) for size in sizes)
        wishes["spacing"] = (max(low, -narrowest), max(high, 1 - narrowest))
    if draw(st.booleans()):
        low, high = wishes["spacing"]
        lengths, digit = (
            (oracle.shortest, oracle.longest),
            max(oracle.digit_widths((height, width))),
        )
        least, most = (
            n * digit + (n - 1) * gap for n, gap in zip(lengths[::-1], (low, high), strict=True)
        )
        start = least - (2 * width if shrink else 1)
        wishes["width"] = max(1, draw(st.integers(start, max(start, most) + 5)))
    return glyphs, SequenceSpec(**wishes)


def assert_agree(glyphs: Glyphs, spec: SequenceSpec, indices: list[int]) -> None:
    oracle, batch = Oracle(glyphs, spec), DigitSequences(glyphs, spec).batch(indices)
    for index, sample, mask in zip(indices, batch, batch.masks(), strict=True):
        expected = oracle.sample(index)
        assert_equal(sample, expected)
        assert mask.dtype == np.uint8 and (mask == expected["mask"]).all()


numbers = st.lists(st.integers(0, 2**62 - 1) | st.integers(0, 9), min_size=1, max_size=5)


@settings(max_examples=400)
@given(case=cases(), indices=numbers)
def test_samples_are_what_the_design_says(case: Any, indices: list[int]) -> None:
    possible = Oracle(*case).possible()
    event(f"fits: {possible}")
    if possible:
        assert_agree(*case, indices)
    else:
        with pytest.raises(ValueError, match="must be|cells"):
            DigitSequences(*case)


@settings(max_examples=60)
@given(
    wishes=texts_or_lengths(),
    kept=st.lists(st.booleans(), min_size=60, max_size=60),
    seed=st.integers(0, 2**64 - 1),
    indices=numbers,
)
def test_all_digits_are_of_one_writer_who_has_them(
    wishes: dict[str, Any], kept: list[bool], seed: int, indices: list[int]
) -> None:
    """Seven writers, of whom one has two glyphs of each digit, the others one of some."""
    images = np.random.default_rng(seed).integers(0, 256, (80, 4, 3), np.uint8)
    columns = {"labels": np.arange(80) % 10, "ids": np.arange(80)}
    everything = Glyphs(images, **columns, writers=np.maximum(1, np.arange(80) // 10) * 5 % 8)
    glyphs = everything.subset(np.array([True] * 20 + kept))
    spec = SequenceSpec(2**62, **wishes, writer="same", seed=seed, height=4)
    assert_agree(glyphs, spec, indices)


@settings(max_examples=60)
@given(
    lengths=st.tuples(st.integers(1, 24), st.integers(0, 12)).map(
        lambda pair: (pair[0], sum(pair))
    ),
    seed=st.integers(0, 2**64 - 1),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
def test_unique_texts_are_dealt_out_and_shuffled(
    lengths: tuple[int, int], seed: int, shares: list[float]
) -> None:
    labels = np.arange(10)
    glyphs = Glyphs(np.full((10, 3, 2), 9, np.uint8), labels, labels, split="train")
    most = min(2**62, sum(10 ** min(18, n) for n in range(lengths[0], lengths[1] + 1)))
    spec = SequenceSpec(most, lengths, height=3, spacing=(0, 0), unique=True, seed=seed)
    indices = sorted({min(most - 1, int(share * most)) for share in shares} | {0, 5, most - 1})
    assert_agree(glyphs, spec, indices)


@settings(max_examples=60)
@given(
    glyphs=glyph_sets(),
    wishes=texts_or_lengths(),
    chances=st.lists(st.sampled_from([1e-9, 0.1, 1, 2.5, 1e6]), min_size=36, max_size=36),
    seed=st.integers(0, 2**64 - 1),
    indices=numbers,
)
def test_weighted_glyphs_are_drawn_by_their_shares(
    glyphs: Glyphs, wishes: dict[str, Any], chances: list[float], seed: int, indices: list[int]
) -> None:
    mixed = replace(glyphs, weights=np.array(chances[: len(glyphs)]))
    spec = SequenceSpec(2**62, **wishes, seed=seed, height=glyphs.images.shape[1])
    assert_agree(mixed, spec, indices)


@settings(max_examples=200)
@given(
    glyphs=glyph_sets(),
    spacing=st.tuples(st.integers(-9, -1), st.integers(0, 12)),
    length=st.integers(2, 6),
    fill=st.sampled_from(["free", "justify", "equal"]),
    overflow=st.sampled_from(["error", "shrink"]),
    room=st.integers(-20, 30),
)
def test_no_ink_is_lost_where_thin_digits_overlap(
    glyphs: Glyphs,
    spacing: tuple[int, int],
    length: int,
    fill: str,
    overflow: str,
    room: int,
) -> None:
    """An ink narrower than its overlap turns the order around: refused, or made with all inside."""
    (h, w), low = glyphs.images.shape[1:], max(spacing[0], 1 - glyphs.images.shape[2])
    wishes: dict[str, Any] = {"num_samples": 100, "length": length, "height": h, "measure": "ink"}
    wishes |= {"fill": fill, "overflow": overflow, "spacing": (low, low + spacing[1])}
    digit = max(Oracle(glyphs, SequenceSpec(**wishes)).digit_widths((h, w)))
    least = max(digit, length * digit + (length - 1) * low)
    spec = SequenceSpec(**wishes, width=max(1, least + room))
    try:
        batch = DigitSequences(glyphs, spec)[:]
    except ValueError:
        return
    for n, sample in enumerate(batch):
        cell = w if overflow == "error" else round(float(sample.factors["scale"]) * w)
        images = Oracle(glyphs, spec).images((int(Fraction(h * cell, w) + Fraction(1, 2)), cell))
        for source, box in zip(sample.sources, sample.boxes.tolist(), strict=True):
            x0, y0, x1, y1 = ink_of(images[int(np.flatnonzero(glyphs.ids == source)[0])])
            assert (box[2] - box[0], box[3] - box[1]) == (x1 - x0, y1 - y0), f"sample {n}: {sample}"
