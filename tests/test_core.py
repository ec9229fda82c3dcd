"""core, beyond its notebook: properties, oracles and faults."""

import builtins
import errno
import hashlib
import inspect
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy.stats import chisquare

from digitseq import composing, core
from digitseq.core import (
    Glyphs,
    SequenceBatch,
    as_integer,
    atomic_write,
    bounded,
    contact_sheet,
    fill_words,
    kernel,
    multiply_high,
    npz_bytes,
    philox,
    random_words,
    read_npz,
    stream_key,
    twinned,
    unit_float,
    weight_thresholds,
)
from digitseq.warping import Scratch

ROOT = Path(__file__).resolve().parents[1]
MakeGlyphs = Callable[..., Glyphs]
WORD = 2**64
words = st.integers(0, WORD - 1)
edges = st.one_of(words, st.sampled_from([0, 1, 2**32 - 1, 2**32, 2**63, WORD - 2, WORD - 1]))
FALSE_ALARM = 1e-6  # the chance that a chi-square test here fails a right sampler
u64 = np.uint64


def numpy_words(key: tuple[int, int], counter: list[int], count: int) -> list[int]:
    """Ask the oracle: NumPy's Philox."""
    generator = np.random.Philox(key=np.array(key, u64), counter=np.array(counter, u64))
    return [int(word) for word in generator.random_raw(count)]


# The random stream


@given(edges, edges)
def test_multiply_high_is_the_upper_half(a: int, b: int) -> None:
    assert multiply_high(u64(a), u64(b)) == a * b >> 64


def test_philox_is_numpys_for_a_thousand_pairs() -> None:
    rng = np.random.default_rng(1)
    for number in range(1000):
        key = [int(word) for word in rng.integers(0, WORD, 2, u64)]
        counter = [int(word) for word in rng.integers(0, WORD, 4, u64)]
        carries = number % 5  # so many of the low words are full: counting up carries into the next
        counter[:carries] = [WORD - 1] * carries
        block = (sum(word << 64 * k for k, word in enumerate(counter)) + 1) % WORD**4
        counted = [u64(block >> 64 * k & WORD - 1) for k in range(4)]
        mine = [int(word) for word in philox(*counted, *map(u64, key))]
        assert mine == numpy_words((key[0], key[1]), counter, 4)


@given(edges, edges, edges, st.integers(0, WORD - 2))
def test_random_words_are_one_draw_of_numpys(seed: int, key: int, index: int, draw: int) -> None:
    mine = random_words(u64(seed), u64(key), u64(index), u64(draw))
    assert [int(word) for word in mine] == numpy_words((seed, key), [draw, index, 0, 0], 4)


@given(edges, edges, edges, st.integers(0, 23))
def test_fill_words_is_numpys_stream_from_its_start(
    seed: int, key: int, index: int, count: int
) -> None:
    filled = np.full(count, 7, u64)
    fill_words(u64(seed), u64(key), u64(index), filled)
    assert filled.tolist() == numpy_words((seed, key), [0, index, 0, 0], count)


@given(st.text(max_size=8), st.text(max_size=8))
def test_stream_key_is_the_hash_of_split_and_step(split: str, stream: str) -> None:
    digest = hashlib.sha256(f"{split}/{stream}".encode()).digest()
    assert stream_key(split, stream).tobytes() == np.frombuffer(digest[:8], "<u8").tobytes()


# Bounded integers


@given(edges, st.integers(1, 2**63), edges, edges, edges, st.integers(0, 2**32 - 1))
def test_bounded_is_lemires_method(
    word: int, limit: int, seed: int, key: int, index: int, value: int
) -> None:
    got = bounded(u64(word), u64(limit), u64(seed), u64(key), u64(index), u64(value))
    attempt = 0
    while word * limit % WORD < WORD % limit:
        attempt += 1
        word = numpy_words((seed, key), [(attempt << 32) + value, index, 0, 0], 1)[0]
    assert got == word * limit >> 64


def drawn(limit: int, count: int = 30_000) -> list[int]:
    """Draw bounded integers, one for each of `count` samples."""
    seed, key = u64(11), stream_key("all", "test")
    values = []
    for index in range(count):
        word = random_words(seed, key, u64(index), u64(0))[0]
        values.append(int(bounded(u64(word), u64(limit), seed, key, u64(index), u64(0))))
    return values


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10, 100])
def test_small_limits_are_uniform(limit: int) -> None:
    counts = np.bincount(drawn(limit), minlength=limit)
    assert len(counts) == limit
    if limit > 1:
        assert chisquare(counts).pvalue > FALSE_ALARM


@pytest.mark.parametrize("limit", [3 * 2**61, 2**63 - 1, 2**63, 5 * 2**60, 2**62 + 1])
def test_huge_limits_are_uniform_high_and_low(limit: int) -> None:
    values = drawn(limit, 20_000)
    assert 0 <= min(values) <= max(values) < limit
    assert chisquare(np.bincount([value * 8 // limit for value in values])).pvalue > FALSE_ALARM
    assert chisquare(np.bincount([value & 7 for value in values])).pvalue > FALSE_ALARM


def test_without_rejection_the_low_part_would_not_be_uniform() -> None:
    limit = 3 * 2**61  # a quarter of all words is rejected; 8 words would share 3 outcomes unevenly
    assert chisquare(np.bincount([value % 3 for value in drawn(limit)])).pvalue > FALSE_ALARM
    seed, key = u64(11), stream_key("all", "test")
    first = (random_words(seed, key, u64(index), u64(0))[0] for index in range(30_000))
    biased = [int(multiply_high(u64(word), u64(limit))) % 3 for word in first]
    assert chisquare(np.bincount(biased)).pvalue < FALSE_ALARM


@given(edges)
def test_unit_float_is_the_53_high_bits(word: int) -> None:
    number = float(unit_float(u64(word)))
    assert 0 <= number < 1
    assert Fraction(number) == Fraction(word >> 11, 2**53)


# Weights

weight_lists = st.lists(
    st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.integers(1, 9).map(float)),
    min_size=1,
    max_size=12,
).filter(any)


@given(weight_lists)
def test_thresholds_give_every_outcome_its_share(weights: list[float]) -> None:
    outcomes, thresholds = weight_thresholds(weights)
    assert outcomes.tolist() == [k for k, weight in enumerate(weights) if weight > 0]
    assert (outcomes.dtype, thresholds.dtype) == (np.int64, np.uint64)
    ends = [0, *thresholds.tolist(), WORD]
    assert ends == sorted(ends)
    below, total = Fraction(0), sum(map(Fraction, weights))
    for outcome, end in zip(outcomes, ends[1:], strict=True):
        below += Fraction(weights[outcome])
        assert 0 <= below / total - Fraction(end, WORD) < Fraction(1, WORD)


@given(weight_lists, st.integers(-20, 20))
def test_only_the_proportion_of_weights_counts(weights: list[float], power: int) -> None:
    weights = [weight if 1e-200 < weight < 1e200 else 0.0 for weight in weights] + [1.0]
    scaled = weight_thresholds([weight * 2.0**power for weight in weights])
    for mine, other in zip(weight_thresholds(weights), scaled, strict=True):
        assert np.array_equal(mine, other)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -0.5], "got -0.5 at position 1"),
        ([float("nan"), 1], "got nan at position 0"),
        ([1, 1, float("inf")], "got inf at position 2"),
        ([0, 0], "must not all be zero"),
        ([], "must not all be zero"),
    ],
)
def test_bad_weights_are_named(weights: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=f"digits .*{message}"):
        weight_thresholds(weights, "digits")


# Integers


@pytest.mark.parametrize("kind", [int, np.int8, np.uint8, np.int64, np.uint64])
def test_as_integer_takes_integers_of_any_kind(kind: type) -> None:
    number = as_integer(kind(5), "length", 1, 5)
    assert (number, type(number)) == (5, int)


@pytest.mark.parametrize(
    "value", [True, np.True_, 2.0, np.float64(2), float("nan"), "2", None, [2], 2 + 0j]
)
def test_as_integer_takes_nothing_else(value: object) -> None:
    with pytest.raises(ValueError, match="length must be an integer, got "):
        as_integer(value, "length")


@given(st.integers(), st.integers(-(10**6), 10**6), st.integers(0, 10**6))
def test_as_integer_keeps_to_its_range(number: int, low: int, span: int) -> None:
    if low <= number <= low + span:
        assert as_integer(number, "n", low, low + span) == number
    else:
        limit = low if number < low else low + span
        with pytest.raises(ValueError, match=rf"n must be at (least|most) {limit}, got {number}$"):
            as_integer(number, "n", low, low + span)


# Glyphs

BAD_COLUMNS: list[tuple[dict[str, Any], str]] = [
    ({"images": np.zeros((30, 8, 6))}, "images must be uint8, got float64"),
    ({"images": np.zeros((30, 8, 6), bool)}, "images must be uint8, got bool"),
    ({"images": np.zeros((30, 48), np.uint8)}, r"shape \(n, h, w\), got \(30, 48\)"),
    ({"images": np.arange(30, dtype=np.uint8)}, "were the labels handed in as images"),
    ({"images": np.zeros((0, 8, 6), np.uint8)}, "at least one pixel"),
    ({"images": np.zeros((30, 0, 6), np.uint8)}, "at least one pixel"),
    ({"labels": np.zeros(30)}, "labels must be integers, got float64"),
    ({"labels": np.zeros(30, bool)}, "labels must be integers, got bool"),
    ({"labels": list("0123456789" * 3)}, "labels must be integers, got <U1"),
    ({"labels": np.zeros(29, int)}, r"one for each of the 30 images, got \(29,\)"),
    ({"labels": np.zeros((30, 1), int)}, r"one for each of the 30 images, got \(30, 1\)"),
    ({"ids": np.full(30, 7)}, "ids must be all different, but 7 is repeated"),
    ({"ids": np.arange(30.0)}, "ids must be integers, got float64"),
    ({"ids": np.arange(30) - 1}, "got -1 at position 0"),
    ({"ids": np.arange(30, dtype=u64) + u64(2**63)}, f"got {2**63} at position 0"),
    ({"writers": np.zeros(31, int)}, "writers must be one for each of the 30 images"),
    ({"writers": np.full(30, -1)}, "writers .* got -1 at position 0"),
    ({"weights": np.ones(29)}, "weights must be one for each of the 30 images"),
    ({"weights": -np.ones(30)}, "weights must be .*got -1.0 at position 0"),
    ({"weights": np.full(30, np.nan)}, "weights must be .*got nan at position 0"),
]


@pytest.mark.parametrize(("columns", "message"), BAD_COLUMNS)
def test_bad_glyphs_are_refused(
    make_glyphs: MakeGlyphs, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_glyphs(**columns)


@given(
    st.integers(0, 29),
    st.one_of(st.integers(-(2**63), -1), st.integers(10, 2**63 - 1), st.sampled_from([10, 255])),
)
def test_a_label_that_is_no_digit_is_named_with_its_place(
    make_glyphs: MakeGlyphs, position: int, label: int
) -> None:
    labels = np.arange(30) % 10
    labels[position] = label
    with pytest.raises(ValueError, match=f"0 to 9, got {label} at position {position}$"):
        make_glyphs(labels=labels)


@given(
    hnp.arrays(
        st.sampled_from([np.int8, np.uint8, np.int32, np.uint64]), 30, elements=st.integers(0, 9)
    )
)
def test_labels_of_any_integer_type_are_the_same_glyphs(
    make_glyphs: MakeGlyphs, labels: np.ndarray
) -> None:
    glyphs = make_glyphs(labels=labels)
    assert (glyphs.labels.dtype, glyphs.labels.tolist()) == (np.int8, labels.tolist())
    assert glyphs.sha256 == make_glyphs(labels=labels.tolist()).sha256


COLUMNS = ("images", "labels", "ids", "writers", "weights")


def full_set(make_glyphs: MakeGlyphs, **columns: Any) -> Glyphs:
    """Make a set that has all columns."""
    return make_glyphs(**{"writers": np.arange(30) % 4, "weights": np.ones(30), **columns})


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_cannot_be_written(make_glyphs: MakeGlyphs, name: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(full_set(make_glyphs), name)[0] = 1


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("way", ["array", "view", "read-only view"])
def test_columns_do_not_change_with_the_array_they_came_from(
    make_glyphs: MakeGlyphs, name: str, way: str
) -> None:
    original = np.array(getattr(full_set(make_glyphs), name))
    given_array = original if way == "array" else original[:]
    if way == "read-only view":
        given_array.flags.writeable = False
    glyphs = full_set(make_glyphs, **{name: given_array})
    before = getattr(glyphs, name).copy()
    original[:] = original[::-1].copy()
    original.flat[0] += 1
    assert np.array_equal(getattr(glyphs, name), before)


def test_a_frozen_column_is_shared_not_copied(make_glyphs: MakeGlyphs) -> None:
    glyphs = make_glyphs()
    again = Glyphs(glyphs.images, glyphs.labels, glyphs.ids)
    assert all(
        np.shares_memory(getattr(glyphs, name), getattr(again, name)) for name in COLUMNS[:3]
    )


def test_the_hash_sees_every_column_and_neither_name_nor_split(make_glyphs: MakeGlyphs) -> None:
    images = make_glyphs().images.copy()
    images[29, 7, 5] ^= 1
    others = [
        full_set(make_glyphs),
        full_set(make_glyphs, images=images),
        full_set(make_glyphs, images=make_glyphs().images.reshape(30, 6, 8)),
        full_set(make_glyphs, labels=np.arange(1, 31) % 10),
        full_set(make_glyphs, ids=np.arange(30) + 1),
        full_set(make_glyphs, writers=None),
        full_set(make_glyphs, weights=None),
    ]
    assert len({glyphs.sha256 for glyphs in others}) == len(others)
    renamed = full_set(make_glyphs, name="other", split="train")
    assert renamed.sha256 == others[0].sha256


# Splits


def parts_of(glyphs: Glyphs, **shares: Any) -> dict[str, set[int]]:
    return {part.split: set(part.ids.tolist()) for part in glyphs.train_test_split(**shares)}


@given(st.sets(st.integers(0, 2**63 - 1), min_size=60, max_size=60), st.integers(0, WORD - 1))
def test_splits_are_disjoint_complete_and_unmoved_by_new_glyphs(
    make_glyphs: MakeGlyphs, ids: set[int], seed: int
) -> None:
    numbers = np.array(sorted(ids, key=lambda number: hash((number, seed))))
    shares = {"test": 0.3, "validation": 0.3, "seed": seed}
    whole = parts_of(make_glyphs(60, ids=numbers), **shares)
    assert set.union(*whole.values()) == ids
    assert sum(map(len, whole.values())) == len(ids)
    some = parts_of(make_glyphs(45, ids=numbers[:45]), **shares)
    assert all(some[name] <= whole[name] for name in whole)


@pytest.mark.parametrize(
    ("test", "validation"), [(0.2, 0.0), (0.1, 0.1), (0.5, 0.25), (1 / 3, 1 / 3)]
)
def test_shares_are_as_asked_for(make_glyphs: MakeGlyphs, test: float, validation: float) -> None:
    n = 20_000
    glyphs = make_glyphs(n, 1, 1, ids=np.arange(n) + 60_000)
    parts = parts_of(glyphs, test=test, validation=validation)
    wanted = {"train": 1 - test - validation, "validation": validation, "test": test}
    wanted = {name: share for name, share in wanted.items() if share}
    assert parts.keys() == wanted.keys()
    counts = [len(parts[name]) for name in wanted]
    assert chisquare(counts, [n * share for share in wanted.values()]).pvalue > FALSE_ALARM


def test_a_writer_is_in_one_part_only(make_glyphs: MakeGlyphs) -> None:
    writers = np.random.default_rng(0).integers(0, 40, 600)
    glyphs = make_glyphs(600, writers=writers)
    parts = glyphs.train_test_split(test=0.3, validation=0.3)
    owners = [set(part.writers.tolist()) for part in parts]
    assert sum(map(len, owners)) == len(set.union(*owners)) == len(set(writers.tolist()))
    assert sum(map(len, parts)) == 600


def test_a_part_keeps_the_rows_of_every_column(make_glyphs: MakeGlyphs) -> None:
    glyphs = full_set(make_glyphs)
    for part in glyphs.train_test_split(test=0.4):
        for name in COLUMNS:
            assert np.array_equal(getattr(part, name), getattr(glyphs, name)[part.ids])


def test_another_seed_is_another_split(toy_glyphs: Glyphs) -> None:
    assert parts_of(toy_glyphs, seed=1) == parts_of(toy_glyphs, seed=1)
    assert parts_of(toy_glyphs, seed=1) != parts_of(toy_glyphs, seed=2)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"test": 0.0}, "must leave some to train on"),
        ({"test": 1.0}, "must leave some to train on"),
        ({"test": 0.6, "validation": 0.4}, "got 0.6 and 0.4"),
        ({"test": float("nan")}, "got nan"),
        ({"test": 0.2, "validation": -0.1}, "got 0.2 and -0.1"),
        ({"test": 1e-9}, "no glyph of 30 falls into test"),
        ({"test": 1 - 1e-9}, "no glyph of 30 falls into train"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": WORD}, f"seed must be at most {WORD - 1}, got {WORD}"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"seed": True}, "seed must be an integer"),
    ],
)
def test_bad_shares_are_refused(toy_glyphs: Glyphs, shares: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy_glyphs.train_test_split(**shares)


# Joining


def test_weights_are_the_shares_of_the_parts_in_every_class(make_glyphs: MakeGlyphs) -> None:
    labels = [np.repeat(np.arange(10), 3), np.repeat(np.arange(10), np.arange(1, 11))]
    sizes, weights = (30, 55), (1.0, 3.0)
    parts = [
        make_glyphs(n, labels=labels[k], ids=np.arange(n) + 1000 * k) for k, n in enumerate(sizes)
    ]
    joined = Glyphs.concat(parts, weights=weights)
    assert joined.weights is not None
    for digit in range(10):
        of_digit = joined.weights * (joined.labels == digit)
        shares = of_digit[:30].sum(), of_digit[30:].sum()
        assert shares == pytest.approx(weights, rel=1e-12)
    third = make_glyphs(30, ids=np.arange(30) + 5000)
    nested = Glyphs.concat([joined, third], weights=[1, 1])
    assert nested.weights is not None
    zeros = nested.weights * (nested.labels == 0)
    assert [zeros[:30].sum(), zeros[30:85].sum(), zeros[85:].sum()] == pytest.approx(
        [0.25, 0.75, 1]
    )


def test_joining_without_weights_keeps_rows_writers_and_names(make_glyphs: MakeGlyphs) -> None:
    first = make_glyphs(30, writers=np.arange(30), name="a", split="train")
    second = make_glyphs(
        20, ids=np.arange(20) + 100, writers=np.arange(20), name="b", split="train"
    )
    joined = Glyphs.concat([first, second])
    assert (joined.weights, joined.name, joined.split) == (None, "a+b", "train")
    assert joined.ids.tolist() == [*first.ids.tolist(), *second.ids.tolist()]
    assert joined.writers is not None
    assert Glyphs.concat([joined.subset(range(30)), second]).sha256 == joined.sha256
    unknown = make_glyphs(10, ids=np.arange(10) + 200)
    assert Glyphs.concat([first, unknown]).writers is None


@pytest.mark.parametrize(
    ("second", "weights", "message"),
    [
        ({"height": 9}, None, r"one size, got \[\(8, 6\), \(9, 6\)\]"),
        ({"ids": np.arange(30)}, None, "ids must be all different, but 0"),
        ({}, [1.0], "a weight for each of 2 parts"),
        ({}, [1.0, 0.0], r"positive, got \[1.0, 0.0\]"),
        ({}, [1.0, float("nan")], "positive"),
        ({}, [1.0, float("inf")], "positive"),
    ],
)
def test_bad_joins_are_refused(
    make_glyphs: MakeGlyphs, second: dict[str, Any], weights: list[float] | None, message: str
) -> None:
    parts = [make_glyphs(), make_glyphs(**{"ids": np.arange(30) + 100, **second})]
    with pytest.raises(ValueError, match=message):
        Glyphs.concat(parts, weights=weights)


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="parts must be"):
        Glyphs.concat([])


# Batches


def painted(ink: int = 255, paper: int = 0, dtype: Any = np.uint8) -> SequenceBatch:
    """Make two samples by hand: "07" side by side, and "3" alone."""
    images = np.full((2, 4, 10), paper, dtype)
    boxes = np.zeros((2, 2, 4), np.int32)
    boxes[0] = [[1, 1, 3, 4], [5, 0, 9, 2]]
    boxes[1, 0] = [2, 2, 4, 4]
    for n, k in ((0, 0), (0, 1), (1, 0)):
        x0, y0, x1, y1 = boxes[n, k]
        images[n, y0:y1, x0:x1] = ink
        images[n, y0, x0] = paper  # a hole in the ink
    return SequenceBatch(
        images=images,
        digits=np.array([[0, 7], [3, -1]], np.int8),
        lengths=np.array([2, 1], np.int32),
        sources=np.array([[10, 17], [13, -1]], np.int64),
        boxes=boxes,
        cells=boxes.copy(),
        gaps=np.array([[2], [0]], np.int32),
        widths=np.array([10, 10], np.int32),
        factors={"theta": np.array([[1.0, 2.0], [3.0, 0.0]])},
    )


@pytest.mark.parametrize(
    ("ink", "paper", "dtype"),
    [(255, 0, np.uint8), (0, 255, np.uint8), (0.5, 0, np.float32), (0, 1, np.float32)],
)
def test_masks_tell_ink_from_paper(ink: int, paper: int, dtype: Any) -> None:
    batch = painted(ink, paper, dtype)
    masks = batch.masks()
    assert (masks.dtype, masks.shape) == (np.uint8, batch.images.shape)
    assert np.array_equal(masks > 0, batch.images != paper)
    assert np.array_equal(np.unique(masks[0, :, :4]), [0, 1])
    assert np.array_equal(np.unique(masks[0, :, 4:]), [0, 2])


def test_masks_refuse_to_guess_where_digits_overlap() -> None:
    batch = painted()
    batch.boxes[0, 1] = [2, 0, 6, 3]
    with pytest.raises(ValueError, match="sample 0: boxes overlap"):
        batch.masks()


def test_labels_leave_the_blank_to_padding() -> None:
    first, last = painted().labels(), painted().labels("last")
    assert (first.dtype, last.dtype) == (np.int32, np.int32)
    assert (first.tolist(), last.tolist()) == ([[1, 8], [4, 0]], [[0, 7], [3, 10]])


@given(st.text().filter(lambda text: text not in ("first", "last")))
def test_another_blank_is_refused(blank: str) -> None:
    with pytest.raises(ValueError, match="blank must be"):
        painted().labels(blank)


def test_a_sample_is_a_view_on_its_row() -> None:
    batch = painted()
    assert batch.texts == ["07", "3"]
    for index in (0, 1, -1):
        sample = batch[index]
        for name in ("image", "digits", "sources", "boxes", "cells", "gaps"):
            column = getattr(batch, {"image": "images"}.get(name, name))
            assert np.shares_memory(getattr(sample, name), column)
            assert np.array_equal(getattr(sample, name), column[index])
        assert sample.text == batch.texts[index]
        assert sample.factors["theta"].tolist() == batch.factors["theta"][index].tolist()
    with pytest.raises(IndexError):
        batch[2]
    assert [sample.text for sample in batch] == batch.texts


@pytest.mark.parametrize(
    "name", ["images", "digits", "lengths", "sources", "boxes", "cells", "gaps", "widths"]
)
def test_the_batch_hash_sees_every_array(name: str) -> None:
    batch = painted()
    before = batch.sha256
    getattr(batch, name).flat[0] += 1
    assert batch.sha256 != before
    getattr(batch, name).flat[0] -= 1
    batch.factors["theta"][0, 0] = 9
    assert batch.sha256 == before


# Contact sheets


@given(
    st.integers(1, 7), st.one_of(st.none(), st.integers(1, 5)), st.integers(1, 3), st.integers(0, 3)
)
def test_contact_sheet_shows_every_picture_where_it_belongs(
    n: int, columns: int | None, scale: int, gap: int
) -> None:
    images = np.random.default_rng(n).integers(0, 255, (n, 5, 4), np.uint8)
    sheet = contact_sheet(images, columns, scale, gap)
    across = columns or n
    assert sheet.mode == "L"
    assert sheet.size == (
        (across * (4 + gap) - gap) * scale,
        (-(-n // across) * (5 + gap) - gap) * scale,
    )
    small = np.asarray(sheet)[::scale, ::scale].copy()
    assert np.array_equal(np.asarray(sheet), small.repeat(scale, 0).repeat(scale, 1))
    for k in range(n):
        top, left = k // across * (5 + gap), k % across * (4 + gap)
        assert np.array_equal(small[top : top + 5, left : left + 4], images[k])
        small[top : top + 5, left : left + 4] = 255
    assert (small == 255).all()


def test_contact_sheet_takes_floats_and_clips_them() -> None:
    sheet = contact_sheet(np.array([[[-1.0, 0.0, 0.5, 1.0, 2.0]]], np.float32), scale=1)
    assert np.asarray(sheet).tolist() == [[0, 0, 128, 255, 255]]


def test_contact_sheet_outlines_half_open_boxes_and_leaves_out_empty_ones() -> None:
    boxes = np.array([[[1, 1, 3, 4], [0, 0, 0, 0]]], np.int32)
    sheet = np.asarray(contact_sheet(np.zeros((1, 5, 4), np.uint8), scale=3, boxes=boxes))
    drawn_rows, drawn_columns = np.nonzero(sheet.any(axis=2))
    assert (drawn_rows.min(), drawn_rows.max()) == (3, 11)
    assert (drawn_columns.min(), drawn_columns.max()) == (3, 8)
    assert bytes(sheet[3, 3]).hex() == core.PALETTE[0][1:].lower()
    assert not sheet[4:11, 4:8].any()


def test_a_sample_shows_itself_as_png() -> None:
    picture = Image.open(io.BytesIO(painted()[0]._repr_png_()))
    assert picture.size == (30, 12)


# Writing files

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class Full(io.FileIO):
    """A file on a disk that is full after half of what is written."""

    fault: BaseException = NO_SPACE

    def write(self, data: Any) -> int:
        super().write(data[: len(data) // 2])
        raise self.fault


def broken(monkeypatch: pytest.MonkeyPatch, where: str, fault: BaseException) -> None:
    """Let one step of atomic_write fail."""

    def fail(*_: Any) -> None:
        raise fault

    if where == "write":
        monkeypatch.setattr(Full, "fault", fault)
        monkeypatch.setattr(builtins, "open", Full)
    else:
        monkeypatch.setattr(os, where, fail)


@pytest.mark.parametrize("fault", [NO_SPACE, KeyboardInterrupt()], ids=["full", "interrupted"])
@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, old: bytes | None, where: str, fault: BaseException
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with pytest.MonkeyPatch.context() as patch:
        broken(patch, where, fault)
        with pytest.raises(type(fault)):
            atomic_write(path, b"new data")
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


@pytest.mark.parametrize("sync", [True, False])
def test_a_write_replaces_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    path = tmp_path / "file"
    path.write_bytes(b"a longer old file")
    told = atomic_write(path, b"new", sync)
    assert told == {"size": 3, "sha256": hashlib.sha256(b"new").hexdigest()}
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert len(synced) == sync


@given(st.lists(st.binary(max_size=9), max_size=5))
def test_pieces_are_the_whole(tmp_path: Path, pieces: list[bytes]) -> None:
    whole, path = b"".join(pieces), tmp_path / "file"
    assert atomic_write(path, iter(pieces), False) == atomic_write(tmp_path / "whole", whole, False)
    assert path.read_bytes() == whole


def test_pieces_that_stop_coming_leave_the_old_file(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        raise ZeroDivisionError

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        atomic_write(tmp_path / "file", pieces())
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "nowhere" / "file", b"data")
    assert list(tmp_path.iterdir()) == []


# Archives of arrays

plain_arrays = hnp.arrays(
    st.sampled_from([np.uint8, np.int8, np.int32, np.int64, np.float32, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), plain_arrays), st.booleans())
def test_archives_come_back_as_they_were(arrays: dict[str, np.ndarray], compress: bool) -> None:
    packed = npz_bytes(arrays, compress)
    assert packed == npz_bytes({name: array.copy() for name, array in arrays.items()}, compress)
    with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
        numpys = dict(archive)
    for found in (read_npz(io.BytesIO(packed)), numpys):
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
            assert found[name].tobytes() == array.tobytes()


def test_equal_arrays_give_equal_bytes_however_they_lie_in_memory() -> None:
    array = np.arange(12).reshape(3, 4)
    spread = np.zeros((6, 8), int)[::2, ::2]
    spread[:] = array
    for other in (np.asfortranarray(array), spread, array[::-1].copy()[::-1]):
        packed = npz_bytes({"a": other})
        assert packed == npz_bytes({"a": array})
        assert np.array_equal(read_npz(io.BytesIO(packed))["a"], array)


@given(st.data(), st.booleans())
def test_a_damaged_archive_is_an_error_or_the_same_arrays(
    data: st.DataObject, compress: bool
) -> None:
    array = np.arange(40, dtype=np.int16).reshape(8, 5)
    packed = bytearray(npz_bytes({"digits": array, "texts": np.array(["007"])}, compress))
    for position in data.draw(st.lists(st.integers(0, len(packed) - 1), min_size=1, max_size=3)):
        packed[position] ^= data.draw(st.integers(1, 255))
    try:
        found = read_npz(io.BytesIO(packed[: data.draw(st.integers(0, len(packed)))] or packed))
    except ValueError as error:
        assert "no whole archive of arrays" in str(error)
    else:
        assert {"<i2", "<U3"} >= {value.dtype.str for value in found.values()}
        assert all(value.size in (1, 40) for value in found.values())


# Kernels: the same with numba, without it, and where nothing can be cached

EXERCISE = '''
import sys
import numpy as np

def exercise(core):
    """Run every kernel of core and describe what came out: values, and types of arrays."""
    u64 = np.uint64
    edges = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 0xDEADBEEFCAFEBABE]
    edges = [u64(edge) for edge in edges]
    key = core.stream_key("all", "test")
    found = {"multiply_high": [int(core.multiply_high(a, b)) for a in edges for b in edges]}
    found["philox"] = [
        [int(w) for w in core.philox(a, b, b, a, b, a)] for a in edges for b in edges
    ]
    found["random_words"] = [[int(w) for w in core.random_words(a, key, a, a)] for a in edges]
    filled = np.zeros(11, u64)
    core.fill_words(edges[-1], key, edges[-1], filled)
    found["fill_words"] = [str(filled.dtype), filled.tolist()]
    limits = [u64(v) for v in (1, 2, 3, 10, 3 * 2**61, 2**63 - 1, 2**63)]
    found["bounded"] = [
        int(core.bounded(word, limit, u64(1), key, u64(2), u64(value)))
        for word in edges for limit in limits for value in (0, 2**32 - 1)
    ]
    hashed = np.zeros(len(edges), u64)
    core.hash_words(np.array(edges, u64), u64(3), key, hashed)
    found["unit_float"] = [float(core.unit_float(word)).hex() for word in edges]
    found["hash_words"] = [str(hashed.dtype), hashed.tolist()]
    sizes = (1, 61, 1000, 10**18, 2**62)
    found["_whole_root"] = [int(core._whole_root(u64(size))) for size in sizes]
    found["_shuffle_once"] = [
        int(core._shuffle_once(u64(number), u64(8), u64(1), key)) for number in range(64)
    ]
    found["permute"] = [core.permute(size - 1, size, u64(1), key) for size in sizes]
    return found
'''
HIDDEN = """
import json, sys, warnings
warnings.simplefilter("error")
sys.modules["numba"] = None
import digitseq.core as core
assert type(core.philox).__name__ == "function", "numba was not hidden"
print(json.dumps(exercise(core)))
"""
UNWRITABLE = """
import json, os, sys
from pathlib import Path

sys.dont_write_bytecode = True
import digitseq.core as core
import numba
exercise(core)  # loads all that numba needs, while this process may still read it
del os.environ["NUMBA_CACHE_DIR"]
if len(sys.argv) > 2:
    os.environ["NUMBA_CACHE_DIR"] = sys.argv[2]
numba.config.reload_config()
for name in [name for name in sys.modules if name.split(".")[0] == "digitseq"]:
    del sys.modules[name]
package = Path(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
for folder in (package / "digitseq", Path.home()):
    assert not os.access(folder, os.W_OK), f"{folder} can be written"
sys.path.insert(0, str(package))
import digitseq.core as core
assert Path(core.__file__).parent == package / "digitseq", core.__file__
found = exercise(core)
assert core.philox.signatures, "philox was not compiled"
print(json.dumps(found))
"""


def compiled() -> dict[str, Any]:
    """Run the kernels here, where numba is."""
    space: dict[str, Any] = {}
    exec(EXERCISE, space)
    found: dict[str, Any] = space["exercise"](core)
    return found


def run_script(script: str, *arguments: Path, **environment: str | None) -> dict[str, Any]:
    """Run the kernels in a process of their own; None takes a variable out of its environment."""
    wanted = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, "-c", EXERCISE + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={name: value for name, value in wanted.items() if value is not None},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_kernel_of_core_is_exercised() -> None:
    kernels = {name for name, value in vars(core).items() if hasattr(value, "py_func")}
    assert kernels == set(compiled())


def test_without_numba_the_results_are_the_same() -> None:
    assert run_script(HIDDEN) == compiled()


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows knows no folder that its owner cannot write"
)
@pytest.mark.parametrize("cache", ["unset", "unwritable"])
def test_kernels_work_where_nothing_can_be_written(tmp_path: Path, cache: str) -> None:
    package, home = tmp_path / "package", tmp_path / "home"
    shutil.copytree(ROOT / "digitseq", package / "digitseq", ignore=lambda *_: {"__pycache__"})
    home.mkdir()
    for folder in (package / "digitseq", package, home):
        folder.chmod(0o555)
    for folder in (tmp_path, *tmp_path.parents):  # pytest's own folders are closed to others
        if os.geteuid() == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    found = run_script(
        UNWRITABLE,
        package,
        *([home] if cache == "unwritable" else []),
        HOME=str(home),
        XDG_CACHE_HOME=None,
        NUMBA_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert found == compiled()
    assert list(home.iterdir()) == []
    assert not (package / "digitseq" / "__pycache__").exists()


def test_numba_switched_off_is_numba_absent() -> None:
    code = "import digitseq.core as core; print(type(core.philox).__name__)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == "function"


def test_a_numba_that_refuses_is_told_once_and_done_without(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text('raise ImportError("Numba needs NumPy 2.4 or less")')
    code = "import digitseq.core as core; print(type(core.philox).__name__)"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "function"
    assert done.stderr.count("numba can't be used") == 1
    assert "Numba needs NumPy 2.4 or less" in done.stderr


def test_a_numba_that_is_missing_is_no_cause_for_alarm(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numba", None)
        assert core.find_numba.__wrapped__() is None
    assert caplog.records == []


def test_a_kernel_can_be_made_where_there_is_no_file() -> None:
    space: dict[str, Any] = {}
    exec("def twice(x):\n    return x + x\n", space)
    assert kernel(space["twice"])(21) == 42


# Twins: a notebook's kernels, and the package's own


OPEN = "{{k: v for k, v in vars({}).items() if not k.startswith('__')}}"


@pytest.fixture(scope="module")
def cells() -> Iterator[Callable[[str], str]]:
    """Start a notebook; gives a function that runs a cell and gives what it prints."""
    import nbformat
    from nbclient import NotebookClient

    pytest.importorskip("numba", reason="numba is not installed")
    notebook = nbformat.v4.new_notebook()
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")

    def run(source: str) -> str:
        notebook.cells.append(nbformat.v4.new_code_cell(source))
        client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
        return "".join(one.text for one in notebook.cells[-1].outputs if "text" in one)

    with client.setup_kernel():
        run("import digitseq.composing as package, digitseq.warping as other")
        run(f"globals().update({OPEN.format('package')})")
        yield run


def source_of(name: str) -> str:
    """Give the text of a kernel of the package, as it stands in a cell."""
    return inspect.getsource(getattr(composing, name).py_func)


def is_twin(cells: Callable[[str], str], source: str, name: str) -> bool:
    """Tell whether a kernel that a cell defines is the package's own."""
    cells(f"from digitseq.core import kernel, inlined\n{source}")
    return cells(f"print({name} is package.{name})").strip() == "True"


@pytest.mark.parametrize("name", ["_invert", "_lighten", "compose_bytes", "paste_row"])
def test_a_cell_that_is_no_different_gets_the_kernel_of_the_package(
    cells: Callable[[str], str], name: str
) -> None:
    assert is_twin(cells, source_of(name), name)


def test_a_changed_letter_is_compiled_and_so_is_whoever_calls_it(
    cells: Callable[[str], str],
) -> None:
    changed = source_of("_invert").replace("255", "254")
    assert changed != source_of("_invert")
    assert not is_twin(cells, changed, "_invert")
    told = cells("pixels = np.zeros(3, np.uint8)\n_invert(pixels)\nprint(pixels.tolist())")
    assert told.strip() == "[254, 254, 254]"
    assert not is_twin(cells, source_of("compose_bytes"), "compose_bytes")
    assert is_twin(cells, source_of("_invert"), "_invert")
    assert is_twin(cells, source_of("compose_bytes"), "compose_bytes")


def test_another_constant_makes_another_kernel(cells: Callable[[str], str]) -> None:
    using = next(
        name
        for name, value in vars(composing).items()
        if hasattr(value, "py_func") and "FULL" in value.py_func.__code__.co_names
    )
    assert is_twin(cells, source_of(using), using)
    cells("FULL = FULL + type(FULL)(1)")
    assert not is_twin(cells, source_of(using), using)
    cells("FULL = package.FULL")


def test_named_tuples_have_twins(cells: Callable[[str], str]) -> None:
    cells(f"globals().update({OPEN.format('other')})")
    same = inspect.getsource(Scratch).strip()
    cells(same)
    assert cells("print(Scratch is other.Scratch)").strip() == "True"
    cells(f"{same}\n    more: int = 0")
    assert cells("print(Scratch is other.Scratch, Scratch.__module__)").strip() == "False __main__"


def test_only_a_notebook_has_twins() -> None:
    assert twinned(Scratch) is Scratch
    assert list(core._namesakes(Scratch)) == []
