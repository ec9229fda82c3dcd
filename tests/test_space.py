"""Gaps: uniform among all that fit, the same from table, big integers and plain Python."""

import json
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from digitseq import spacing
from digitseq.core import stream_key
from digitseq.spacing import (
    ALIGNS,
    EQUAL,
    FILLS,
    FREE,
    JUSTIFY,
    MEASURES,
    check_fit,
    check_justify,
    check_spacing,
    choice_code,
    count_gaps,
    count_vectors,
    draw_gap_exactly,
    draw_gaps,
    draw_gaps_exactly,
    equal_gap,
    gap_choices,
    gap_distribution,
    gap_table,
    joint_table,
    least_width,
    longest_fit,
    natural_width,
    place,
    reached_states,
    shrunk_cell,
    start_of,
)

SEED = np.uint64(20260101)
KEY = stream_key("train", "spacing")
ALIGN_KEY = stream_key("train", "align")

# Every chi-square test fails a correct program with this chance, were its seed not fixed.
FALSE_ALARM = 1e-6


def draw(table, count, slack, samples, seed=SEED):
    """Gaps of many samples, shape (n, count), and what each leaves over."""
    words = np.empty(count, np.uint64)
    gaps = np.full((len(samples), count), -99, np.int32)
    rests = [
        draw_gaps(
            seed,
            KEY,
            np.uint64(index),
            count,
            table.minimum,
            table.maximum,
            slack,
            table.fill,
            table.thresholds,
            table.offsets,
            words,
            row,
        )
        for index, row in zip(samples, gaps, strict=True)
    ]
    return gaps, rests


def enumerate_vectors(count, minimum, maximum, slack, fill):
    vectors = product(range(minimum, maximum + 1), repeat=count)
    if fill == "justify":
        return [v for v in vectors if sum(v) == slack]
    return [v for v in vectors if sum(v) <= slack]


def chi_square(observed, chances, n):
    """Statistic and degrees of freedom; what has no chance must not have been observed."""
    assert set(observed) <= {outcome for outcome, chance in chances.items() if chance}
    statistic = sum(
        (observed[outcome] - n * float(chance)) ** 2 / (n * float(chance))
        for outcome, chance in chances.items()
        if chance
    )
    return statistic, sum(chance > 0 for chance in chances.values()) - 1


def assert_follows(observed, chances, n):
    statistic, freedom = chi_square(observed, chances, n)
    assert freedom > 0
    assert chi2.sf(statistic, freedom) > FALSE_ALARM


CASES = [
    (3, 0, 10, 14, "free"),
    (2, 0, 30, 25, "free"),
    (4, -3, 3, -2, "free"),
    (5, -4, -1, -12, "free"),
    (2, 0, 6, 50, "free"),  # everything fits
    (1, 2, 12, 9, "free"),
    (3, 0, 10, 14, "justify"),
    (3, 0, 10, 26, "justify"),
    (4, -2, 2, -3, "justify"),
    (2, 5, 19, 24, "justify"),
    (6, 0, 2, 7, "justify"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_fitting_vector_is_equally_likely(case):
    count, minimum, maximum, slack, fill = case
    vectors = enumerate_vectors(*case)
    table = gap_table(count, minimum, maximum, slack, slack, fill)
    n = max(4000, 20 * len(vectors))
    gaps, rests = draw(table, count, slack, range(n))
    assert rests == (slack - gaps.sum(axis=1)).tolist()
    observed = Counter(map(tuple, gaps.tolist()))
    assert_follows(observed, dict.fromkeys(vectors, Fraction(1, len(vectors))), n)


@pytest.mark.parametrize("fill", ["free", "justify"])
def test_ink_of_differing_widths_is_spaced_uniformly(fill):
    rng = np.random.default_rng(5)
    width, count, minimum, maximum = 70, 3, -4, 5
    inks = rng.integers(12, 19, (12_000, count + 1))
    slacks = width - inks.sum(axis=1)
    table = gap_table(count, minimum, maximum, width - 4 * 18, width - 4 * 12, fill)
    statistic = freedom = 0
    for slack in np.unique(slacks).tolist():
        samples = np.flatnonzero(slacks == slack)
        gaps, rests = draw(table, count, slack, samples)
        total = max(count * minimum, min(slack, count * maximum))  # the nearest that can be reached
        vectors = enumerate_vectors(count, minimum, maximum, total, fill)
        if fill == "justify":
            assert set(rests) == {slack - total}
        observed = Counter(map(tuple, gaps.tolist()))
        chances = dict.fromkeys(vectors, Fraction(1, len(vectors)))
        more, degrees = chi_square(observed, chances, len(samples))
        statistic, freedom = statistic + more, freedom + degrees
    assert freedom > 100
    assert chi2.sf(statistic, freedom) > FALSE_ALARM
    assert slacks.max() > count * maximum  # some could not be justified


@pytest.mark.parametrize("fill", ["free", "justify"])
def test_fifty_digits_have_exact_marginals(fill):
    count, slack, n = 49, 180, 8000
    gaps, _ = draw(gap_table(count, 0, 10, slack, slack, fill), count, slack, range(n))
    chances = gap_distribution(count, 0, 10, slack, fill)
    for j in (0, 24, 47, 48):
        assert_follows(Counter(gaps[:, j].tolist()), chances, n)


def chance_in_table(vector, table, slack):
    """The exact chance with which table and words give this vector."""
    chance, span = Fraction(1), table.maximum - table.minimum
    budget = slack - len(vector) * table.minimum
    for k, gap in zip(range(len(vector), 0, -1), vector, strict=True):
        low, high, even = gap_choices(k, span, budget, table.fill)
        value = gap - table.minimum
        if even:
            chance /= high - low + 1
        else:
            first = table.offsets[k, budget]
            cuts = [0, *table.thresholds[first : first + high - low].tolist(), 2**64]
            chance *= Fraction(cuts[value - low + 1] - cuts[value - low], 2**64)
        budget -= value
    return chance


@pytest.mark.parametrize("case", CASES, ids=str)
def test_table_gives_every_vector_its_chance_to_60_bits(case):
    count, minimum, maximum, slack, fill = case
    vectors = enumerate_vectors(*case)
    table = gap_table(count, minimum, maximum, slack, slack, fill)
    chances = [chance_in_table(vector, table, slack) for vector in vectors]
    assert sum(chances) == 1
    assert max(abs(chance - Fraction(1, len(vectors))) for chance in chances) < Fraction(1, 2**60)


specs = st.tuples(st.integers(0, 8), st.integers(-20, 20), st.integers(0, 25), st.integers(0, 260))


@settings(max_examples=150, deadline=None)
@given(specs, st.sampled_from(FILLS), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_every_drawn_vector_fits_and_equals_the_exact_one(spec, fill, seed, index):
    count, minimum, span, more = spec
    maximum, slack = minimum + span, count * minimum + more
    table = gap_table(count, minimum, maximum, slack, slack, fill)
    assert not table.exact
    gaps, rests = draw(table, count, slack, [index], np.uint64(seed))
    total = int(gaps.sum())
    assert gaps.size == 0 or (minimum <= gaps.min() and gaps.max() <= maximum)
    assert total <= slack and rests == [slack - total]
    if fill == "justify":
        assert total == min(slack, count * maximum)
    if fill == "equal" and count:
        assert set(gaps[0].tolist()) == {equal_gap(count, minimum, maximum, slack)}
    exact, rest = draw_gaps_exactly(
        np.uint64(seed), KEY, np.uint64(index), count, minimum, maximum, slack, fill
    )
    assert exact.dtype == gaps.dtype == np.int32
    assert np.array_equal(exact, gaps[0]) and rest == rests[0]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.integers(0, 6), st.integers(0, 60), min_size=1),
    st.integers(-5, 5),
    st.integers(0, 12),
    st.integers(0, 20),
    st.sampled_from(FILLS),
)
def test_joint_table_draws_what_each_length_draws_alone(budgets, minimum, span, spread, fill):
    slacks = {
        count: (count * minimum + more, count * minimum + more + spread)
        for count, more in budgets.items()
    }
    joint = joint_table(slacks, minimum, minimum + span, fill)
    for count, (low, high) in slacks.items():
        for slack in {low, (low + high) // 2, high}:
            own = gap_table(count, minimum, minimum + span, slack, slack, fill)
            ours, theirs = (draw(table, count, slack, range(3)) for table in (joint, own))
            assert np.array_equal(ours[0], theirs[0]) and ours[1] == theirs[1]


def test_a_row_longer_than_the_sequence_is_padded_with_zeros():
    table = gap_table(2, 3, 9, 11, 11)
    out = np.full(5, 77, np.int32)
    arrays = (table.thresholds, table.offsets, np.empty(5, np.uint64), out)
    rest = draw_gaps(SEED, KEY, np.uint64(1), 2, 3, 9, 11, FREE, *arrays)
    assert out[2:].tolist() == [0, 0, 0] and rest == 11 - out.sum()
    draw_gaps(SEED, KEY, np.uint64(1), 0, 3, 9, 11, FREE, *arrays)
    assert out.tolist() == [0] * 5


@pytest.mark.parametrize("slack", [13, 15, -1])
def test_a_slack_that_the_table_was_not_made_for_is_an_error(slack):
    with pytest.raises(ValueError, match="the table was made for"):
        draw(gap_table(3, -2, 8, 14, 14), 3, slack, [0])


def test_a_slack_without_room_takes_the_minima_and_says_what_is_missing():
    for fill in FILLS:
        gaps, rests = draw(gap_table(3, 2, 9, 0, 0, fill), 3, 0, [0])
        assert gaps.tolist() == [[2, 2, 2]] and rests == [-6]


@pytest.mark.parametrize(
    "count, span, budget",
    [(3, 10, 14), (5, 7, 20), (49, 10, 100), (49, 400, 400), (49, 400, 49 * 400 - 400)],
)
@pytest.mark.parametrize("fill", ["free", "justify"])
def test_thresholds_lie_where_big_integers_change(count, span, budget, fill):
    code = FILLS.index(fill)
    low, high, even = gap_choices(count, span, budget, code)
    assert not even
    table_row = count_gaps(count - 1, span, budget, fill)[count - 1]
    thresholds = spacing.state_thresholds(table_row, budget, low, high)
    assert len(thresholds) == high - low
    assert thresholds == sorted(thresholds) and thresholds[0] >= 0 and thresholds[-1] < 2**64
    lines = (0, 2**64, *thresholds[:: max(1, span // 15)])
    for word in sorted({line + d for line in lines for d in (-1, 0)} - {-1, 2**64}):
        value = low + sum(threshold <= word for threshold in thresholds)
        assert draw_gap_exactly(word, count, span, budget, fill) == value


def test_states_are_those_that_vectors_pass_through():
    reached = reached_states({4: (5, 7), 2: (3, 3)}, 2)
    passed = {
        (start - j, budget - sum(vector[:j]))
        for start, budget in ((4, 5), (4, 6), (4, 7), (2, 3))
        for vector in product(range(3), repeat=start)
        for j in range(start + 1)
        if sum(vector[:j]) <= budget
    }
    assert set(map(tuple, np.argwhere(reached).tolist())) == passed


def test_counts_are_what_enumeration_counts():
    for gaps, span in product(range(1, 5), range(4)):
        sums = Counter(map(sum, product(range(span + 1), repeat=gaps)))
        budgets = range(gaps * span + 3)
        exactly = [sums[budget] for budget in budgets]
        assert count_gaps(gaps, span, budgets[-1], "justify")[gaps] == exactly
        at_most = np.cumsum(exactly).tolist()
        assert count_gaps(gaps, span, budgets[-1])[gaps] == at_most
        for kind, expected in enumerate((exactly, at_most, np.cumsum(at_most).tolist())):
            assert [count_vectors(gaps, span, budget, kind) for budget in budgets] == expected
        assert count_vectors(gaps, span, -1, 1) == 0


@pytest.mark.parametrize("case", CASES, ids=str)
def test_distribution_of_every_gap(case):
    count, minimum, maximum, _, _ = case
    vectors = enumerate_vectors(*case)
    chances = gap_distribution(*case)
    assert list(chances) == list(range(minimum, maximum + 1))
    for j in range(count):
        shares = Counter(vector[j] for vector in vectors)
        assert chances == {gap: Fraction(shares[gap], len(vectors)) for gap in chances}


def test_distribution_of_equal_gaps_and_of_none():
    assert gap_distribution(3, 0, 4, 7, "equal") == {0: 0, 1: 0, 2: 1, 3: 0, 4: 0}
    for fill, slack in (("free", -1), ("justify", 13), ("equal", -1)):
        with pytest.raises(ValueError, match=str(slack)):
            gap_distribution(3, 0, 4, slack, fill)


def test_a_table_too_large_is_left_to_big_integers():
    slack = 10_000 - 50 * 28
    for fill in ("free", "justify"):
        table = gap_table(49, 0, 400, slack, slack, fill)
        assert table.exact and table.thresholds.size == 0
        with pytest.raises(ValueError, match="the table was made for"):
            draw(table, 49, slack, [0])
        for index in range(3):
            gaps, rest = draw_gaps_exactly(SEED, KEY, np.uint64(index), 49, 0, 400, slack, fill)
            assert gaps.min() >= 0 and gaps.max() <= 400
            assert rest == slack - gaps.sum() >= 0
            assert fill == "free" or rest == 0


def test_the_limit_decides_by_size_alone(monkeypatch):
    table = gap_table(4, 0, 10, 20, 20)
    monkeypatch.setattr(spacing, "TABLE_LIMIT", table.thresholds.size)
    assert not gap_table(4, 0, 10, 20, 20).exact
    monkeypatch.setattr(spacing, "TABLE_LIMIT", table.thresholds.size - 1)
    assert gap_table(4, 0, 10, 20, 20).exact
    assert not gap_table(4, 0, 10**9, 4 * 10**9, 4 * 10**9).exact  # all fits: nothing to look up
    assert not gap_table(4, 0, 10**9, 0, 10**9, "equal").exact


def test_fifty_digits_with_wide_gaps_equal_the_exact_ones():
    table = gap_table(49, -5, 35, 500, 510, "justify")
    gaps, _ = draw(table, 49, 505, range(3))
    for index in range(3):
        exact, _ = draw_gaps_exactly(SEED, KEY, np.uint64(index), 49, -5, 35, 505, "justify")
        assert np.array_equal(gaps[index], exact)


def test_every_align():
    margin, n = 6, 7000
    starts = {
        align: [
            int(start_of(code, margin, SEED, ALIGN_KEY, np.uint64(index))) for index in range(n)
        ]
        for code, align in enumerate(ALIGNS)
    }
    assert set(starts["left"]) == {0}
    assert set(starts["center"]) == {3}
    assert set(starts["right"]) == {6}
    assert_follows(Counter(starts["random"]), dict.fromkeys(range(7), Fraction(1, 7)), n)


def test_align_without_margin_and_with_a_negative_one():
    random = ALIGNS.index("random")
    for code in range(len(ALIGNS)):
        assert start_of(code, 0, SEED, ALIGN_KEY, np.uint64(3)) == 0
    drawn = {int(start_of(random, -4, SEED, ALIGN_KEY, np.uint64(i))) for i in range(200)}
    assert drawn == {-4, -3, -2, -1, 0}
    assert start_of(ALIGNS.index("center"), -5, SEED, ALIGN_KEY, np.uint64(0)) == -3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 28), st.integers(-27, 20)), min_size=1),
    st.integers(0, 3),
)
def test_placing_puts_every_gap_between_its_neighbours(digits, padding):
    n = len(digits)
    starts, widths, gaps = (np.array(column, np.int32) for column in zip(*digits, strict=True))
    room = np.zeros(padding, np.int32)
    out = np.full(n + padding, 55, np.int64)
    low, high = place(
        np.concatenate([gaps[:-1], room]),
        np.concatenate([starts, room]),
        np.concatenate([widths, room]),
        n,
        out,
    )
    left = out[:n] + starts
    assert left[0] == 0 and not out[n:].any()
    assert (left[1:] - (left + widths)[:-1]).tolist() == gaps[:-1].tolist()
    assert (low, high) == (left.min(), (left + widths).max())


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 50), st.integers(8, 300), st.integers(-27, 30), st.integers(0, 40), st.data())
def test_shrunk_cells_are_the_largest_that_fit(length, width, minimum, span, data):
    maximum = minimum + span

    def fits(cell):
        return 2 * length * cell + (length - 1) * (minimum + maximum) <= 2 * width

    try:
        cell = shrunk_cell(length, 28, width, minimum, maximum)
    except ValueError as error:
        least = int(str(error).split("at least ")[1].split()[0])
        assert not fits(8) and least > width
        assert shrunk_cell(length, 28, least, minimum, maximum) == 8
        with pytest.raises(ValueError, match=f"got {least - 1}:"):
            shrunk_cell(length, 28, least - 1, minimum, maximum)
        return
    assert 8 <= cell <= min(28, width) and fits(cell)
    assert cell == min(28, width) or not fits(cell + 1)
    count, slack = length - 1, width - length * cell
    assert slack >= count * minimum  # a gap vector fits
    index = data.draw(st.integers(0, 2**64 - 1))
    gaps, rest = draw_gaps_exactly(SEED, KEY, np.uint64(index), count, minimum, maximum, slack)
    assert rest == slack - gaps.sum() >= 0


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(0, 4),
    st.integers(3, 28),
    st.integers(-27, 12),
    st.integers(0, 12),
    st.integers(0, 260),
    st.booleans(),
)
def test_fit_is_refused_exactly_when_a_length_does_not_fit(
    shortest, more, digit, minimum, span, width, ink
):
    assume(ink or minimum > -digit)
    longest, maximum = shortest + more, minimum + span
    cell, widest = (28, digit) if ink else (digit, None)
    spec = (shortest, longest, cell, widest)

    def all_fit(width):
        return width >= digit and all(
            width - length * digit >= (length - 1) * minimum
            for length in range(shortest, longest + 1)
        )

    try:
        check_fit(*spec, width, minimum, maximum, "free")
    except ValueError as error:
        assert not all_fit(width)
        least = int(str(error).split("at least ")[1].split()[0])
        assert all_fit(least) and not all_fit(least - 1)
        check_fit(*spec, least, minimum, maximum, "equal")
        if "at most" in str(error):
            most = int(str(error).split("at most ")[1].split()[0])
            check_fit(1, most, cell, widest, width, minimum, maximum, "free")
            with pytest.raises(ValueError):
                check_fit(1, most + 1, cell, widest, width, minimum, maximum, "free")
        else:
            assert width < digit
        assert "overflow='shrink'" in str(error) and f"got {width}:" in str(error)
    else:
        assert all_fit(width)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(-7, 8),
    st.integers(0, 30),
    st.integers(8, 300),
)
def test_justify_is_refused_exactly_when_a_length_cannot_reach(
    shortest, more, minimum, span, width
):
    longest, maximum, cell = shortest + more, minimum + span, 8

    def reaches(width):
        return width >= cell and all(
            length == 1 or (length - 1) * minimum <= width - 8 * length <= (length - 1) * maximum
            for length in range(shortest, longest + 1)
        )

    possible = [w for w in range(8, 400) if reaches(w)]
    try:
        check_fit(shortest, longest, cell, None, width, minimum, maximum, "justify")
    except ValueError as error:
        assert not reaches(width)
        if "least" not in str(error):
            low, high = str(error).split("must be ")[1].split(" to justify")[0].split(" to ")
            assert (int(low), int(high)) == (possible[0], possible[-1])
            wider = int(str(error).split("up to ")[1].split(",")[0])
            check_justify(shortest, shortest, cell, width, minimum, wider)
        elif "but at least" in str(error):
            assert not possible
    else:
        assert reaches(width)


def test_ink_that_cannot_be_justified_is_no_error():
    check_fit(5, 5, 28, 20, 600, 0, 10, "justify")
    with pytest.raises(ValueError, match="at least 100 for 5 digits of 20 px .* got 99"):
        check_fit(5, 5, 28, 20, 99, 0, 10, "justify")


def test_one_digit_has_no_gap():
    for fill in FILLS:
        check_fit(1, 1, 28, None, 28, 5, 10, fill)
        check_fit(1, 1, 28, None, 500, 5, 10, fill)
        gaps, rests = draw(gap_table(0, 5, 10, 72, 72, fill), 0, 72, [0, 1])
        assert gaps.shape == (2, 0) and rests == [72, 72]
    assert natural_width(1, 28, 10) == 28 and least_width(1, 28, 5) == 28
    assert longest_fit(9, 28, 5, 27) == 0
    assert shrunk_cell(1, 28, 20, 5, 10) == 20


def test_the_natural_width_has_room_for_every_vector():
    for length, maximum in product(range(1, 7), (-27, -3, 0, 10)):
        width = natural_width(length, 28, maximum)
        assert width >= 28 and width - length * 28 == (length - 1) * maximum


@pytest.mark.parametrize(
    "spacing_given, message",
    [
        ((True, 3), "got True"),
        ((0, False), "got False"),
        ((0.0, 3), "got 0.0"),
        ((0, 3.5), "got 3.5"),
        ((float("nan"), 3), "got nan"),
        ((0, float("inf")), "got inf"),
        (("0", 3), "got '0'"),
        ((None, 3), "got None"),
        ("03", "two integers.*got '03'"),
        (b"03", "two integers"),
        (7, "two integers.*got 7"),
        (None, "two integers.*got None"),
        ({0: 1, 1: 2}, "two integers"),
        ((0,), "two integers"),
        ((0, 1, 2), "two integers"),
        (np.zeros((2, 2), int), "must be an integer"),
        (np.array(3), "two integers"),
        (np.array([0.0, 1.0]), "must be an integer"),
        ((4, 3), r"ascend, got \(4, 3\): did you mean \(3, 4\)"),
        ((-28, 0), "at least -27, got -28"),
        ((0, 2**31), "at most 2147483647, got 2147483648"),
    ],
    ids=str,
)
def test_bad_spacing_is_named(spacing_given, message):
    with pytest.raises(ValueError, match=message):
        check_spacing(spacing_given)


def test_good_spacing_becomes_python_integers():
    for given_pair in (
        (-27, 4),
        [-27, 4],
        np.array([-27, 4], np.int8),
        (np.int64(-27), np.uint8(4)),
    ):
        pair = check_spacing(given_pair)
        assert pair == (-27, 4) and [type(gap) for gap in pair] == [int, int]
    assert check_spacing((-9, -9), cell_width=10) == (-9, -9)
    with pytest.raises(ValueError, match="at least -9, got -10"):
        check_spacing((-10, 0), cell_width=10)


def test_choices_have_codes_and_errors_name_the_nearest():
    assert [choice_code(fill, "fill", FILLS) for fill in FILLS] == [FREE, JUSTIFY, EQUAL]
    with pytest.raises(ValueError, match="measure can't be 'inc': did you mean 'ink'"):
        choice_code("inc", "measure", MEASURES)
    with pytest.raises(ValueError, match="align can't be 'zzz': there are left, center"):
        choice_code("zzz", "align", ALIGNS)
    for wrong in (None, 1, True, np.array(["left"]), ["left"]):
        with pytest.raises(ValueError, match="align can't be"):
            choice_code(wrong, "align", ALIGNS)
    for call in (gap_table, lambda *spec: draw_gaps_exactly(SEED, KEY, SEED, *spec[:4], spec[5])):
        with pytest.raises(ValueError, match="did you mean 'justify'"):
            call(3, 0, 10, 5, 5, "justified")


WITHOUT_NUMBA = """
import json, sys
if sys.argv[1] == "hide":
    sys.modules["numba"] = None
import numpy as np
from digitseq import core, spacing

assert hasattr(spacing.draw_gaps, "py_func") == (sys.argv[1] == "show")
found = []
for count, low, high, slack, fill in json.loads(sys.argv[2]):
    table = spacing.gap_table(count, low, high, slack, slack, fill)
    words, out = np.empty(count, np.uint64), np.empty(count + 1, np.int32)
    found.append([str(table.thresholds.dtype), table.thresholds.tolist(), table.offsets.tolist()])
    for i in range(40):
        who = np.uint64(2**64 - 1), core.stream_key("train", "spacing"), np.uint64(i)
        rest = spacing.draw_gaps(
            *who, count, low, high, slack, table.fill, table.thresholds, table.offsets, words, out
        )
        edges = np.empty(count + 1, np.int64)
        extent = spacing.place(out, out, out, count + 1, edges)
        starts = [int(spacing.start_of(a, 40 - i, *who)) for a in range(4)]
        arrays = [str(a.dtype) + str(a.tolist()) for a in (out, edges, words)]
        found.append([int(rest), arrays, [int(end) for end in extent], starts])
print(json.dumps(found))
"""


def test_without_numba_everything_is_the_same():
    cases = json.dumps([*CASES, (3, 0, 10, 17, "equal"), (49, 0, 10, 180, "justify")])
    shown, hidden = (
        subprocess.run(
            [sys.executable, "-W", "error", "-c", WITHOUT_NUMBA, mode, cases],
            capture_output=True,
            text=True,
            check=False,
        )
        for mode in ("show", "hide")
    )
    assert shown.returncode == 0, shown.stderr
    assert hidden.returncode == 0, hidden.stderr
    assert shown.stdout == hidden.stdout
