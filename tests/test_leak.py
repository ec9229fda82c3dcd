"""Leakage: what two sides share is found, whatever they are; what is not shared is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import digitseq as dsq
from digitseq import checking
from digitseq.checking import check_leakage
from digitseq.cli import main
from digitseq.core import Glyphs
from digitseq.generating import DigitSequences
from digitseq.loading import cache_glyphs, load_sample
from digitseq.saving import load, save
from digitseq.specifying import SequenceSpec


@pytest.fixture(scope="module")
def base(make_glyphs: Any) -> Glyphs:
    glyphs: Glyphs = make_glyphs(n=60, height=6, width=6, seed=4, writers=np.arange(60) // 6)
    return replace(glyphs, name="ours")


def cut(glyphs: Glyphs, positions: Any, split: str = "train") -> Glyphs:
    return replace(glyphs.subset(positions), split=split)


def sequences(glyphs: Glyphs, count: int = 200, **wishes: Any) -> DigitSequences:
    return DigitSequences(glyphs, SequenceSpec(count, height=6, **wishes))


def test_nothing_shared_is_nothing_found(base: Glyphs) -> None:
    left, right = cut(base, np.arange(30)), cut(base, np.arange(30, 60), "test")
    report = check_leakage(left, right)
    assert report.ok and report.clean
    assert (report.glyphs.potential, report.writers.potential, report.texts.potential) == (0, 0, 0)


@given(st.sets(st.integers(0, 59), min_size=1), st.sets(st.integers(0, 59), min_size=1))
def test_counts_are_those_of_sets(base_glyphs: Glyphs, one: set[int], other: set[int]) -> None:
    left, right = (cut(base_glyphs, sorted(chosen)) for chosen in (one, other))
    report = check_leakage(left, right)
    ids = {int(base_glyphs.ids[k]) for k in one} & {int(base_glyphs.ids[k]) for k in other}
    images = [{base_glyphs.images[k].tobytes() for k in chosen} for chosen in (one, other)]
    writers = [{int(base_glyphs.writers[k]) for k in chosen} for chosen in (one, other)]  # type: ignore[index]
    assert report.ids.potential == len(ids)
    assert report.pictures.potential >= len(images[0] & images[1])
    assert report.writers.potential == len(writers[0] & writers[1])
    assert report.ok == (not ids and not images[0] & images[1] and not writers[0] & writers[1])


@pytest.fixture(scope="module")
def base_glyphs(base: Glyphs) -> Glyphs:
    return base


def test_a_copied_picture_is_found_under_any_number(base: Glyphs) -> None:
    left, right = cut(base, np.arange(30)), cut(base, np.arange(30, 60), "test")
    images = right.images.copy()
    images[3] = left.images[11]
    forged = Glyphs(images, right.labels, right.ids + 1000, name="theirs", split="test")
    report = check_leakage(replace(left, writers=None), forged)
    assert not report.ok
    assert (report.glyphs.potential, report.ids.potential, report.pictures.potential) == (1, 0, 1)


def test_numbers_of_custom_glyphs_mean_nothing(base: Glyphs) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 10
    one, other = (
        Glyphs(rng.integers(0, 256, (20, 6, 6), np.uint8), labels, np.arange(20)) for _ in range(2)
    )
    assert check_leakage(one, other).ok
    known = [replace(glyphs, name="known") for glyphs in (one, other)]
    assert check_leakage(*known).ids.potential == 20


def test_in_fact_is_what_was_drawn(base: Glyphs) -> None:
    """Two sides could share sixty glyphs; these few sequences share only some."""
    left, right = sequences(base, 4, length=3), sequences(base, 4, length=3, seed=1)
    report = check_leakage(left, right)
    used = [set(ds[:].sources[ds[:].sources >= 0].tolist()) for ds in (left, right)]
    assert report.ids.potential == 60 and report.ids.fact == len(used[0] & used[1])
    assert not report.ok


def test_texts_are_counted_exactly(base: Glyphs) -> None:
    left = sequences(cut(base, np.arange(30)), 300, length=(1, 3))
    right = sequences(cut(base, np.arange(30, 60), "test"), 200, length=(1, 3), seed=9)
    report = check_leakage(left, right)
    known, asked = set(left[:].texts), right[:].texts
    assert report.texts.potential == len(known & set(asked))
    assert report.sequences == sum(text in known for text in asked)
    assert report.ok and not report.clean
    assert set(report.texts.examples) <= known & set(asked)


def test_long_texts_and_leading_zeros_are_told_apart(base: Glyphs) -> None:
    texts = ["0", "00", "7", "07", "1" * 30, "1" * 29 + "2", "0" * 18, "0" * 19]
    left = sequences(cut(base, np.arange(30)), 4, length=None, texts=texts[::2])
    right = sequences(cut(base, np.arange(30, 60), "test"), 4, length=None, texts=texts[1::2])
    assert check_leakage(left, right).texts.potential == 0
    assert check_leakage(left, left).texts.potential == 4


@pytest.mark.parametrize("form", ["data", "saved", "folder", "list"])
def test_whatever_the_sides_are(tmp_path: Path, base: Glyphs, form: str) -> None:
    left = sequences(cut(base, np.arange(30)), 50)
    right = sequences(cut(base, np.arange(24, 60), "test"), 40)
    save(left, tmp_path / "left", "npz", progress=False)
    save(right, tmp_path / "right", "npz", progress=False)
    sides: tuple[Any, Any] = (left, right)
    if form == "saved":
        sides = load(tmp_path / "left"), load(tmp_path / "right")
    elif form == "folder":
        sides = str(tmp_path / "left"), tmp_path / "right"
    elif form == "list":
        sides = [left, tmp_path / "left"], [right]
    report = check_leakage(*sides, glyphs=[left.glyphs, right.glyphs])
    assert report.ids.potential == 6 and report.writers.potential == 1 and not report.ok
    assert report.sequences == sum(text in set(left[:].texts) for text in right[:].texts)


def test_what_could_not_be_checked_is_said(
    tmp_path: Path, base: Glyphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITSEQ_CACHE", str(tmp_path / "cache"))
    left = sequences(cut(base, np.arange(30)), 50)
    right = sequences(cut(base, np.arange(30, 60), "test"), 40)
    save(left, tmp_path / "left", "npz", progress=False)
    save(right, tmp_path / "right", "npz", progress=False)
    blind = check_leakage(tmp_path / "left", tmp_path / "right")
    assert blind.unchecked and "not checked: " in str(blind)
    cache_glyphs(left.glyphs), cache_glyphs(right.glyphs)
    seeing = check_leakage(tmp_path / "left", tmp_path / "right")
    assert len(seeing.unchecked) < len(blind.unchecked)


def test_glyphs_that_are_handed_in_are_found(
    tmp_path: Path, base: Glyphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A glyph set on the other side, or in glyphs=, serves a folder whose own are nowhere."""
    monkeypatch.setenv("DIGITSEQ_CACHE", str(tmp_path / "cache"))
    left = sequences(cut(base, np.arange(30)), 3, length=2)
    save(left, tmp_path / "left", "npz", progress=False)
    forged = replace(cut(base, np.arange(30)), ids=np.arange(30) + 500, name="theirs")
    blind = check_leakage(tmp_path / "left", forged)
    assert blind.pictures.potential == 0 and "are not here" in str(blind)
    for seeing in (
        check_leakage(tmp_path / "left", forged, glyphs=left.glyphs),
        check_leakage([tmp_path / "left", left], forged),
    ):
        drawn = left.glyphs.images[np.isin(left.glyphs.ids, left[:].sources)]
        pictures = {image.tobytes() for image in drawn}
        assert seeing.pictures.potential == 30 and not seeing.ok
        assert seeing.pictures.fact == sum(image.tobytes() in pictures for image in forged.images)


def test_without_glyphs_the_ids_in_use_still_tell(
    tmp_path: Path, base: Glyphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITSEQ_CACHE", str(tmp_path / "cache"))
    sets = [sequences(cut(base, np.arange(30)), 20, seed=seed) for seed in (0, 1)]
    for k, one in enumerate(sets):
        save(one, tmp_path / str(k), "npz", progress=False)
    report = check_leakage(tmp_path / "0", tmp_path / "1")
    used = [set(one[:].sources[one[:].sources >= 0].tolist()) for one in sets]
    assert report.ids.potential == report.ids.fact == len(used[0] & used[1]) > 0
    assert not report.ok and report.sheet is None and "<img" not in report._repr_html_()


def test_the_sample_is_a_part_of_mnist() -> None:
    """The ids of the sample are rows of MNIST's training file, and are compared as such."""
    few = load_sample().subset(np.arange(20))
    blank = Glyphs(np.zeros((20, 28, 28), np.uint8), few.labels, few.ids, name="mnist")
    report = check_leakage(few, blank)
    assert (report.ids.potential, report.pictures.potential) == (20, 0) and not report.ok
    joined = Glyphs.concat([blank, Glyphs(few.images, few.labels, few.ids + 10**6)])
    assert check_leakage(few, joined).ids.potential == 0  # which of them are whose, nobody knows
    assert check_leakage(few, joined).pictures.potential == 20


def test_other_sizes_are_other_pictures(base: Glyphs) -> None:
    one = Glyphs(np.full((1, 2, 8), 7, np.uint8), np.array([1]), np.array([1]))
    other = Glyphs(np.full((1, 4, 4), 7, np.uint8), np.array([1]), np.array([1]))
    report = check_leakage(one, other)
    assert report.ok and any("differ in size" in sentence for sentence in report.unchecked)


def test_a_glyph_in_several_sets_counts_once(base: Glyphs) -> None:
    for glyphs in (cut(base, np.arange(12)), replace(cut(base, np.arange(12)), name="custom")):
        alone = check_leakage(base, glyphs)
        both = check_leakage([base, base], [glyphs, glyphs])
        assert both.glyphs == alone.glyphs and alone.glyphs.potential > 0


def test_examples_begin_with_those_in_use_and_are_few(base: Glyphs) -> None:
    report = check_leakage(sequences(base, 1, length=2), sequences(base, 1, length=2))
    used = set(sequences(base, 1, length=2)[:].sources.ravel().tolist())
    assert len(report.ids.examples) == 10 and set(report.ids.examples[: len(used)]) == used
    assert report.sheet is not None and len(report.sheet) == 24
    shown = {image.tobytes() for image in report.sheet[: len(used)]}
    assert shown == {base.images[k].tobytes() for k in np.flatnonzero(np.isin(base.ids, [*used]))}


def test_a_bar_is_shown_if_wanted(base: Glyphs, capsys: pytest.CaptureFixture[str]) -> None:
    left = sequences(base, 30)
    check_leakage(left, left)
    assert capsys.readouterr().err == ""
    check_leakage(left, left, progress=True)
    assert "60.0/60.0" in capsys.readouterr().err


@given(st.lists(st.text("0123456789", min_size=1, max_size=24), min_size=1, max_size=30))
def test_codes_tell_texts_apart(texts: list[str]) -> None:
    digits = np.full((len(texts), 24), -1, np.int8)
    for row, text in zip(digits, texts, strict=True):
        row[: len(text)] = [*map(int, text)]
    codes = checking._codes(digits).tolist()
    assert len(set(codes)) == len(set(texts))
    for code, text in zip(codes, texts, strict=True):
        assert code == int(f"1{text}") if len(text) <= 18 else code >> 63 == 1


@given(st.lists(st.lists(st.integers(-5, 5), max_size=9), max_size=9))
def test_numbers_are_gathered(chunks: list[list[int]]) -> None:
    numbers = checking._Numbers(np.int64)
    for chunk in chunks:
        numbers.add(np.array(chunk, np.int64))
    assert numbers.sorted().tolist() == sorted({number for chunk in chunks for number in chunk})


def test_a_million_texts_take_eight_bytes_each(base: Glyphs) -> None:
    numbers = checking._Numbers(np.uint64)
    for start in range(0, 1 << 20, 1 << 13):
        numbers.add(np.arange(start, start + (1 << 13), dtype=np.uint64) % np.uint64(1 << 19))
        assert sum(map(len, numbers.waiting)) <= max(1 << 18, len(numbers.merged))
    assert len(numbers.sorted()) == 1 << 19


def test_bad_sides_are_refused(tmp_path: Path, base: Glyphs) -> None:
    for wrong in (7, None, [base, 7], []):
        with pytest.raises(ValueError):
            check_leakage(wrong, base)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        check_leakage(tmp_path, base)


def test_a_report_shows_and_escapes(base: Glyphs) -> None:
    named = replace(base, name="<script>alert(1)</script>")
    html = check_leakage(named, named)._repr_html_()
    assert "<script>" not in html and "<img" in html
    assert "a leak" in str(check_leakage(base, base))


def test_mnists_own_splits_leak_nothing() -> None:
    train, test = load_sample("train"), load_sample("test")
    report = dsq.check_leakage(train, test)
    assert report.ok and report.glyphs.potential == 0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, split in (("a", "train"), ("b", "test"), ("c", "train")):
        line = ["generate", str(tmp_path / name), "--num-samples", "20", "--split", split]
        assert main([*line, "--format", "npz", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["leakage", str(tmp_path / "a"), str(tmp_path / "b"), "--quiet"]) == 0
    assert "nothing leaks" in capsys.readouterr().out
    assert main(["leakage", str(tmp_path / "a"), str(tmp_path / "c"), "--quiet"]) == 1
    assert main(["leakage", str(tmp_path / "a"), str(tmp_path / "nowhere"), "--quiet"]) == 2
