"""The report on a reader: planted faults are found, and nothing is found where there is none."""

import json
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from digitseq import inspecting
from digitseq.core import Glyphs, Sample
from digitseq.generating import DigitSequences
from digitseq.inspecting import (
    align,
    all_groups,
    behaviour_report,
    dealt,
    ink_gaps,
    read_all,
    seen_groups,
    stroke_groups,
    stroke_of,
    sweep,
)
from digitseq.loading import load_sample
from digitseq.saving import load, save
from digitseq.scoring import wilson
from digitseq.specifying import SequenceSpec

Fault = Callable[[Sample, int], str]  # what a digit of a sample is read as
digits = st.text("0123456789", max_size=7)


@pytest.fixture(scope="module")
def ds() -> DigitSequences:
    """Make a data set that touches, leans and begins with zeros."""
    augment = {"rotation_range": 25, "shear_range": 10, "zoom_range": 0.1}
    spec = SequenceSpec(2000, (2, 6), 220, spacing=(-8, 10), augment=augment, seed=5)
    return DigitSequences(load_sample(), spec)


def reader(ds: DigitSequences, fault: Fault, seed: int = 1, often: float = 0.2) -> Any:
    """Make a reader that errs twice in a hundred, and by its fault in one case of five."""
    rng, batch, start = np.random.default_rng(seed), ds[:], 0

    def spoil(sample: Sample, k: int) -> str:
        digit = sample.text[k]
        if rng.random() < often and (bad := fault(sample, k)) != digit:
            return bad
        return str(rng.integers(10)) if rng.random() < 0.02 else digit

    def predict(images: np.ndarray) -> list[str]:
        nonlocal start
        samples = [batch[k % len(batch)] for k in range(start, start + len(images))]
        start += len(images)
        return ["".join(spoil(one, k) for k in range(one.length)) for one in samples]

    return predict


def none(sample: Sample, k: int) -> str:
    return sample.text[k]


def confuses_four_and_nine(sample: Sample, k: int) -> str:
    return {"4": "9", "9": "4"}.get(sample.text[k], sample.text[k])


def touches(sample: Sample, k: int) -> bool:
    boxes = sample.boxes[: sample.length]
    left = k > 0 and boxes[k, 0] <= boxes[k - 1, 2]
    return bool(left or (k + 1 < sample.length and boxes[k + 1, 0] <= boxes[k, 2]))


def misses_touching(sample: Sample, k: int) -> str:
    return "" if touches(sample, k) else sample.text[k]


def drops_a_leading_zero(sample: Sample, k: int) -> str:
    return "" if k == 0 and sample.text[0] == "0" else sample.text[k]


def fails_beyond_fifteen_degrees(sample: Sample, k: int) -> str:
    leans = abs(sample.factors["augment.theta"][k]) > 15
    return str((int(sample.text[k]) + 1) % 10) if leans else sample.text[k]


def loses_the_last(sample: Sample, k: int) -> str:
    return "" if k == sample.length - 1 else sample.text[k]


def sees_twins_as_one(sample: Sample, k: int) -> str:
    return "" if k and sample.text[k] == sample.text[k - 1] else sample.text[k]


def adds_a_one_after_sevens(sample: Sample, k: int) -> str:
    return sample.text[k] + "1" * (sample.text[k] == "7")


def other(digit: str) -> str:
    return str((int(digit) + 3) % 10)


def fails_on_long_strings(sample: Sample, k: int) -> str:
    return other(sample.text[k]) if sample.length == 6 else sample.text[k]


def fails_on_short_strings(sample: Sample, k: int) -> str:
    return other(sample.text[k]) if sample.length == 2 else sample.text[k]


def misreads_large(sample: Sample, k: int) -> str:
    return "8" if sample.factors["augment.zx"][k] < 0.95 else sample.text[k]


def reads_threes_twice(sample: Sample, k: int) -> str:
    return sample.text[k] * (1 + (sample.text[k] == "3"))


def stroke(sample: Sample, k: int) -> tuple[float, float]:
    x0, y0, x1, y1 = sample.boxes[k]
    return stroke_of(sample.image[y0:y1, x0:x1] > 127)


def misreads_thick(sample: Sample, k: int) -> str:
    return other(sample.text[k]) if stroke(sample, k)[0] > 4.6 else sample.text[k]


def misreads_slanted(sample: Sample, k: int) -> str:
    return other(sample.text[k]) if stroke(sample, k)[1] > 18 else sample.text[k]


def misreads_narrow(sample: Sample, k: int) -> str:
    x0, _, x1, _ = sample.boxes[k]
    return other(sample.text[k]) if 0 < x1 - x0 < 8 else sample.text[k]


FAULTS: dict[str, tuple[Fault, set[str]]] = {
    "fours and nines": (confuses_four_and_nine, {"digit 4", "digit 9"}),
    "touching": (misses_touching, {"ink gap touching"}),
    "leading zero": (drops_a_leading_zero, {"first digit 0"}),
    "fifteen degrees": (fails_beyond_fifteen_degrees, {"size of augment.theta"}),
    "the last": (loses_the_last, {"place from the right 1"}),
    "large": (misreads_large, {"augment.zx below"}),
    "twins": (sees_twins_as_one, {"pair "}),
    "ones after sevens": (adds_a_one_after_sevens, {"digit 7"}),
    "long strings": (fails_on_long_strings, {"length 6"}),
    "short strings": (fails_on_short_strings, {"length 2"}),
    "threes twice": (reads_threes_twice, {"digit 3"}),
    "thick strokes": (misreads_thick, {"ink thickness"}),
    "slanted digits": (misreads_slanted, {"ink slant"}),
    "narrow digits": (misreads_narrow, {"ink width"}),
}


@pytest.fixture(scope="module")
def pages() -> DigitSequences:
    """Make a data set on cheques."""
    return DigitSequences(load_sample(), SequenceSpec(2500, (2, 6), 160, 32, page="cheque", seed=6))


def reads_dashes(sample: Sample, k: int) -> str:
    dashed = sample.factors["page.after"] == ord("-") and k == sample.length - 1
    return sample.text[k] + "1" * int(dashed)


def misreads_drawn(name: str, digit: str, as_digit: str) -> Fault:
    """Misread digits that a stroke was added to."""

    def fault(sample: Sample, k: int) -> str:
        added = sample.text[k] == digit and sample.factors[f"page.{name}"][k] > 0
        return as_digit if added else sample.text[k]

    return fault


def fails_in_frames(sample: Sample, k: int) -> str:
    return other(sample.text[k]) if sample.factors["page.frame"] > 0 else sample.text[k]


def reads_dots(sample: Sample, k: int) -> str:
    right = sample.length - 1 - k
    dotted = sample.factors["page.thousands"] == ord(".") and right > 0 and right % 3 == 0
    return sample.text[k] + "1" * int(dotted)


def reads_signs_before(sample: Sample, k: int) -> str:
    return "5" * int(k == 0 and sample.factors["page.before"] > 0) + sample.text[k]


def fails_beside_a_dollar(sample: Sample, k: int) -> str:
    dollar = sample.factors["page.before"] == ord("$")
    return other(sample.text[k]) if dollar else sample.text[k]


SIGN_FAULTS: dict[str, tuple[Fault, str]] = {
    "dashes read as ones": (reads_dashes, "page.after -, beside it"),
    "dots read as ones": (reads_dots, "page.thousands ., beside it"),
    "signs read as fives": (reads_signs_before, "page.before some, beside it"),
    "lines with a dollar": (fails_beside_a_dollar, "page.before $"),
    "flagged ones read as sevens": (misreads_drawn("flag", "1", "7"), "page.flag some"),
    "crossed sevens read as fours": (misreads_drawn("crossed", "7", "4"), "page.crossed some"),
    "tailed nines read as fives": (misreads_drawn("tail", "9", "5"), "page.tail some"),
    "frames": (fails_in_frames, "page.frame some"),
}


@pytest.mark.parametrize("name", SIGN_FAULTS)
def test_a_fault_with_signs_and_strokes_comes_first(pages: DigitSequences, name: str) -> None:
    fault, expected = SIGN_FAULTS[name]
    first = behaviour_report(reader(pages, fault), pages, count=2500).findings[0]
    assert f"{first.what} {first.which}" == expected
    assert first.interval[0] > first.others[1]


def fails_at_the_right_edge(sample: Sample, k: int) -> str:
    return other(sample.text[k]) if sample.boxes[k, 2] > 140 else sample.text[k]


def fails_at_the_left_edge(sample: Sample, k: int) -> str:
    return "" if sample.boxes[k, 0] < 22 else sample.text[k]


def misreads_low_digits(sample: Sample, k: int) -> str:
    low = sample.boxes[k, 3] - sample.boxes[k, 1] < 15
    return other(sample.text[k]) if low else sample.text[k]


SEEN_FAULTS: dict[str, tuple[Fault, str, str]] = {
    "right edge": (fails_at_the_right_edge, "from the right edge", "below"),
    "left edge": (fails_at_the_left_edge, "from the left edge", "below"),
    "low digits": (misreads_low_digits, "ink height", "below"),
}


@pytest.mark.parametrize("name", SEEN_FAULTS)
def test_a_fault_that_shows_comes_first(pages: DigitSequences, name: str) -> None:
    fault, what, which = SEEN_FAULTS[name]
    first = behaviour_report(reader(pages, fault), pages, count=2500).findings[0]
    assert (first.what, first.which.split()[0]) == (what, which)
    assert first.interval[0] > first.others[1]


def if_it(strikes: Callable[[Sample, int], bool]) -> Fault:
    """Misread the digits that something is true of."""
    return lambda sample, k: other(sample.text[k]) if strikes(sample, k) else sample.text[k]


def gap_before(sample: Sample, k: int) -> int:
    return int(sample.boxes[k, 0] - sample.boxes[k - 1, 2]) if k else 0


def after_a_dot(sample: Sample, k: int) -> bool:
    return bool(k and (sample.length - k) % 3 == 0 and sample.factors["page.thousands"] > 0)


def swaps_the_last_two(sample: Sample, k: int) -> str:
    right = sample.length - 1 - k
    return sample.text[k + 1 - 2 * (right == 0)] if right < 2 else sample.text[k]


OTHER_FAULTS: dict[str, tuple[Fault, str]] = {
    "five and more": (if_it(lambda s, k: s.length >= 5), "lengths beyond 4"),
    "three and less": (if_it(lambda s, k: s.length <= 3), "lengths up to 3"),
    "from the fifth on": (if_it(lambda s, k: k >= 4), "places beyond 4"),
    "the last two swapped": (swaps_the_last_two, "places from the right up to 2"),
    "after a nought": (if_it(lambda s, k: k > 0 and s.text[k - 1] == "0"), "after digit 0"),
    "before a one": (if_it(lambda s, k: s.text[k + 1 : k + 2] == "1"), "before digit 1"),
    "after a wide gap": (if_it(lambda s, k: gap_before(s, k) > 9), "ink gap before "),
    "upper edge": (if_it(lambda s, k: s.boxes[k, 3] > 0 and s.boxes[k, 1] < 3), "from the upper"),
    "after a dot": (if_it(after_a_dot), "page.thousands some, after it"),
}


@pytest.mark.parametrize("name", OTHER_FAULTS)
def test_a_fault_of_another_kind_comes_first(pages: DigitSequences, name: str) -> None:
    fault, expected = OTHER_FAULTS[name]
    first = behaviour_report(reader(pages, fault), pages, count=2500).findings[0]
    assert f"{first.what} {first.which}".startswith(expected), str(first)
    assert first.interval[0] > first.others[1]


def test_a_writer_and_a_glyph_that_are_always_misread_come_first() -> None:
    some = load_sample().subset(range(0, 5000, 50))
    ds = DigitSequences(some, SequenceSpec(2000, 4, seed=2))
    glyph = int(some.ids[17])
    first = behaviour_report(reader(ds, if_it(lambda s, k: s.sources[k] == glyph)), ds).findings[0]
    assert (first.what, first.which) == ("glyph", str(glyph))
    ids = np.arange(5000)
    known = Glyphs(load_sample().images, load_sample().labels, ids, writers=ids % 50)
    ds = DigitSequences(known, SequenceSpec(2000, 4, writer="same", seed=2))
    fault = if_it(lambda s, k: s.factors["writer"] == 31)
    first = behaviour_report(reader(ds, fault), ds).findings[0]
    assert (first.what, first.which) == ("writer", "31")


def test_strokes_are_measured_where_no_pen_is_on_record() -> None:
    ds = DigitSequences(load_sample(), SequenceSpec(2000, 4, page="mnist", seed=4))
    assert "page.thickness" not in ds[0].factors
    first = behaviour_report(reader(ds, misreads_thick), ds).findings[0]
    assert first.what == "ink thickness" and first.which.endswith("or more")


def test_what_a_reader_does_to_its_images_changes_nothing(pages: DigitSequences) -> None:
    honest = reader(pages, confuses_four_and_nine)

    def spoils(images: np.ndarray) -> list[str]:
        texts = [f" {text}\n" for text in honest(images)]  # as a command prints them
        images[:] = 0
        return texts

    spoilt = behaviour_report(spoils, pages, count=500)
    assert spoilt == behaviour_report(reader(pages, confuses_four_and_nine), pages, count=500)


@pytest.mark.parametrize("wrong", [np.array("12"), [True], [False]])
def test_one_text_for_all_and_switches_are_no_texts(pages: DigitSequences, wrong: Any) -> None:
    with pytest.raises(ValueError, match="predict must give"):
        behaviour_report(lambda images: wrong, pages, count=1)


def wrong_if(name: str, beyond: float) -> Fault:
    """Misread digits whose property is beyond a value; below minus it, if that is negative."""

    def fault(sample: Sample, k: int) -> str:
        drawn = np.broadcast_to(sample.factors[f"page.{name}"], sample.digits.shape)[k]
        struck = drawn > beyond if beyond > 0 else drawn < -beyond
        return str((int(sample.text[k]) + 3) % 10) if struck else sample.text[k]

    return fault


PAGE_FAULTS = {
    "thin pens": ("thickness", -0.075),
    "blur": ("blur", 0.026),
    "faint ink": ("ink", 0.38),
    "slanted lines": ("slant", 12.0),
    "small writing": ("fill", -0.65),
    "loud print": ("waves", 0.15),
    "noise": ("noise", 7.0),
    "large digits": ("size", 1.08),
}


@pytest.mark.parametrize("fault", PAGE_FAULTS)
def test_a_fault_on_paper_comes_first(pages: DigitSequences, fault: str) -> None:
    name, beyond = PAGE_FAULTS[fault]
    found = behaviour_report(reader(pages, wrong_if(name, beyond)), pages, count=2500).findings
    assert f"page.{name}" in found[0].what, list(map(str, found[:4]))
    assert found[0].interval[0] > found[0].others[1]


def test_nothing_is_found_on_paper_where_there_is_nothing(pages: DigitSequences) -> None:
    # At 5 % for a report, more than 5 of 40 have a finding once in seventy times.
    reports = [behaviour_report(reader(pages, none, seed), pages, 800) for seed in range(40)]
    assert sum(bool(report.findings) for report in reports) <= 5


def test_sweeps_stand_on_the_page_and_in_the_numbers(pages: DigitSequences) -> None:
    def darkness(images: np.ndarray) -> list[str]:
        return ["1" if image.mean() < 90 else "2" for image in images]

    moved = {"page.slope": np.linspace(-6, 6, 3), "page.blur": [0.02]}
    report = behaviour_report(darkness, pages, count=60, sweeps=moved)
    assert [one.factor for one in report.sweeps] == list(moved)
    assert report.sweeps[0] == sweep(darkness, pages, "page.slope", [-6, 0, 6], count=60)
    told = json.loads(report.to_json())["sweeps"]
    assert told[0]["values"] == [-6, 0, 6] and told[1]["right"] == report.sweeps[1].right
    page = Page(report._repr_html_())
    assert page.tags.count("svg") == page.tags.count("figcaption") == 2
    shown = report._repr_html_()
    for share, value in zip(report.sweeps[0].right, (-6, 0, 6), strict=True):
        assert f"{share:.0%} at {value}" in shown
    with pytest.raises(ValueError, match=r"there is no factor 'page.slop': did you mean"):
        behaviour_report(darkness, pages, count=60, sweeps={"page.slop": [0]})


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_comes_first(ds: DigitSequences, name: str) -> None:
    fault, expected = FAULTS[name]
    report = behaviour_report(reader(ds, fault), ds)
    first = report.findings[0]
    assert any(f"{first.what} {first.which}".startswith(start) for start in expected), str(report)
    assert first.interval[0] > first.others[1]
    assert first.excess > report.limit
    assert [one.excess for one in report.findings] == sorted(
        (one.excess for one in report.findings), reverse=True
    )
    if name == "fifteen degrees":
        assert 12 < float(first.which.split()[0]) < 18


def test_both_of_two_faults_are_found(ds: DigitSequences) -> None:
    def both(sample: Sample, k: int) -> str:
        return drops_a_leading_zero(sample, k) and confuses_four_and_nine(sample, k)

    found = behaviour_report(reader(ds, both), ds).findings
    names = [f"{one.what} {one.which}" for one in found[:4]]
    assert {"digit 4", "digit 9", "first digit 0"} <= set(names)


def loses_all(ds: DigitSequences, seed: int) -> Any:
    """Make a reader that loses whole strings, five in a hundred, whatever is in them."""
    rng = np.random.default_rng(seed)
    texts = iter([text if rng.random() > 0.05 else "" for text in ds[:].texts])
    return lambda images: [next(texts) for _ in images]


@pytest.mark.parametrize("kind", ["digits", "strings"])
def test_nothing_is_found_where_there_is_nothing(kind: str) -> None:
    """One report in twenty may find something: of 60, twelve would in two cases of 100,000."""
    spec = SequenceSpec(500, (2, 5), 180, spacing=(-6, 8), augment={"rotation_range": 20})
    alarms = 0
    for seed in range(60):
        ds = DigitSequences(load_sample(), spec.replace(seed=seed))
        blind = loses_all(ds, seed) if kind == "strings" else reader(ds, none, seed)
        alarms += bool(behaviour_report(blind, ds, seed=seed).findings)
    assert alarms < 12


def test_a_perfect_reader_has_a_short_report(ds: DigitSequences) -> None:
    texts = iter(ds[:300].texts)
    report = behaviour_report(lambda images: [next(texts) for _ in images], ds, count=300)
    assert (report.right, report.misread, report.findings, report.worst) == (300, 0, (), ())
    assert "100.0% of 300" in str(report) and "nothing that chance" in str(report)
    assert "<img" not in report._repr_html_()


# Deals


@given(st.integers(0, 1000))
def test_a_deal_keeps_the_strings_that_are_lost_and_the_share_of_mistakes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, 300).astype(np.int32)
    used = np.arange(6) < lengths[:, None]
    wrong = used & (rng.random((300, 6)) < 0.1)
    wrong[:15] = used[:15]  # lost as a whole
    out = dealt(wrong, lengths, rng)
    assert out.shape == wrong.shape and not out[~used].any()
    lost = [((each.sum(axis=1) == lengths) & (lengths > 1)).sum() for each in (wrong, out)]
    assert abs(int(lost[1]) - int(lost[0])) <= 8  # two wrong of two may meet by chance
    assert abs(int(out.sum()) - int(wrong.sum())) <= 40


def test_a_deal_has_nothing_to_do_with_length() -> None:
    rng = np.random.default_rng(2)
    lengths = rng.integers(2, 7, 3000).astype(np.int32)
    used = np.arange(6) < lengths[:, None]
    wrong = used & (rng.random((3000, 6)) < np.where(lengths == 6, 0.3, 0.02)[:, None])
    deals = [dealt(wrong, lengths, rng) for _ in range(40)]
    rates = [
        deal[lengths == 6].mean() - deal[lengths < 6][used[lengths < 6]].mean() for deal in deals
    ]
    assert abs(np.mean(rates)) < 5 * np.std(rates) / np.sqrt(40)


# What was read in a digit's place


@given(digits, digits)
def test_the_fewest_mistakes_explain_what_was_read(text: str, read: str) -> None:
    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        change = distance(i - 1, j - 1) + (text[i - 1] != read[j - 1])
        return min(change, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    found, extra = align(text, read)
    added = len(read) - sum(map(bool, found))
    wrong = sum(own != other for own, other in zip(text, found, strict=True))
    assert len(found) == len(extra) == len(text) and min(extra, default=0) >= 0
    assert sum(extra) == (added if text else 0)
    assert wrong + added == distance(len(text), len(read))
    rest = iter(read)
    assert all(other in rest for other in found if other)  # in their order


@given(text=digits)
def test_what_is_right_is_right(text: str) -> None:
    none = [0] * len(text)
    assert align(text, text) == (list(text), none)
    assert align(text, "") == ([""] * len(text), none)


@given(st.text("012", min_size=1, max_size=6), st.data())
def test_what_was_added_is_charged_to_the_digit_before_it(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    found, added = align(text, text[:place] + "9" + text[place:])
    assert found == list(text)
    assert [k for k, many in enumerate(added) if many] == [max(0, place - 1)]


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_is_that_of_scipy(counts: tuple[int, int]) -> None:
    hits, count = counts
    expected = binomtest(hits, count).proportion_ci(0.95, "wilson")
    assert np.allclose(wilson(hits, count), (expected.low, expected.high), atol=1e-4)


# Groups


SHOWN: dict[str, Callable[[Sample, int], int]] = {
    "ink height": lambda sample, k: sample.boxes[k, 3] - sample.boxes[k, 1],
    "from the left edge": lambda sample, k: sample.boxes[k, 0],
    "from the right edge": lambda sample, k: sample.image.shape[1] - sample.boxes[k, 2],
}


def test_groups_are_what_their_names_say(ds: DigitSequences) -> None:
    batch = ds[:400]
    groups, gaps = all_groups(batch), np.minimum(*ink_gaps(batch))
    assert set(SHOWN) <= {what for what, _ in groups}
    for (what, which), mask in groups.items():
        assert mask.shape == batch.digits.shape and mask.dtype == bool
        assert 15 <= mask.sum() <= 0.8 * (batch.digits >= 0).sum()
        assert not mask[batch.digits < 0].any(), (what, which)
        for i, k in np.argwhere(mask)[:20].tolist():
            sample = batch[i]
            if what == "digit":
                assert sample.text[k] == which
            elif what == "last digit":
                assert sample.text[k] == which and k == sample.length - 1
            elif what == "place from the right":
                assert sample.length - k == int(which)
            elif (what, which) == ("pair", "of twins"):
                beside = sample.text[max(0, k - 1) : k] + sample.text[k + 1 : k + 2]
                assert sample.text[k] in beside
            elif what == "pair":
                assert which in (sample.text[k : k + 2], sample.text[max(0, k - 1) : k + 1])
            elif (what, which) == ("ink gap", "touching"):
                assert touches(sample, k) and gaps[i, k] <= 0
            elif what in SHOWN:
                bound = float(which.replace("below", "").replace("or more", ""))
                assert (SHOWN[what](sample, k) < bound) == which.startswith("below")


def test_one_digit_has_no_neighbours() -> None:
    ds = DigitSequences(load_sample(), SequenceSpec(200, 1))
    groups = all_groups(ds[:])
    assert not any(what in ("pair", "ink gap") for what, _ in groups)
    report = behaviour_report(lambda images: ["7"] * len(images), ds)
    assert report.findings == () or report.findings[0].what != "pair"
    assert report.samples == 200 and report.misread > 100


# The report


class Page(HTMLParser):
    """Collect the tags and the addresses of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.alts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [str(given[name]) for name in ("src", "href") if name in given]
        self.alts += [str(given["alt"])] if "alt" in given else []


def test_a_page_needs_nothing_else_and_trusts_no_reader(ds: DigitSequences, tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    report = behaviour_report(lambda images: [evil] * len(images), ds, count=100)
    report.save(tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags and "link" not in page.tags
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert len(page.addresses) == 1 and evil in page.alts[0]
    assert page.tags.count("table") >= 2 and "details" in page.tags and report.right == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_numbers_add_up_and_can_be_written_down(ds: DigitSequences) -> None:
    report = behaviour_report(reader(ds, confuses_four_and_nine), ds, count=700)
    told = json.loads(report.to_json())
    table = np.array(report.confusion)
    assert told["samples"] == 700 and told["digits"] == table.sum() == int(ds[:700].lengths.sum())
    assert told["misread"] == table.sum() - np.trace(table[:, :10])
    assert table[4, 9] > 20 and table[9, 4] > 20
    assert told["findings"][0]["what"] == report.findings[0].what
    masks = all_groups(ds[:700])
    assert {(one["what"], one["which"]): one["count"] for one in told["groups"]} == {
        name: int(mask.sum()) for name, mask in masks.items()
    }
    for one in report.groups:
        assert one.interval[0] <= one.wrong / one.count <= one.interval[1]
    assert len(report.worst) == 20 and all(text != read for text, read in report.worst)
    again = behaviour_report(reader(ds, confuses_four_and_nine), ds, count=700)
    assert again == report


def test_a_saved_set_is_as_good(ds: DigitSequences, tmp_path: Path) -> None:
    few = ds.replace(num_samples=300)
    data = load(save(few, tmp_path / "out", "npz", progress=False))
    made = behaviour_report(reader(few, misses_touching), few)
    read = behaviour_report(reader(few, misses_touching), data)
    assert made == read
    with pytest.raises(ValueError, match="can't be overridden"):
        sweep(lambda images: ["1"] * len(images), data, "gaps", [0])


def test_a_sweep_moves_one_thing(ds: DigitSequences) -> None:
    seen: list[Any] = []

    def widths(images: np.ndarray) -> list[str]:
        columns = (images > 0).any(axis=1)
        seen.append(columns.sum(axis=1).mean())
        return ["1"] * len(images)

    curve = sweep(widths, ds, "augment.zx", [0.6, 1.0, 1.6], count=100)
    assert curve.factor == "augment.zx" and curve.values == [0.6, 1.0, 1.6]
    assert seen[0] > seen[1] > seen[2]  # a zoom below one enlarges
    for right, (low, high) in zip(curve.right, curve.intervals, strict=True):
        assert low <= right <= high


def test_batches_do_not_matter(ds: DigitSequences) -> None:
    sizes: list[int] = []

    def predict(images: np.ndarray) -> list[Any]:
        sizes.append(len(images))
        return [np.str_("12")] * len(images)

    one = read_all(predict, ds, 50, 7)
    assert sizes == [7] * 7 + [1] and one.read == ["12"] * 50
    assert (read_all(predict, ds, 50, 1000).wrong == one.wrong).all()


@pytest.mark.parametrize("count", [0, -1, 2.5, "3"])
def test_a_count_that_is_none_is_refused(ds: DigitSequences, count: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="count"):
        behaviour_report(lambda images: ["1"] * len(images), ds, count=count)


def test_the_limit_is_that_of_the_worst_of_all_groups(ds: DigitSequences) -> None:
    reading = read_all(reader(ds, none), ds, 500)
    groups = all_groups(reading.batch)
    few = dict(list(groups.items())[:5])
    assert inspecting.chance_limit(reading, few) < inspecting.chance_limit(reading, groups)
    assert inspecting.chance_limit(reading, groups) == inspecting.chance_limit(reading, groups)


def test_a_digit_that_is_read_twice_is_charged_itself() -> None:
    for text, read, added in (
        ("137", "1337", [0, 1, 0]),
        ("31", "331", [1, 0]),
        ("13", "133", [0, 1]),
        ("1373", "13733", [0, 0, 0, 1]),
        ("12", "192", [1, 0]),
        ("12", "1912", [2, 0]),
        ("137", "13337", [0, 2, 0]),
    ):
        assert align(text, read) == (list(text), added), (text, read)


@pytest.mark.parametrize("told", [None, "7", 5, [None] * 9, [b"7"] * 9, [["7"]] * 9, [1.0] * 9])
def test_what_is_no_text_is_refused(ds: DigitSequences, told: Any) -> None:
    with pytest.raises(ValueError, match="predict must give"):
        read_all(lambda images: told, ds, count=9)


def test_numbers_are_taken_for_texts(ds: DigitSequences) -> None:
    told = read_all(lambda images: np.arange(len(images)), ds, count=9)
    assert told.read == [str(k) for k in range(9)]


@pytest.mark.parametrize("values", [[], 2, None, "5", [[1, 2]], ["a"]])
def test_a_sweep_that_goes_nowhere_is_refused_before_the_reading(
    ds: DigitSequences, values: Any
) -> None:
    def reads(images: np.ndarray) -> list[str]:
        raise AssertionError("something was read")

    for call in (
        lambda: sweep(reads, ds, "gaps", values, 9),
        lambda: behaviour_report(reads, ds, 9, sweeps={"gaps": values}),
    ):
        with pytest.raises(ValueError, match="gaps must be moved to a list of numbers, got"):
            call()


def test_half_a_pair_of_code_units_can_be_saved(ds: DigitSequences, tmp_path: Path) -> None:
    behaviour_report(lambda images: ["\ud800"] * len(images), ds, 20).save(tmp_path / "page.html")
    assert "\\ud800" in (tmp_path / "page.html").read_text(encoding="utf-8")


@given(st.integers(1, 9), st.integers(-40, 40))
def test_strokes_are_as_thick_and_as_slanted_as_they_are_drawn(thick: int, degrees: int) -> None:
    y, x = np.mgrid[:200, :400]
    off = (x - 200) + (y - 100) * np.tan(np.radians(degrees))
    ink = np.abs(off) * np.cos(np.radians(degrees)) <= thick
    found, slant = stroke_of(ink)
    assert abs(slant - degrees) < 1.5
    assert 0.6 < found / (2 * thick + 1) < 1.4
    assert stroke_of(np.zeros((5, 5), bool)) == (0.0, 0.0)


def test_dark_ink_on_light_paper_has_the_same_strokes(ds: DigitSequences) -> None:
    few = ds.replace(num_samples=200)
    light, dark = (stroke_groups(one[:]) for one in (few, few.replace(ink="black")))
    assert light.keys() == dark.keys() and len(light) > 20
    assert all((light[name] == dark[name]).all() for name in light)


def test_what_is_not_seen_has_no_neighbour_and_no_edge() -> None:
    spec = SequenceSpec(300, 3, 120, augment={"width_shift_range": [27]}, seed=1)
    batch = DigitSequences(load_sample(), spec)[:]
    gone = batch.boxes[:, :, 2] == 0
    assert gone.any()
    assert all((np.abs(gaps[gaps < 1 << 40]) < 120).all() for gaps in ink_gaps(batch))
    for (what, _), mask in seen_groups(batch).items():
        if what.startswith(("from", "ink")):
            assert not (mask & gone).any()
