"""map, beyond its notebook: NumPy's words as the oracle, exact chances, texts never twice."""

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import islice, pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from digitseq import mapping
from digitseq.core import Glyphs, permute, stream_key, weight_thresholds
from digitseq.mapping import (
    PARTS,
    LabelMap,
    Part,
    balanced_round,
    check_classes,
    draw_balanced,
    draw_circuit,
    draw_digits,
    draw_disjoint,
    draw_glyphs,
    draw_length,
    draw_unique,
    draw_writer,
    label_map,
    parse_digits,
    texts_part,
    texts_table,
    unique_capacity,
)

MakeGlyphs = Callable[..., Glyphs]
WORD = 2**64
u64 = np.uint64
SEED = u64(20260704)
words = st.integers(0, WORD - 1)
indices = st.integers(0, 2**62)

# Every chi-square test fails a correct program with this chance, were its seed not fixed.
FALSE_ALARM = 1e-6


def key_of(stream: str) -> np.uint64:
    return stream_key("train", stream)


def numpy_word(seed: int, key: int, index: int, draw: int, place: int = 0) -> int:
    """Ask the oracle: NumPy's Philox."""
    generator = np.random.Philox(
        key=np.array([seed, key], u64), counter=np.array([draw, index, 0, 0], u64)
    )
    return int(generator.random_raw(4)[place])


def below(limit: int, seed: int, key: int, index: int, value: int, draw: int, place: int) -> int:
    """Lemire's method in Python's integers, on NumPy's words."""
    word, attempt = numpy_word(seed, key, index, draw, place), 0
    while word * limit % WORD < WORD % limit:
        attempt += 1
        word = numpy_word(seed, key, index, (attempt << 32) + value)
    return word * limit >> 64


def assert_follows(observed: Counter[Any], weights: dict[Any, float | Fraction]) -> None:
    """Chi-square; what has no weight must not have been observed."""
    total, n = sum(weights.values()), sum(observed.values())
    chances = {outcome: weight / total for outcome, weight in weights.items() if weight}
    assert set(observed) <= set(chances)
    assert min(chances.values()) * n >= 5
    statistic = sum(
        (observed[outcome] - n * float(chance)) ** 2 / (n * float(chance))
        for outcome, chance in chances.items()
    )
    assert chi2.sf(statistic, len(chances) - 1) > FALSE_ALARM


# Texts


@given(st.text("0123456789", min_size=1))
def test_texts_are_read_as_they_are_written(text: str) -> None:
    listed = [int(character) for character in text]
    arrays = [np.array(listed, dtype) for dtype in ("int64", "uint8", ">i2")]
    for value in (text, listed, tuple(listed), list(text), *arrays):
        digits = parse_digits(value)
        assert digits.dtype == np.int8
        assert digits.tolist() == listed


@given(st.text(min_size=1), st.data())
def test_a_character_that_is_no_digit_is_found(text: str, data: st.DataObject) -> None:
    wrong = [k for k, character in enumerate(text) if character not in "0123456789"]
    if not wrong:
        assert parse_digits(text).tolist() == [int(character) for character in text]
        return
    with pytest.raises(ValueError, match=f"at position {wrong[0]}"):
        parse_digits(text)
    with pytest.raises(ValueError, match=f"at position {wrong[0]}"):
        parse_digits(list(text))


@given(
    st.lists(st.integers(0, 9), max_size=6),
    st.one_of(
        st.integers(max_value=-1),
        st.integers(min_value=10),
        st.booleans(),
        st.floats(),
        st.none(),
        st.text(min_size=2),
        st.binary(max_size=1),
        st.just(np.bool_(True)),
        st.just(np.float32(3)),
        st.just([3]),
        st.just(np.array([3])),
        st.just(""),
        st.sampled_from("٣½x²-"),
    ),
    st.lists(st.integers(0, 9), max_size=3),
)
def test_a_thing_that_is_no_digit_is_found(
    before: list[int], wrong: object, after: list[int]
) -> None:
    with pytest.raises(ValueError, match=f"at position {len(before)}"):
        parse_digits([*before, wrong, *after])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "at least one digit, got none"),
        ([], "at least one digit, got none"),
        (np.empty(0), "at least one digit, got none"),
        (2934, 'got 2934: write "007"'),
        (None, "must be a string or a list, got None"),
        (3.5, "must be a string or a list, got 3.5"),
        (True, "must be a string or a list, got True"),
        (b"12", "must be a string or a list, got b'12'"),
        ({1, 2}, "must be a string or a list"),
        ({1: 2}, "must be a string or a list"),
        (np.array([[1, 2]]), "position 0"),
        (np.array([1.0, 2.0]), "position 0 must be an integer"),
        (np.array([True]), "position 0 must be an integer"),
        ("1 2", "got ' ' at position 1"),
        ("-1", "got '-' at position 0"),
        ("12\n", r"got '\\n' at position 2"),
        ("\uff11", "at position 0"),
    ],
    ids=repr,
)
def test_what_is_no_text_is_refused(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_digits(value)
    with pytest.raises(ValueError, match="text 1: .*" + message):
        texts_table(["07", value])


@given(st.lists(st.text("0123456789", min_size=1, max_size=9), min_size=1, max_size=8))
def test_a_table_holds_every_text(texts: list[str]) -> None:
    table, lengths = texts_table(texts)
    assert (table.dtype, lengths.dtype) == (np.int8, np.int32)
    assert table.shape == (len(texts), max(map(len, texts)))
    for row, length, text in zip(table.tolist(), lengths.tolist(), texts, strict=True):
        assert "".join(map(str, row[:length])) == text
        assert set(row[length:]) <= {-1}


@pytest.mark.parametrize("texts", [[], (), np.empty((0, 3))])
def test_no_texts_are_refused(texts: Sequence[object]) -> None:
    with pytest.raises(ValueError, match="at least one text, got none"):
        texts_table(texts)


# Where the glyphs are


def group(mapped: LabelMap, number: int) -> list[int]:
    return mapped.order[mapped.starts[number] : mapped.starts[number + 1]].tolist()


label_lists = st.lists(st.integers(0, 9), min_size=1, max_size=40)


def blank_glyphs(labels: list[int], **columns: Any) -> Glyphs:
    n = len(labels)
    images = np.zeros((n, 2, 2), np.uint8)
    return Glyphs(images, np.array(labels), np.arange(n) + 100, **columns)


@given(label_lists)
def test_groups_hold_the_positions_of_their_class(labels: list[int]) -> None:
    mapped = label_map(blank_glyphs(labels))
    for digit in range(10):
        assert group(mapped, digit) == [k for k, label in enumerate(labels) if label == digit]
    assert mapped.counts().tolist() == [labels.count(digit) for digit in range(10)]
    assert (len(mapped.chances), len(mapped.writers)) == (0, 0)
    assert (mapped.order.dtype, mapped.starts.dtype) == (np.int64, np.int64)


@given(label_lists, st.data())
def test_groups_by_writer(labels: list[int], data: st.DataObject) -> None:
    n = len(labels)
    writers = data.draw(st.lists(st.sampled_from([0, 3, 7, 2**40]), min_size=n, max_size=n))
    hands = list(zip(labels, writers, strict=True))
    mapped = label_map(blank_glyphs(labels, writers=np.array(writers)), by_writer=True)
    assert mapped.writers.tolist() == sorted(set(writers))
    assert mapped.counts().shape == (len(mapped.writers), 10)
    for rank, writer in enumerate(mapped.writers.tolist()):
        for digit in range(10):
            own = [k for k, pair in enumerate(hands) if pair == (digit, writer)]
            assert group(mapped, 10 * rank + digit) == own


@given(label_lists, st.data())
def test_weighted_groups_leave_out_what_weighs_nothing(
    labels: list[int], data: st.DataObject
) -> None:
    n = len(labels)
    floats = st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.sampled_from([0.5, 1.0, 3.0]))
    weights = data.draw(st.lists(floats, min_size=n, max_size=n))
    mapped = label_map(blank_glyphs(labels, weights=np.array(weights)))
    kept = sum(weight > 0 for weight in weights)
    assert (len(mapped.order), len(mapped.chances)) == (kept, kept)
    assert mapped.chances.dtype == np.uint64
    for digit in range(10):
        own = [k for k in range(n) if labels[k] == digit and weights[k] > 0]
        assert group(mapped, digit) == own
        total, start = sum(Fraction(weights[k]) for k in own), int(mapped.starts[digit])
        for j in range(1, len(own)):
            exact = sum(Fraction(weights[k]) for k in own[:j]) / total * WORD
            assert mapped.chances[start + j - 1] == math.floor(exact)


@pytest.mark.parametrize("by_writer", [False, True])
def test_a_class_that_weighs_nothing_is_missing(make_glyphs: MakeGlyphs, by_writer: bool) -> None:
    weights = np.where(np.isin(np.arange(30) % 10, [2, 7]), 0.0, 1.5)
    mapped = label_map(make_glyphs(weights=weights, writers=np.zeros(30, int)), by_writer)
    with pytest.raises(ValueError, match="no glyph of 2, 7: add some, or give these digits"):
        check_classes(mapped, np.arange(10))
    check_classes(mapped, np.array([0, 1, 3, 4, 5, 6, 8, 9]))


def test_nothing_is_missing_where_nothing_is_asked_for(make_glyphs: MakeGlyphs) -> None:
    few = label_map(make_glyphs(4))
    check_classes(few, np.array([0, 3]))
    with pytest.raises(ValueError, match="no glyph of 4, 9"):
        check_classes(few, np.array([0, 4, 9]))


def test_one_writer_must_have_them_all(make_glyphs: MakeGlyphs) -> None:
    apart = label_map(make_glyphs(20, writers=np.arange(20) // 5), by_writer=True)
    check_classes(apart, np.arange(5))
    check_classes(apart, np.arange(5, 10))
    with pytest.raises(ValueError, match="no writer has a glyph of each of 4, 5: take a larger"):
        check_classes(apart, np.array([4, 5]))
    missing = label_map(make_glyphs(5, writers=np.zeros(5, int)), by_writer=True)
    with pytest.raises(ValueError, match="there is no glyph of 5, 6"):
        check_classes(missing, np.array([4, 5, 6]))


def test_writers_that_are_not_known_are_not_made_up(make_glyphs: MakeGlyphs) -> None:
    with pytest.raises(ValueError, match="'mine' don't say who wrote them"):
        label_map(make_glyphs(name="mine"), by_writer=True)


# Draws against NumPy


@given(words, words, indices, st.integers(1, 50), st.integers(0, 60))
def test_lengths_are_numpys(seed: int, key: int, index: int, shortest: int, more: int) -> None:
    got = draw_length(u64(seed), u64(key), u64(index), shortest, shortest + more)
    assert got == shortest + below(more + 1, seed, key, index, 0, 0, 0)


def drawn_digits(seed: int, key: int, index: int, length: int, weights: Any) -> list[int]:
    out, scratch = np.full(length + 2, -7, np.int8), np.empty(length, u64)
    outcomes, thresholds = weight_thresholds([1.0] * 10 if weights is None else weights)
    where, weighted = (u64(seed), u64(key), u64(index)), weights is not None
    draw_digits(*where, length, outcomes, thresholds, weighted, scratch, out)
    assert out[length:].tolist() == [-7, -7]
    return out[:length].tolist()


def cut(word: int, weights: Sequence[float]) -> int:
    """Find the outcome whose exact share of the words holds this one."""
    total, reached = sum(map(Fraction, weights)), Fraction(0)
    for outcome, weight in enumerate(weights):
        reached += Fraction(weight)
        if weight and word < math.floor(reached / total * WORD):
            return outcome
    raise AssertionError("a word lies above all shares")


weight_lists = st.lists(
    st.one_of(st.just(0.0), st.floats(1e-6, 1e6)), min_size=10, max_size=10
).filter(any)


@given(words, words, indices, st.integers(1, 20), st.one_of(st.none(), weight_lists))
def test_digits_are_numpys(
    seed: int, key: int, index: int, length: int, weights: list[float] | None
) -> None:
    expected = []
    for j in range(length):
        if weights is None:
            expected.append(below(10, seed, key, index, j, j // 4, j % 4))
        else:
            expected.append(cut(numpy_word(seed, key, index, j // 4, j % 4), weights))
    assert drawn_digits(seed, key, index, length, weights) == expected


def drawn_glyphs(
    mapped: LabelMap, where: tuple[int, int, int], digits: list[int], rank: int = 0
) -> list[int]:
    length = len(digits)
    out, scratch = np.full(length + 1, -7), np.empty(length, u64)
    table = (mapped.order, mapped.starts, mapped.chances, scratch, out)
    draw_glyphs(*map(u64, where), np.array(digits, np.int8), length, rank, *table)
    assert out[length] == -7
    return out[:length].tolist()


@given(words, words, indices, st.lists(st.integers(0, 9), min_size=1), st.booleans(), st.data())
def test_glyphs_are_numpys(
    seed: int, key: int, index: int, digits: list[int], weighted: bool, data: st.DataObject
) -> None:
    labels = [*range(10), *data.draw(label_lists)]
    rng = np.random.default_rng(len(labels))
    weights = rng.integers(0, 4, len(labels)) * 0.75
    weights[:10] += 1  # each digit has a glyph of some weight
    glyphs = blank_glyphs(labels, weights=weights if weighted else None)
    expected = []
    for j, digit in enumerate(digits):
        own = [k for k, label in enumerate(labels) if label == digit]
        if weighted:
            word = numpy_word(seed, key, index, j // 4, j % 4)
            expected.append(own[cut(word, weights[own].tolist())])
        else:
            expected.append(own[below(len(own), seed, key, index, j, j // 4, j % 4)])
    assert drawn_glyphs(label_map(glyphs), (seed, key, index), digits) == expected


@given(words, words, indices, st.lists(st.integers(0, 9), min_size=1, max_size=4), st.data())
def test_writers_are_numpys_first_who_can(
    seed: int, key: int, index: int, digits: list[int], data: st.DataObject
) -> None:
    owned = data.draw(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=6))
    owned.append(set(digits))
    pairs = [(label, writer) for writer, labels in enumerate(owned) for label in labels]
    labels, writers = (np.array(column) for column in zip(*pairs, strict=True))
    mapped = label_map(blank_glyphs(labels.tolist(), writers=writers), by_writer=True)
    present = [owned[writer] for writer in mapped.writers.tolist()]
    row, attempt = np.array([*digits, -1], np.int8), 0
    where = (u64(seed), u64(key), u64(index))
    rank = draw_writer(*where, row, len(digits), mapped.starts, len(present))
    while not present[below(len(present), seed, key, index, attempt, attempt, 0)] >= set(digits):
        attempt += 1
    assert rank == below(len(present), seed, key, index, attempt, attempt, 0)
    chosen = drawn_glyphs(mapped, (seed, key, index), digits, rank)
    assert labels[chosen].tolist() == digits
    assert set(writers[chosen].tolist()) == {mapped.writers[rank]}


# Draws by chi-square


def test_lengths_are_uniform() -> None:
    drawn = Counter(draw_length(SEED, key_of("length"), u64(i), 2, 8) for i in range(8000))
    assert_follows(drawn, dict.fromkeys(range(2, 9), 1))


@pytest.mark.parametrize("weights", [None, [0, 1, 2, 3, 0, 0.5, 0.25, 8, 1e-9, 1]])
def test_digits_have_their_chances_at_every_place(weights: list[float] | None) -> None:
    key = int(key_of("digits"))
    rows = [drawn_digits(int(SEED), key, index, 6, weights) for index in range(4000)]
    chances = dict(enumerate([1] * 10 if weights is None else weights))
    if weights is not None:
        assert chances.pop(8) == 1e-9  # too rare to be met; what is met of it is an error
    for column in zip(*rows, strict=True):
        assert_follows(Counter(column), chances)
    if weights is None:
        pairs = Counter(pair for row in rows for pair in pairwise(row))
        assert_follows(pairs, dict.fromkeys(product(range(10), repeat=2), 1))


@pytest.mark.parametrize("weighted", [False, True])
def test_glyphs_have_their_chances(weighted: bool) -> None:
    labels = [3] * 5 + [7] * 8
    weights = [1, 0, 2, 4, 0.5, *[k % 3 for k in range(8)]]
    glyphs = blank_glyphs(labels, weights=np.array(weights, float) if weighted else None)
    mapped, key = label_map(glyphs), int(key_of("glyphs"))
    rows = [drawn_glyphs(mapped, (int(SEED), key, i), [3, 7, 3, 3, 7]) for i in range(5000)]
    for column, digit in zip(zip(*rows, strict=True), (3, 7, 3, 3, 7), strict=True):
        chances = {k: weights[k] if weighted else 1 for k in range(13) if labels[k] == digit}
        assert_follows(Counter(column), chances)


def test_weights_of_joined_sets_are_followed(make_glyphs: MakeGlyphs) -> None:
    parts = [make_glyphs(n, ids=np.arange(n) + 100 * n) for n in (10, 30)]
    joined = Glyphs.concat(parts, weights=[3, 1])
    mapped, key = label_map(joined), int(key_of("glyphs"))
    drawn = Counter(drawn_glyphs(mapped, (int(SEED), key, i), [4])[0] for i in range(6000))
    assert_follows(drawn, {4: 3, 14: Fraction(1, 3), 24: Fraction(1, 3), 34: Fraction(1, 3)})


def test_every_able_writer_is_equally_likely() -> None:
    owned = [(0, 1), (0,), (1, 2), (0, 1, 2), (2,), (1, 0)]
    pairs = [(label, writer) for writer, labels in enumerate(owned) for label in labels]
    labels, writers = (np.array(column) for column in zip(*pairs, strict=True))
    starts = label_map(blank_glyphs(labels.tolist(), writers=writers), by_writer=True).starts
    for digits, able in (([1, 0, 1], (0, 3, 5)), ([2, 2], (2, 3, 4)), ([0, 1, 2], (3,))):
        row = np.array(digits, np.int8)
        drawn = Counter(
            draw_writer(SEED, key_of("writer"), u64(i), row, len(row), starts, len(owned))
            for i in range(3000)
        )
        if len(able) > 1:
            assert_follows(drawn, dict.fromkeys(able, 1))
        assert set(drawn) == set(able)


# Permutations


def permuted(size: int, numbers: Sequence[int], seed: int = 5, key: int = 6) -> list[int]:
    return [permute(number, size, u64(seed), u64(key)) for number in numbers]


@pytest.mark.parametrize("sizes", [range(1, 301), (999, 1000, 1001, 1024, 1025, 4095, 4096, 5000)])
def test_every_permutation_is_one(sizes: Sequence[int]) -> None:
    for size in sizes:
        assert sorted(permuted(size, range(size), seed=size)) == list(range(size))


LARGE = [10**6, 2**31, 2**32, 2**32 + 1, 10**18, (2**31 - 1) ** 2, 2**62 - 1, 2**62]


@pytest.mark.parametrize("size", LARGE)
def test_large_permutations_stay_in_range_and_never_repeat(size: int) -> None:
    ends = [*range(1000), *range(size - 1000, size)]
    spread = [k * (size // 1000) + 500 for k in range(1, 999)]
    found = permuted(size, ends + spread)
    assert {type(number) for number in found} == {int}
    assert min(found) >= 0
    assert max(found) < size
    assert len(set(found)) == len(set(ends + spread))
    for part in (found[:1000], found[1000:2000], found[2000:]):  # neighbours go everywhere
        assert_follows(Counter(number * 10 // size for number in part), dict.fromkeys(range(10), 1))
        assert_follows(Counter(number % 8 for number in part), dict.fromkeys(range(8), 1))


def test_the_order_of_four_is_any_of_24() -> None:
    orders = Counter(tuple(permuted(4, range(4), seed=seed)) for seed in range(4800))
    assert len(orders) == 24
    assert_follows(orders, dict.fromkeys(orders, 1))


def test_permutations_look_random() -> None:
    size, n = 1000, 1000
    found = np.array(permuted(size, range(size)))
    fixed = int((found == np.arange(n)).sum())
    assert fixed < 15  # Poisson with mean 1: more than that has a chance of 1e-13
    assert abs(np.corrcoef(found, np.arange(n))[0, 1]) < 5 / math.sqrt(n)
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 5 / math.sqrt(n)
    steps = Counter(((found[1:] - found[:-1]) % size * 10 // size).tolist())
    assert_follows(steps, dict.fromkeys(range(10), 1))
    for other in ({"seed": 6}, {"key": 7}):
        assert (np.array(permuted(size, range(size), **other)) == found).sum() < 15


# Unique texts


def unique(index: int, shortest: int, longest: int, seed: np.uint64 = SEED) -> str:
    out = np.full(longest, -7, np.int8)
    length = draw_unique(seed, key_of("unique"), u64(index), shortest, longest, out)
    assert shortest <= length <= longest
    assert set(out[length:].tolist()) <= {-7}
    digits = out[:length].tolist()
    assert all(0 <= digit <= 9 for digit in digits)
    return "".join(map(str, digits))


SMALL = [(1, 1), (2, 2), (3, 3), (1, 2), (1, 3), (2, 3), (4, 4)]


@pytest.mark.parametrize("lengths", SMALL, ids=str)
def test_all_texts_come_and_none_twice(lengths: tuple[int, int]) -> None:
    shortest, longest = lengths
    capacity = sum(10**length for length in range(shortest, longest + 1))
    assert unique_capacity(shortest, longest) == capacity
    found = [unique(index, shortest, longest) for index in range(capacity)]
    every = [
        "".join(text)
        for length in range(shortest, longest + 1)
        for text in product("0123456789", repeat=length)
    ]
    assert sorted(found) == sorted(every)


def water_filled(count: int, shortest: int, longest: int) -> dict[int, int]:
    """Hand texts out to the lengths in turns; a length that has no more is passed over."""
    lengths, dealt = range(shortest, longest + 1), dict.fromkeys(range(shortest, longest + 1), 0)
    while count:
        open_ones = [length for length in lengths if dealt[length] < 10 ** min(length, 18)]
        turns = min(count // len(open_ones), min(10 ** min(n, 18) - dealt[n] for n in open_ones))
        if not turns:
            break
        for length in open_ones:
            dealt[length] += turns
            count -= turns
    return dealt


@pytest.mark.parametrize("lengths", [(1, 3), (1, 2), (2, 4), (1, 6), (3, 9), (1, 50), (18, 20)])
@pytest.mark.parametrize("count", [7, 30, 100, 1100, 2500])
def test_lengths_are_as_even_as_their_texts_allow(lengths: tuple[int, int], count: int) -> None:
    shortest, longest = lengths
    count = min(count, unique_capacity(shortest, longest))
    found = Counter(len(unique(index, shortest, longest)) for index in range(count))
    even = water_filled(count, shortest, longest)
    assert sum(found.values()) == count
    for length in range(shortest, longest + 1):
        # the last, unfinished turn may give a length one more
        assert 0 <= found[length] - even[length] <= 1


@pytest.mark.parametrize(
    "lengths", [(7, 7), (18, 18), (19, 19), (25, 25), (50, 50), (1, 50), (17, 19)]
)
def test_long_texts_never_repeat_and_look_random(lengths: tuple[int, int]) -> None:
    shortest, longest = lengths
    last = unique_capacity(shortest, longest) - 1
    numbers = sorted({*range(1500), *range(last - 500, last + 1)})
    found = [unique(number, shortest, longest) for number in numbers]
    assert len(set(found)) == len(numbers)
    of_one_length = [text for text in found if len(text) == longest]
    if shortest == longest:
        for place in range(longest):
            drawn = Counter(text[place] for text in of_one_length)
            assert_follows(drawn, dict.fromkeys("0123456789", 1))
    told = Counter(text[:18] for text in found if len(text) >= 18)
    if shortest == longest:
        assert max(told.values(), default=1) == 1  # the first 18 digits alone tell them apart


def test_other_seeds_and_more_samples() -> None:
    first = [unique(index, 2, 4) for index in range(200)]
    assert first == [unique(index, 2, 4) for index in range(200)]
    other = [unique(index, 2, 4, u64(1)) for index in range(200)]
    assert sum(a == b for a, b in zip(first, other, strict=True)) < 20


@given(st.integers(1, 60), st.integers(0, 60))
def test_capacity_is_counted_up_to_18_digits(shortest: int, more: int) -> None:
    lengths = range(shortest, shortest + more + 1)
    texts = sum(10 ** min(length, 18) for length in lengths)
    assert unique_capacity(shortest, shortest + more) == min(texts, 2**62)


# Texts that no two splits share


def shuffled(number: int, size: int, seed: int, key: int) -> int:
    """Eight Feistel rounds on NumPy's words, walked until the number is below the size."""
    base = math.isqrt(size - 1) + 1
    while True:
        left, right = divmod(number, base)
        for turn in range(8):
            word = numpy_word(seed, key, right, turn)
            left, right = right, (left + (word * base >> 64)) % base
        number = left * base + right
        if number < size:
            return number


def listed(size: int, part: Part, count: int) -> list[int]:
    """The first numbers of a part, found by looking at each number below the size."""
    numbers = (k for k in range(size) if 0 <= k % part.step - part.first < part.width)
    return list(islice(numbers, count))


def disjoint_oracle(
    index: int, shortest: int, longest: int, part: Part, seed: int, key: int, shared: int
) -> str:
    """Deal out texts one by one, from lists of those that the part has of each length."""
    lengths, row = list(range(shortest, longest + 1)), 0
    while True:  # one round after another
        able = [n for n in lengths if len(listed(10 ** min(n, 18), part, row + 1)) > row]
        if index < len(able):
            break
        index, row = index - len(able), row + 1
    length = able[0] + shuffled(index, len(able), seed, key ^ row)
    told = min(length, 18)
    number = listed(10**told, part, row + 1)[row]
    text = f"{shuffled(number, 10**told, seed, shared ^ (length << 40)):0{told}d}"
    return text


def disjoint(
    index: int, shortest: int, longest: int, part: Part, seed: int, key: int, shared: int
) -> str:
    out = np.full(longest, -7, np.int8)
    where = (u64(seed), u64(key), u64(shared), u64(index), shortest, longest, part)
    length = draw_disjoint(*where, out)
    assert set(out[length:].tolist()) <= {-7}
    assert set(out[:length].tolist()) <= set(range(10))
    return "".join(map(str, out[:length]))


parts_of_all = st.one_of(
    st.sampled_from([*PARTS.values(), Part(0, 1, 1)]), st.text(max_size=8).map(texts_part)
)


@given(st.integers(0, 90), st.integers(1, 4), st.integers(0, 3), parts_of_all, words, words, words)
def test_disjoint_texts_are_the_oracles(
    index: int, shortest: int, more: int, part: Part, seed: int, key: int, shared: int
) -> None:
    longest = shortest + more
    index %= max(1, unique_capacity(shortest, longest, part))
    if unique_capacity(shortest, longest, part):
        case = (index, shortest, longest, part, seed, key, shared)
        assert disjoint(*case) == disjoint_oracle(*case)


@given(st.integers(0, 30), st.integers(18, 23), st.sampled_from([*PARTS.values()]), words, words)
def test_long_disjoint_texts_begin_as_the_oracles(
    index: int, length: int, part: Part, seed: int, shared: int
) -> None:
    text = disjoint(index, length, length, part, seed, 3, shared)
    begun = disjoint_oracle(index, length, length, part, seed, 3, shared)
    rest = [below(10, seed, 3, index, 8 + j, 8 + j, 0) for j in range(18, length)]
    assert text == begun + "".join(map(str, rest))


@given(st.integers(1, 6), st.text(max_size=30))
def test_a_part_has_as_many_texts_as_it_says(length: int, split: str) -> None:
    part = texts_part(split)
    assert unique_capacity(length, length, part) == len(listed(10**length, part, 10**6))


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_other_names_stay_out_of_the_four(names: list[str]) -> None:
    four = {k for part in PARTS.values() for k in listed(1000, part, 1000)}
    assert len(four) == 900
    for name in set(names) - set(PARTS):
        own = listed(1000, texts_part(name), 1000)
        assert len(own) == 1 and not four & set(own)


# Every pair of neighbours


def circuit_oracle(seed: int, key: int, turn: int, number: int, start: int) -> list[int]:
    """A drunkard's first visits are the last ways out, turned round; the rest are shuffled."""
    value, at, last = number << 12, start, dict[int, int]()

    def draw(limit: int) -> int:
        nonlocal value
        value += 1
        return below(limit, seed, key, turn, value - 1, value - 1, 0)

    while len(last) < 9:
        to = draw(10)
        if to != start:
            last.setdefault(to, at)
        at = to
    exits = []
    for digit in range(10):
        rest = [to for to in range(10) if to != last.get(digit)]
        for k in range(len(rest) - 1, 0, -1):
            j = draw(k + 1)
            rest[k], rest[j] = rest[j], rest[k]
        exits.append(rest + ([last[digit]] if digit in last else []))
    line = [start]
    for _ in range(100):
        line.append(exits[line[-1]].pop(0))
    return line


def circuit_of(seed: int, key: int, turn: int, number: int, start: int) -> list[int]:
    exits, line = np.full((11, 10), 99, np.int8), np.full(101, 99, np.int8)
    draw_circuit(u64(seed), u64(key), u64(turn), number, start, exits, line)
    return line.tolist()


circuits = st.tuples(words, words, indices, st.integers(0, 998), st.integers(0, 9))


@settings(max_examples=30)
@given(circuits)
def test_circuits_are_the_oracles_and_take_every_pair_once(case: tuple[int, ...]) -> None:
    line = circuit_of(*case)
    assert line == circuit_oracle(*case)
    assert set(pairwise(line)) == set(product(range(10), repeat=2))


def test_every_circuit_is_equally_likely() -> None:
    """The last ways out are a uniform tree: by Cayley's formula, of the nine points that could hang
    from the root all but one do so with a chance of 1/10. All other ways are alike."""
    hanging, second, middle = Counter[int](), Counter[int](), Counter[int]()
    for turn in range(4000):
        line = circuit_of(int(SEED), 5, turn, 0, 3)
        last = dict(pairwise(line))
        hanging[min(4, sum(last[digit] == 3 for digit in range(10) if digit != 3) - 1)] += 1
        second[line[1]] += 1
        middle[line[50]] += 1
    weights = {k: math.comb(8, k) * 9 ** (8 - k) for k in range(9)}
    few = {k: weights[k] for k in range(4)} | {4: sum(weights[k] for k in range(4, 9))}
    assert_follows(hanging, few)
    assert_follows(second, dict.fromkeys(range(10), 1))
    del middle[3]  # where it starts, it comes by less often
    assert_follows(middle, dict.fromkeys(set(range(10)) - {3}, 1))


@settings(max_examples=30)
@given(words, words, indices, st.integers(2, 400))
def test_balanced_texts_are_pieces_of_circuits(
    seed: int, key: int, index: int, length: int
) -> None:
    texts, times = balanced_round(length)
    turn, piece = divmod(index, texts)
    start = below(10, seed, key, turn, 2**32 - 1, 2**32 - 1, 0)
    begin = shuffled(piece, texts, seed, key ^ (WORD - 1) ^ turn) * (length - 1)
    whole = [start]
    for number in range(begin // 100, (begin + length - 2) // 100 + 1):
        assert number < times
        whole += circuit_of(seed, key, turn, number, start)[1:]
    exits, circuit = np.zeros((11, 10), np.int8), np.zeros(101, np.int8)
    out = np.full(length, 99, np.int8)
    draw_balanced(u64(seed), u64(key), u64(index), length, texts, exits, circuit, out)
    assert out.tolist() == whole[begin % 100 : begin % 100 + length]


# Without numba


WITHOUT_NUMBA = """
import json, sys
if sys.argv[1] == "hide":
    sys.modules["numba"] = None
import numpy as np
from digitseq import mapping
from digitseq.core import Glyphs, permute, stream_key, weight_thresholds

assert hasattr(mapping.draw_unique, "py_func") == (sys.argv[1] == "show")
n, u64 = 60, np.uint64
rng = np.random.default_rng(1)
columns = {"writers": np.arange(n) // 20, "weights": rng.integers(1, 5, n) * 0.5}
labels, ids, images = np.arange(n) % 10, np.arange(n), np.zeros((n, 2, 2), np.uint8)
sets = [Glyphs(images, labels, ids), Glyphs(images, labels, ids, **columns)]
maps = [mapping.label_map(one, by_writer=one.writers is not None) for one in sets]
spread = weight_thresholds([0, 1, 2, 3, 0, 0.5, 0.25, 8, 1e-9, 1])
even = weight_thresholds([1.0] * 10)
found = []
for i in range(60):
    who = u64(2**64 - 1 - i), stream_key("train", "test"), u64(i << 20)
    length = mapping.draw_length(*who, 1, 9)
    words, digits = np.empty(length + 2, u64), np.full(length, -1, np.int8)
    positions, row = np.full(length, -1, np.int64), np.full(30, -1, np.int8)
    for outcomes, thresholds, weighted in ((*even, False), (*spread, True)):
        mapping.draw_digits(*who, length, outcomes, thresholds, weighted, words, digits)
        found += [str(a.dtype) + str(a.tolist()) for a in (words[:length], digits)]
        for one in maps:
            rank = 0
            if len(one.writers):
                rank = mapping.draw_writer(*who, digits, length, one.starts, len(one.writers))
            table = (one.order, one.starts, one.chances)
            mapping.draw_glyphs(*who, digits, length, rank, *table, words, positions)
            found.append([rank, str(positions.dtype), positions.tolist()])
    numbers = [permute(i, size, *who[:2]) for size in (61, 1000, 10**18, 2**62)]
    texts = [mapping.draw_unique(*who, *lengths, row) for lengths in ((1, 30), (19, 30), (5, 8))]
    found.append([numbers, texts, row.tolist(), type(length).__name__])
    part = mapping.texts_part(f"s{i}")
    scratch = np.zeros((11, 10), np.int8), np.zeros(101, np.int8)
    length = mapping.draw_disjoint(*who[:2], u64(i), who[2], 4, 30, part, row)
    mapping.draw_balanced(*who, 30, 100, *scratch, row[:30])
    found.append([length, row.tolist()])
print(json.dumps(found))
"""


def test_without_numba_everything_is_the_same() -> None:
    shown, hidden = (
        subprocess.run(
            [sys.executable, "-W", "error", "-c", WITHOUT_NUMBA, mode],
            capture_output=True,
            text=True,
            check=False,
        )
        for mode in ("show", "hide")
    )
    assert shown.returncode == 0, shown.stderr
    assert hidden.returncode == 0, hidden.stderr
    assert len(json.loads(shown.stdout)) == 60 * 10
    assert shown.stdout == hidden.stdout


def test_rounds_are_a_part_of_the_stream() -> None:
    assert mapping.ROUNDS == 8  # another number would change every unique text
