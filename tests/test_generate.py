"""Data sets: each sample for itself, whatever is asked for; what can't be had is refused."""

import hashlib
import json
import multiprocessing
import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from digitseq import generating, spacing
from digitseq.core import Glyphs, Sample, SequenceBatch
from digitseq.generating import DigitSequences, sequence
from digitseq.loading import load_sample
from digitseq.specifying import SPEC_VERSION, SequenceSpec
from tools import golden

HUGE = 2**62
SEED_LIMIT = 2**64

# Every chi-square test fails a correct program with this chance, were its seed not fixed.
FALSE_ALARM = 1e-6


def assert_follows(observed: Any, chances: Any) -> None:
    """Check counts against chances; what has no chance must not have been observed."""
    counts, expected = np.asarray(observed), np.sum(observed) * np.asarray(chances)
    assert not counts[expected == 0].any()
    counts, expected = counts[expected > 0], expected[expected > 0]
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert len(counts) > 1 and expected.min() >= 10
    assert chi2.sf(statistic, len(counts) - 1) > FALSE_ALARM


ARRAYS = ("images", "digits", "lengths", "sources", "boxes", "cells", "gaps", "widths")


def assert_same_batches(one: SequenceBatch, other: SequenceBatch) -> None:
    for name in ARRAYS:
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype and np.array_equal(a, b), name
    assert one.factors.keys() == other.factors.keys()
    for name, values in one.factors.items():
        assert values.dtype == other.factors[name].dtype, name
        assert np.array_equal(values, other.factors[name]), name


def assert_row(batch: SequenceBatch, row: int, sample: Sample) -> None:
    """Check that a sample is that row of a batch."""
    assert (batch.images[row] == sample.image).all()
    assert (batch.lengths[row], batch.widths[row]) == (sample.length, sample.width)
    assert batch.texts[row] == sample.text
    for name in ("digits", "sources", "boxes", "cells", "gaps"):
        assert (getattr(batch, name)[row] == getattr(sample, name)).all(), name
    assert {name: values[row] for name, values in batch.factors.items()} == sample.factors


@pytest.fixture(scope="module")
def small(make_glyphs: Any) -> Glyphs:
    """90 glyphs of 12 x 10 pixels by five writers, each of whom wrote every digit."""
    writers = (np.arange(90) // 10) % 5 * 11 + 3
    return make_glyphs(90, 12, 10, seed=1, writers=writers, ids=np.arange(90) * 7 + 5)


@pytest.fixture(scope="module")
def mnist() -> Glyphs:
    return load_sample()


def cut(glyphs: Glyphs, **wishes: Any) -> DigitSequences:
    """A data set of the given wishes that fits glyphs of any size."""
    return DigitSequences(glyphs, SequenceSpec(**{"num_samples": 300} | wishes))


VARIED: list[dict[str, Any]] = [
    dict(),
    dict(length=(1, 7), align="random", seed=SEED_LIMIT - 1),
    dict(length=(2, 6), width=80, spacing=(-3, 9), ink="black"),
    dict(length=(4, 5), width=54, fill="justify", dtype="float32"),
    dict(length=6, width=77, fill="equal", height=21),
    dict(length=5, measure="ink", spacing=(0, 6), width=60, align="right"),
    dict(length=(1, 5), measure="ink", fill="justify", width=50, align="random"),
    dict(length=(1, 8), width=100, overflow="shrink", height=11, spacing=(0, 5)),
    dict(texts=["007", "4", "31415"], align="left"),
    dict(length=(1, 3), unique=True),
    dict(length=(17, 19), unique=True, seed=5),
    dict(length=(2, 4), writer="same", digits=[3, 1, 0, 0, 0, 1, 1, 1, 1, 0.5]),
]
varied = pytest.mark.parametrize("wishes", VARIED, ids=str)


# The one promise


@varied
def test_a_sample_is_the_same_in_any_company(small: Glyphs, wishes: dict[str, Any]) -> None:
    ds = cut(small, **wishes)
    rng, everything = np.random.default_rng(3), ds[:]
    for size in (1, 2, 17, 299):
        for batch, start in zip(ds.batches(size), range(0, 300, size), strict=True):
            for row in {0, len(batch) - 1}:
                assert_row(everything, start + row, batch[row])
    for indices in (rng.permutation(300), rng.integers(0, 300, 40), [299, 0, 0, 299], [5] * 3):
        batch = ds.batch(indices)
        for row, index in enumerate(indices):
            assert_row(everything, index, batch[row])
    for index in (0, 123, 299):
        assert_row(everything, index, ds[index])


@varied
def test_a_longer_data_set_begins_like_a_shorter_one(small: Glyphs, wishes: dict[str, Any]) -> None:
    few, more = cut(small, **wishes)[:], cut(small, **wishes | {"num_samples": 1000})
    assert_same_batches(few, more[:300])
    if not wishes.get("unique"):
        assert_same_batches(few, cut(small, **wishes | {"num_samples": HUGE})[:300])


@varied
def test_a_sample_is_nobody_elses(small: Glyphs, wishes: dict[str, Any]) -> None:
    """Samples are made in memory that is used again: what was given away must not change."""
    ds, order = cut(small, **wishes), [5, 299, 0, 5, 17, 120]
    batch = ds.batch(order)
    kept = [ds[k] for k in order]  # each after the others, in the same arrays
    for row, sample in enumerate(kept):
        assert_row(batch, row, sample)
    arrays = [value for sample in kept for value in sample if isinstance(value, np.ndarray)]
    arrays += [value for one in kept for value in one.factors.values() if np.ndim(value)]
    for one, other in combinations(arrays, 2):
        assert not np.shares_memory(one, other)
    for array in arrays:
        array.fill(77)
    assert_row(batch, 1, ds[299])


@varied
def test_samples_are_made_in_threads(small: Glyphs, wishes: dict[str, Any]) -> None:
    ds, order = cut(small, **wishes), np.random.default_rng(1).integers(0, 300, 400).tolist()
    batch = ds.batch(order)
    with ThreadPoolExecutor(4) as pool:
        for row, sample in enumerate(pool.map(ds.__getitem__, order)):
            assert_row(batch, row, sample)
    assert 1 <= len(ds.desks) <= 4


class Raced(list[Any]):
    """A list that was not empty when one looked, and is when one takes from it."""

    def __len__(self) -> int:
        return 1

    def pop(self, *_: Any) -> Any:
        raise IndexError("pop from empty list")


def test_another_thread_may_take_the_last_desk(small: Glyphs) -> None:
    ds = cut(small)
    wanted, ds.__dict__["desks"] = ds[3], Raced()
    assert (ds[3].image == wanted.image).all()


def test_a_failed_sample_leaves_no_trace(small: Glyphs, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = cut(small)
    before, real, calls = ds[3], generating.compose_unchecked, iter([True, False])

    def fails_once(*args: Any) -> None:
        if next(calls):
            raise MemoryError
        real(*args)

    monkeypatch.setattr(generating, "compose_unchecked", fails_once)
    with pytest.raises(MemoryError):
        ds[4]
    assert (ds[3].image == before.image).all()


@varied
@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_nothing(small: Glyphs, wishes: dict[str, Any], threads: int) -> None:
    alone = cut(small, **wishes)
    shared = DigitSequences(small, alone.spec, threads=threads)
    shuffled = np.random.default_rng(threads).permutation(300)
    assert_same_batches(shared[:], alone[:])
    assert_same_batches(shared.batch(shuffled), alone.batch(shuffled))
    assert_same_batches(
        shared.batch(shuffled, override={"gaps": -2, "left": 1}),
        alone.batch(shuffled, override={"gaps": -2, "left": 1}),
    )


def test_processes_change_nothing(small: Glyphs) -> None:
    sets = [cut(small, **wishes) for wishes in VARIED]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        found = [pool.submit(ds.batch, [7, 0, 299]) for ds in sets]
    for ds, batch in zip(sets, found, strict=True):
        assert_same_batches(batch.result(), ds.batch([7, 0, 299]))
        assert (batch.result().masks() == ds.batch([7, 0, 299]).masks()).all()


WITHOUT_NUMBA = """
import json, sys
if sys.argv[1] == "hide":
    sys.modules["numba"] = None
import numpy as np
from digitseq import generating
from digitseq.core import Glyphs

assert hasattr(generating._choose_digits, "py_func") == (sys.argv[1] == "show")
rng = np.random.default_rng(8)
images = rng.integers(0, 256, (40, 12, 10), np.uint8)
images[:, :, :3] = 0
columns = {"labels": np.arange(40) % 10, "ids": np.arange(40), "writers": np.arange(40) // 20}
glyphs = Glyphs(images, **columns)
for wishes in json.loads(sys.argv[2]):
    ds = generating.DigitSequences(glyphs, generating.SequenceSpec(num_samples=300, **wishes))
    batch = ds.batch([0, 1, 2, 77, 299])
    print(batch.sha256, batch.masks().sum(), {k: v.tolist() for k, v in batch.factors.items()})
"""


def test_without_numba_everything_is_the_same() -> None:
    program = [sys.executable, "-W", "error", "-c", WITHOUT_NUMBA]
    shown, hidden = (
        subprocess.run([*program, mode, json.dumps(VARIED)], capture_output=True, text=True)
        for mode in ("show", "hide")
    )
    assert shown.returncode == 0, shown.stderr
    assert hidden.returncode == 0, hidden.stderr
    assert shown.stdout == hidden.stdout and shown.stdout.count("\n") == len(VARIED)


@varied
def test_big_integers_and_tables_draw_the_same(
    small: Glyphs, wishes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_table = cut(small, **wishes)
    assert not by_table.layout.exact
    monkeypatch.setattr(spacing, "TABLE_LIMIT", -1)
    exactly = cut(small, **wishes)
    assert exactly.layout.exact
    assert_same_batches(by_table[:40], exactly[:40])


def test_too_large_a_table_is_not_made(small: Glyphs) -> None:
    ds = cut(small, length=(30, 50), spacing=(0, 400), width=9000)
    batch = ds[:3]
    assert ds.layout.exact and ds.layout.thresholds.size == 0
    assert batch.gaps.max() <= 400 and (batch.widths <= 9000).all()
    assert (batch.widths == batch.lengths * 10 + batch.gaps.sum(axis=1)).all()


def test_seeds_splits_and_samples_do_not_repeat_each_other(small: Glyphs) -> None:
    splits = [Glyphs(small.images, small.labels, small.ids, split=name) for name in ("a", "b")]
    hashes = [
        hashlib.sha256(sample.image.tobytes() + sample.sources.tobytes()).digest()
        for glyphs, seed in product(splits, (0, 1, 2, 2**63, SEED_LIMIT - 1))
        for sample in cut(glyphs, length=6, num_samples=50, seed=seed)
    ]
    assert len(set(hashes)) == 2 * 5 * 50


def test_another_wish_moves_only_its_own_stream(small: Glyphs) -> None:
    plain = cut(small, length=(2, 6), width=150)[:]
    for changed in (dict(spacing=(2, 3)), dict(align="random"), dict(height=30), dict(ink="black")):
        batch = cut(small, **dict(length=(2, 6), width=150) | changed)[:]
        assert (batch.sources == plain.sources).all() and (batch.digits == plain.digits).all()
        if "spacing" not in changed:
            assert (batch.gaps == plain.gaps).all()
    weighted = cut(small, length=(2, 6), width=150, digits=[1, *[2] * 9])[:]
    assert (weighted.lengths == plain.lengths).all() and (weighted.gaps == plain.gaps).all()


def test_golden() -> None:
    """The committed hashes: whoever means to change them makes a new `spec_version`."""
    path = Path(golden.TARGET)
    cases = json.loads(path.read_text(encoding="utf-8"))
    assert len(cases) == len(golden.SPECS) >= 40
    for number, case in enumerate(cases):
        spec = SequenceSpec.from_dict(case["spec"])
        assert spec.sha256 == case["spec_sha256"], f"case {number}"
        assert golden.measured(number, spec) == case["batch_sha256"], f"case {number}: {spec}"


def test_golden_cases_are_the_tools(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    committed = golden.TARGET.read_bytes()
    monkeypatch.setattr(golden, "TARGET", tmp_path / "golden.json")
    golden.main()
    assert (tmp_path / "golden.json").read_bytes() == committed


# The protocol


def test_indices_are_numpys(small: Glyphs) -> None:
    ds = cut(small, num_samples=50)
    everything = ds[:]
    assert len(ds) == 50 and len(everything) == 50
    slices = [slice(3, 9), slice(-4, None), slice(None, None, -7), slice(48, 99), slice(5, 5)]
    for part in slices:
        assert_same_batches(ds[part], ds.batch(np.arange(50)[part]))
    lists: list[Any] = [[-1, 0, -50], (3, 4), range(0, 50, 9), np.array([7, 7], np.uint8)]
    for indices in lists:
        for batch in (ds[indices], ds.batch(indices)):
            for row, index in enumerate(indices):
                assert_row(everything, int(index) % 50, batch[row])
    for index in (-1, np.int64(-1), np.uint64(49), np.int8(49)):
        assert_row(everything, 49, ds[index])
    samples = ds.__getitems__([4, 2, 2])
    assert isinstance(samples, list) and [sample.text for sample in samples] == [
        everything.texts[k] for k in (4, 2, 2)
    ]


@pytest.mark.parametrize("empty", [[], slice(3, 3), np.array([], np.int64)])
def test_an_empty_batch_has_its_shape(small: Glyphs, empty: Any) -> None:
    batch = cut(small, length=(1, 4), width=70)[empty]
    shapes = [getattr(batch, name).shape for name in ARRAYS]
    rows = [(28, 70), (4,), (), (4,), (4, 4), (4, 4), (3,), ()]
    assert shapes == [(0, *row) for row in rows]
    assert batch.texts == [] and batch.masks().shape == (0, 28, 70)
    assert batch.factors["left"].shape == (0,)


@pytest.mark.parametrize(
    "index",
    [
        50,
        -51,
        2**40,
        [0, 50],
        [-51],
        np.array([50], np.uint8),
        2**63,
        2**70,
        -(2**70),
        [2**70],
        np.uint64(2**64 - 1),
        np.array([2**64 - 1], np.uint64),
    ],
    ids=repr,
)
def test_past_the_end_is_an_index_error(small: Glyphs, index: Any) -> None:
    ds = cut(small, num_samples=50)
    worst = np.ravel(np.array(index, object))[-1]
    with pytest.raises(IndexError, match=f"index {worst} is out of range for 50 samples"):
        ds[index]


@pytest.mark.parametrize(
    "index",
    [1.5, "3", None, True, [0.0], [True, False], [[1]], ["1"], [None], np.array(3)],
    ids=repr,
)
def test_what_is_no_index_is_refused(small: Glyphs, index: Any) -> None:
    with pytest.raises(ValueError, match="indices must be a list of integers, got"):
        cut(small, num_samples=50)[index]


def test_iteration_and_batches_go_through_all(small: Glyphs) -> None:
    ds = cut(small, length=(1, 4))
    everything = ds[:]
    for row, sample in enumerate(ds):
        assert_row(everything, row, sample)
    assert row == 299
    assert [len(batch) for batch in ds.batches(128)] == [128, 128, 44]
    for wrong in (0, -1, 2.5, True, "3"):
        with pytest.raises(ValueError, match="batch_size must be"):
            next(ds.batches(wrong))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("threads", [1, 3])
def test_out_is_filled_and_returned(small: Glyphs, dtype: str, threads: int) -> None:
    ds = DigitSequences(small, cut(small, dtype=dtype, width=90).spec, threads=threads)
    expected = ds.batch(np.arange(200))
    room = np.full((201, 28, 90), 77, dtype)
    batch = ds.batch(np.arange(200), out=room[:200])
    assert np.shares_memory(batch.images, room) and (room[200] == 77).all()
    assert_same_batches(batch, expected)
    other = {"uint8": "float32", "float32": "uint8"}[dtype]
    frozen = np.zeros((2, 28, 90), dtype)
    frozen.flags.writeable = False
    for wrong, message in (
        (np.zeros((3, 28, 90), dtype), "out must be .* got .*3, 28, 90"),
        (np.zeros((2, 28, 90), other), f"out must be {dtype} .* got {other}"),
        (np.zeros((2, 28, 180), dtype)[:, :, ::2], "contiguous and writable"),
        (frozen, "contiguous and writable"),
        ([[0]], "got list"),
    ):
        with pytest.raises(ValueError, match=message):
            ds.batch([0, 1], out=wrong)


def test_transform_is_the_last_step_and_touches_only_images(small: Glyphs) -> None:
    calls = []

    def negative(images: Any) -> Any:
        calls.append(images.shape)
        return 1 - images[:, None]

    plain = cut(small, dtype="float32", width=90)
    turned = DigitSequences(small, plain.spec, transform=negative)
    batch = turned.batch([3, 4])
    assert (batch.images == 1 - plain.batch([3, 4]).images[:, None]).all()
    assert calls == [(2, 28, 90)]
    for name in ARRAYS[1:]:
        assert (getattr(batch, name) == getattr(plain.batch([3, 4]), name)).all()
    assert turned[4].image.shape == (1, 28, 90)
    assert (batch.masks() == plain.batch([3, 4]).masks()).all()
    for shorter in (lambda images: images[:1], lambda images: None, lambda images: 5):
        with pytest.raises(ValueError, match="transform must give 2 results for as many images"):
            DigitSequences(small, plain.spec, transform=shorter).batch([3, 4])
    with pytest.raises(ValueError, match="transform must be a function of images, got 5"):
        DigitSequences(small, plain.spec, transform=5)  # type: ignore[arg-type]


@varied
def test_samples_stack(small: Glyphs, wishes: dict[str, Any]) -> None:
    ds = cut(small, **wishes)
    longest = ds.choices.longest
    for sample in (ds[0], ds[1], ds[299]):
        assert sample.digits.shape == sample.sources.shape == (longest,)
        assert sample.boxes.shape == sample.cells.shape == (longest, 4)
        assert sample.gaps.shape == (longest - 1,)
        assert sample.image.shape == (ds.layout.height, ds.layout.width)
        assert sample.factors.keys() == ds[0].factors.keys()
        for name in ("digits", "sources"):
            assert (getattr(sample, name)[sample.length :] == -1).all()
            assert (getattr(sample, name)[: sample.length] >= 0).all()
        assert not sample.boxes[sample.length :].any() and not sample.cells[sample.length :].any()
        assert not sample.gaps[sample.length - 1 :].any()


def test_torch_takes_it_as_it_is(small: Glyphs) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from torch.utils.data import DataLoader

    for wishes in VARIED:
        ds = cut(small, **wishes)
        expected = ds[:]
        found = list(DataLoader(ds, batch_size=128))
        assert [len(batch.image) for batch in found] == [128, 128, 44]
        images = torch.cat([batch.image for batch in found]).numpy()
        assert images.dtype == expected.images.dtype and (images == expected.images).all()
        assert [text for batch in found for text in batch.text] == expected.texts
        boxes = torch.cat([batch.boxes for batch in found]).numpy()
        assert (boxes == expected.boxes).all()
        for name, values in expected.factors.items():
            collated = torch.cat([batch.factors[name] for batch in found]).numpy()
            assert (collated == values).all()
    workers = DataLoader(
        ds, batch_size=100, num_workers=2, multiprocessing_context="spawn", shuffle=False
    )
    images = torch.cat([batch.image for batch in workers]).numpy()
    assert (images == expected.images).all()


@varied
def test_pickles_are_small_and_whole(small: Glyphs, wishes: dict[str, Any]) -> None:
    ds = DigitSequences(small, cut(small, **wishes).spec, threads=2)
    batch = ds.batch([1, 2, 299])
    again = pickle.loads(pickle.dumps(ds))
    assert again.spec == ds.spec and again.threads == 2
    assert_same_batches(again.batch([1, 2, 299]), batch)
    copied = pickle.loads(pickle.dumps(batch))
    assert_same_batches(copied, batch)
    assert (copied.masks() == batch.masks()).all()
    sample = pickle.loads(pickle.dumps(ds[2]))
    assert_row(batch, 1, sample)
    assert len(pickle.dumps(ds)) < small.images.nbytes + 20_000


# What was asked for is what is made


@varied
def test_masks_boxes_and_images_agree(small: Glyphs, wishes: dict[str, Any]) -> None:
    """Without overlaps each digit's mask is its ink, its box is that mask's frame."""
    ds = cut(small, **wishes | {"spacing": (0, wishes.get("spacing", (0, 9))[1])})
    batch, (h, w) = ds[:60], small.images.shape[1:]
    masks = batch.masks()
    inked = batch.images != (0 if ds.spec.ink == "white" else batch.images.dtype.type(1) * 255)
    if ds.spec.dtype == "float32":
        inked = batch.images != (0 if ds.spec.ink == "white" else 1)
    assert masks.dtype == np.uint8 and ((masks > 0) == inked).all()
    for n, j in np.argwhere(batch.digits >= 0):
        x0, y0, x1, y1 = batch.boxes[n, j]
        rows, columns = np.nonzero(masks[n] == j + 1)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)
        a, b, c, d = batch.cells[n, j]
        assert ds.spec.measure == "ink" or (c - a) / (d - b) == pytest.approx(w / h, abs=0.1)
        if ds.spec.overflow is None and ds.spec.measure is None:
            assert (d - b, c - a) == (h, w)
    used = batch.digits >= 0
    assert (batch.boxes[used] >= 0).all()
    assert (batch.boxes[used][:, 2] <= ds.layout.width).all()
    assert (batch.boxes[used][:, 3] <= ds.layout.height).all()


@varied
def test_gaps_are_in_range_and_between_neighbours(small: Glyphs, wishes: dict[str, Any]) -> None:
    ds = cut(small, **wishes)
    batch, (low, high) = ds[:], ds.spec.spacing or (0, 10)
    frames = batch.boxes if ds.spec.measure == "ink" else batch.cells
    for n, length in enumerate(batch.lengths):
        row, edges = batch.gaps[n, : length - 1], frames[n, :length]
        assert ((row >= low) & (row <= high)).all()
        assert (row == edges[1:, 0] - edges[:-1, 2]).all()
        assert edges[-1, 2] - edges[0, 0] == batch.widths[n] <= ds.layout.width
        assert edges[0, 0] == batch.factors["left"][n] >= 0
        margin = ds.layout.width - batch.widths[n]
        begins = {"left": 0, "center": margin // 2, "right": margin}
        assert batch.factors["left"][n] == begins.get(ds.spec.align, batch.factors["left"][n])
        if ds.spec.fill == "justify" and length > 1:
            assert margin == batch.factors.get("unfilled", np.zeros(300))[n]
        if ds.spec.fill == "equal":
            assert len(set(row.tolist())) == 1


def test_floats_are_bytes_over_255_and_black_is_255_less(small: Glyphs) -> None:
    for wishes in VARIED:
        base = {name: value for name, value in wishes.items() if name not in ("ink", "dtype")}
        white, black = (cut(small, **base, ink=ink)[:].images for ink in ("white", "black"))
        assert white.dtype == np.uint8 and (black == 255 - white).all()
        for ink, values in (("white", white), ("black", black)):
            floats = cut(small, **base, ink=ink, dtype="float32")[:].images
            assert floats.dtype == np.float32
            assert (floats == values.astype(np.float32) / np.float32(255)).all()
            assert (np.rint(floats.astype(np.float64) * 255) == values).all()


def test_lengths_are_in_range_and_uniform(small: Glyphs) -> None:
    batch = cut(small, length=(2, 7), num_samples=6000)[:]
    assert_follows(np.bincount(batch.lengths, minlength=9), [0, 0, *[1 / 6] * 6, 0])
    assert ((batch.digits >= 0).sum(axis=1) == batch.lengths).all()


@pytest.mark.parametrize(
    "weights",
    [None, [6, 3, 1, 1, 1, 1, 1, 1, 1, 0.5], [0, 1, 0, 0, 2, 0, 0, 0, 0, 0.7], [0] * 9 + [1e-300]],
)
def test_digits_follow_their_weights(small: Glyphs, weights: Any) -> None:
    batch = cut(small, length=(1, 5), num_samples=4000, digits=weights)[:]
    shares = np.array(weights or [1.0] * 10)
    chances = shares / shares.sum()
    for j in range(5):
        column = batch.digits[:, j]
        counts = np.bincount(column[column >= 0], minlength=10)
        if np.count_nonzero(shares) > 1:
            assert_follows(counts, chances)
        assert not counts[shares == 0].any()


def test_weights_count_only_relative_to_each_other(small: Glyphs) -> None:
    one = cut(small, digits=[1, 2, 3, 4, 5, 5, 4, 3, 2, 1])[:]
    for scale in (2.0**-40, 4, 2.0**60):
        weights = scale * np.array([1, 2, 3, 4, 5, 5, 4, 3, 2, 1])
        assert_same_batches(one, cut(small, digits=weights)[:])


def test_glyphs_of_a_digit_are_equally_likely(small: Glyphs) -> None:
    batch = cut(small, length=5, num_samples=8000)[:]
    labels = dict(zip(small.ids.tolist(), small.labels.tolist(), strict=True))
    assert [labels[k] for k in batch.sources.ravel().tolist()] == batch.digits.ravel().tolist()
    counts = np.array([(batch.sources == k).sum() for k in small.ids])
    assert_follows(counts, [1 / 90] * 90)


def test_weighted_glyphs_follow_their_weights(small: Glyphs) -> None:
    parts = [small.subset(np.arange(90) < 30), small.subset(np.arange(90) >= 30)]
    mixed = Glyphs.concat(parts, weights=[3, 1])
    batch = cut(mixed, length=5, num_samples=8000)[:]
    expected = np.repeat([3 / 4 / 30, 1 / 4 / 60], [30, 60])
    assert_follows([(batch.sources == k).sum() for k in mixed.ids], expected)


@pytest.mark.parametrize("length", [1, 2, (1, 2), (2, 3), 3])
@pytest.mark.parametrize("seed", [0, SEED_LIMIT - 1])
def test_unique_texts_are_all_there_are(small: Glyphs, length: Any, seed: int) -> None:
    low, high = length if isinstance(length, tuple) else (length, length)
    count = sum(10**n for n in range(low, high + 1))
    ds = cut(small, length=length, unique=True, num_samples=count, seed=seed)
    texts = ds[:].texts
    expected = ["".join(p) for n in range(low, high + 1) for p in product("0123456789", repeat=n)]
    assert sorted(texts) == sorted(expected) and texts != expected
    with pytest.raises(ValueError, match=f"num_samples must be at most {count} .* got {count + 1}"):
        cut(small, length=length, unique=True, num_samples=count + 1)


def test_unique_texts_are_shuffled_anew_for_each_seed_and_split(small: Glyphs) -> None:
    wishes = dict(length=3, unique=True, num_samples=1000)
    other = Glyphs(small.images, small.labels, small.ids, split="test")
    sets = [cut(small, **wishes), cut(small, **wishes, seed=1), cut(other, **wishes)]
    orders = [tuple(ds[:].texts) for ds in sets]
    assert len(set(orders)) == 3
    for order in orders:
        first = np.array([int(text) for text in order[:500]])
        assert_follows(np.histogram(first, bins=10, range=(0, 1000))[0], [0.1] * 10)


@pytest.mark.parametrize("length", [9, (7, 9), 18, 30, 50, (18, 30), (20, 50)])
def test_unique_texts_of_any_length_do_not_repeat(small: Glyphs, length: Any) -> None:
    ds = cut(small, length=length, unique=True, num_samples=10**9)
    near, far = ds[:1500].texts, ds[-1500:].texts
    assert len({*near, *far}) == 3000
    low, high = length if isinstance(length, tuple) else (length, length)
    assert {len(text) for text in near} == set(range(low, high + 1))
    digits = np.array([int(text[-1]) for text in near + far])
    assert_follows(np.bincount(digits, minlength=10), [0.1] * 10)


def test_texts_are_written_in_turn(small: Glyphs) -> None:
    texts = ("007", "2", "0", "31415926")
    ds = cut(small, texts=texts, num_samples=HUGE)
    assert tuple(ds[:11].texts) == (texts * 3)[:11]
    assert ds[HUGE - 1].text == texts[(HUGE - 1) % 4]
    assert ds[0].digits.tolist() == [0, 0, 7, -1, -1, -1, -1, -1]
    assert set(ds[:200].sources[0::4, 0]) <= set(small.ids[small.labels == 0].tolist())
    assert len({tuple(row) for row in ds[:400:4].sources.tolist()}) > 50


def test_a_sequence_has_one_writer(small: Glyphs) -> None:
    assert small.writers is not None
    writer_of = dict(zip(small.ids.tolist(), small.writers.tolist(), strict=True))
    for wishes in (dict(length=(1, 6)), dict(texts=["0123456789"]), dict(length=3, unique=True)):
        batch = cut(small, **wishes, writer="same")[:]
        hands = [{writer_of[k] for k in row if k >= 0} for row in batch.sources.tolist()]
        assert all(len(hand) == 1 for hand in hands)
        assert [hand.pop() for hand in hands] == batch.factors["writer"].tolist()
    batch = cut(small, length=3, writer="same", num_samples=3000)[:]
    counts = [(batch.factors["writer"] == writer).sum() for writer in np.unique(small.writers)]
    assert_follows(counts, [0.2] * 5)
    mixed = cut(small, length=6)[:]
    assert any(len({writer_of[k] for k in row}) > 1 for row in mixed.sources.tolist())
    assert "writer" not in mixed.factors


def test_a_writer_who_lacks_a_digit_writes_only_others(small: Glyphs) -> None:
    """Writer 3 has no 4: sequences with a 4 are somebody else's, all others may be theirs."""
    assert small.writers is not None
    partial = small.subset(~((small.writers == 3) & (small.labels == 4)))
    assert partial.writers is not None
    writer_of = dict(zip(partial.ids.tolist(), partial.writers.tolist(), strict=True))
    batch = cut(partial, length=2, writer="same", num_samples=4000)[:]
    for digits, row, writer in zip(
        batch.digits.tolist(), batch.sources.tolist(), batch.factors["writer"].tolist(), strict=True
    ):
        assert {writer_of[k] for k in row} == {writer}
        assert not (writer == 3 and 4 in digits)
    without = ~(batch.digits == 4).any(axis=1)
    writers = batch.factors["writer"]
    assert_follows([(writers[without] == k).sum() for k in np.unique(small.writers)], [0.2] * 5)
    others = np.unique(small.writers)[1:]
    assert_follows([(writers[~without] == k).sum() for k in others], [0.25] * 4)


def test_writers_must_be_known_and_complete(small: Glyphs) -> None:
    nameless = Glyphs(small.images, small.labels, small.ids)
    with pytest.raises(ValueError, match="writer"):
        cut(nameless, writer="same")
    apart = Glyphs(small.images, small.labels, small.ids, writers=small.labels)
    with pytest.raises(ValueError, match="writer"):  # everybody wrote a digit of their own
        cut(apart, writer="same", length=2)


def test_splits_share_no_glyph(mnist: Glyphs) -> None:
    parts = mnist.train_test_split(test=0.2, validation=0.1, seed=4)
    used = [set(cut(part, length=9, num_samples=900)[:].sources.ravel().tolist()) for part in parts]
    for a, b in product(range(3), repeat=2):
        assert (a == b) or not used[a] & used[b]
    for part, ids in zip(parts, used, strict=True):
        assert ids <= set(part.ids.tolist())
    with pytest.raises(ValueError, match="split is 'test', but the glyphs are of 'train': take"):
        cut(parts[0], split="test")
    assert_same_batches(cut(parts[2], split="test")[:], cut(parts[2])[:])


# One factor fixed


@varied
def test_override_fixes_one_factor_and_leaves_the_rest(
    small: Glyphs, wishes: dict[str, Any]
) -> None:
    ds = cut(small, **wishes | {"align": "random"})
    drawn = ds[:]
    fixed = ds.batch(np.arange(300), override={"gaps": -2})
    for name in ("digits", "lengths", "sources"):
        assert (getattr(fixed, name) == getattr(drawn, name)).all()
    between = np.arange(drawn.gaps.shape[1]) < drawn.lengths[:, None] - 1
    assert (fixed.gaps == np.where(between, -2, 0)).all()
    left = ds.batch(np.arange(300), override={"left": 0})
    for name in ("digits", "lengths", "sources", "gaps", "widths"):
        assert (getattr(left, name) == getattr(drawn, name)).all()
    assert not left.factors["left"].any()
    moved = left.boxes + drawn.factors["left"][:, None, None] * np.array([1, 0, 1, 0])
    seen = (drawn.digits >= 0) & (drawn.boxes[:, :, 2] > 0)
    assert (moved[seen] == drawn.boxes[seen]).all()
    assert_same_batches(ds.batch([3, 4], override={}), ds.batch([3, 4]))
    assert_same_batches(ds[:], drawn)


def test_gaps_can_be_fixed_one_by_one(small: Glyphs) -> None:
    ds = cut(small, length=(2, 4), width=90)
    batch = ds.batch(np.arange(40), override={"gaps": [1, -5, 7]})
    between = np.arange(3) < batch.lengths[:, None] - 1
    assert (batch.gaps == np.where(between, [1, -5, 7], 0)).all()
    drawn = ds.batch([7])
    again = ds.batch([7], override={"gaps": drawn.gaps[0], "left": drawn.factors["left"][0]})
    assert_same_batches(again, drawn)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"gap": 4}, "there is no factor 'gap': did you mean 'gaps'"),
        ({"scale": 1.0}, "there is no factor 'scale': there are gaps, left"),
        ({1: 4}, "there is no factor 1"),
        ({"gaps": 60}, r"gaps=\[60, 60\] would make sample 9 150 px wide, the canvas has 60: fix"),
        ({"gaps": -60}, "would make sample 9 110 px wide"),
        ({"gaps": [1]}, "gaps must be one or 2 integers, got 1"),
        ({"gaps": []}, "gaps must be one or 2 integers, got 0"),
        ({"gaps": 1.5}, "a gap must be an integer, got 1.5"),
        ({"gaps": True}, "a gap must be an integer, got True"),
        ({"gaps": "12"}, "a gap must be an integer, got '12'"),
        ({"gaps": [1, None]}, "a gap must be an integer, got None"),
        ({"left": 1.5}, "left must be an integer, got 1.5"),
        ({"left": False}, "left must be an integer, got False"),
        ({"left": 2**17}, "left must be at most 65536, got 131072"),
    ],
    ids=str,
)
def test_what_can_not_be_fixed_is_refused(small: Glyphs, override: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cut(small, length=3, width=60).batch([9], override=override)


# Specs


weights = st.lists(st.floats(0, 1e6), min_size=10, max_size=10).filter(any)
lengths = st.integers(1, 60) | st.tuples(st.integers(1, 30), st.integers(0, 30)).map(
    lambda pair: (pair[0], sum(pair))
)
written = st.lists(st.text("0123456789", min_size=1, max_size=9), min_size=1, max_size=9)
what = st.one_of(
    st.fixed_dictionaries({"length": lengths, "unique": st.booleans()}),
    st.fixed_dictionaries({"length": lengths, "digits": weights}),
    st.fixed_dictionaries({"texts": written}),
)
gap_pairs = st.tuples(st.integers(-27, 40), st.integers(0, 40)).map(
    lambda pair: (pair[0], sum(pair))
)
how = st.fixed_dictionaries(
    {},
    optional={
        "num_samples": st.integers(1, HUGE),
        "width": st.none() | st.integers(1, 65536),
        "height": st.integers(1, 65536),
        "spacing": st.none() | gap_pairs,
        "fill": st.sampled_from([None, "free", "justify", "equal"]),
        "align": st.sampled_from(["left", "center", "right", "random"]),
        "measure": st.sampled_from([None, "cell", "ink"]),
        "overflow": st.sampled_from([None, "error", "shrink"]),
        "writer": st.sampled_from([None, "same"]),
        "ink": st.sampled_from(["white", "black"]),
        "dtype": st.sampled_from(["uint8", "float32"]),
        "split": st.none() | st.from_regex("[A-Za-z0-9_-]{1,40}", fullmatch=True),
        "seed": st.integers(0, SEED_LIMIT - 1),
    },
)


@settings(max_examples=200)
@given(wishes=st.tuples(what, how).map(lambda pair: pair[0] | pair[1]))
def test_a_spec_survives_the_paper(wishes: dict[str, Any]) -> None:
    spec = SequenceSpec(**wishes)
    for again in (
        SequenceSpec.from_json(spec.to_json()),
        SequenceSpec.from_json(json.dumps(json.loads(spec.to_json()), sort_keys=True)),
        SequenceSpec.from_dict(spec.to_dict()),
        spec.replace(),
        pickle.loads(pickle.dumps(spec)),
        SequenceSpec(**{item.name: getattr(spec, item.name) for item in fields(spec)}),
    ):
        assert again == spec and again.sha256 == spec.sha256 and hash(again) == hash(spec)
    values = json.loads(spec.to_json())
    assert values.pop("spec_version") == SPEC_VERSION == 1 and None not in values.values()
    for name, value in values.items():
        kept = getattr(spec, name)
        assert (list(kept) if isinstance(kept, tuple) else kept) == value


def test_fingerprints_differ_and_are_canonical_json() -> None:
    wishes = [*VARIED, {"seed": 1}, {"num_samples": 2}, {"texts": ["5"] * 2}, {"texts": ["5"]}]
    specs = [SequenceSpec(**wish) for wish in wishes]
    assert len({spec.sha256 for spec in specs}) == len(wishes)
    for spec in specs:
        canonical = json.dumps(spec.to_dict(), sort_keys=True, separators=(",", ":"))
        assert spec.sha256 == hashlib.sha256(canonical.encode()).hexdigest()
    known = "a spec's fingerprint must never change"
    plain = {
        "spec_version": 1,
        "num_samples": 1000,
        "length": 5,
        "height": 28,
        "align": "center",
        "unique": False,
        "ink": "white",
        "dtype": "uint8",
        "seed": 0,
    }
    assert SequenceSpec().to_dict() == plain, known


def test_equal_wishes_are_equal_specs() -> None:
    spec = SequenceSpec(7, (2, 6), 220, spacing=(0, 3), digits=(1.0,) * 10, seed=2**63)
    other = SequenceSpec(
        num_samples=np.int16(7),
        length=[np.int64(2), np.uint8(6)],
        width=np.int64(220),
        spacing=np.array([0, 3]),
        digits=np.ones(10),
        seed=np.uint64(2**63),
    )
    assert spec == other and spec.sha256 == other.sha256 and spec.to_json() == other.to_json()
    texts = ["007", [1, 2], np.array([3, 4], np.int8), (5,)]
    assert SequenceSpec(texts=texts).texts == ("007", "12", "34", "5")
    assert SequenceSpec(texts=texts).length is None
    assert SequenceSpec(unique=np.True_).unique is True
    with pytest.raises(AttributeError):
        spec.seed = 3  # type: ignore[misc]


def test_an_unknown_name_is_refused_at_every_door() -> None:
    message = "a spec has no 'widht': did you mean 'width'"
    with pytest.raises(TypeError, match=message):
        SequenceSpec(widht=200)
    with pytest.raises(TypeError, match=message):
        SequenceSpec().replace(widht=200)
    with pytest.raises(TypeError, match=message):
        sequence("12", widht=200)
    with pytest.raises(ValueError, match=message):
        SequenceSpec.from_dict({"widht": 200})
    with pytest.raises(ValueError, match=message):
        SequenceSpec.from_json('{"spec_version": 1, "widht": 200}')
    with pytest.raises(ValueError, match="a spec has no 5"):
        SequenceSpec.from_dict({5: 200})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"spec_version": 2}', "the spec has version 2, this digitseq reads up to 1: pip install"),
        ('{"spec_version": 2, "brand_new": 1}', "version 2"),
        ('{"spec_version": 0}', "spec_version must be at least 1, got 0"),
        ('{"spec_version": true}', "spec_version must be an integer, got True"),
        ('{"spec_version": "1"}', "spec_version must be an integer, got '1'"),
        ('{"spec_version": null}', "spec_version must be an integer, got None"),
        ("[]", "a spec must be a JSON object, got list"),
        ("null", "a spec must be a JSON object, got NoneType"),
        ("3", "a spec must be a JSON object, got int"),
        ("{", "Expecting"),
        ("", "Expecting"),
        ('{"length": NaN}', "length must be an integer, got nan"),
        ('{"length": 1e3}', "length must be an integer, got 1000.0"),
        ('{"length": [2, 6, 7]}', r"must be an integer or \(shortest, longest\), got \[2, 6, 7\]"),
        ('{"texts": "007"}', "texts must be a list of strings, got '007'"),
        ('{"seed": 18446744073709551616}', "seed must be at most 18446744073709551615"),
    ],
)
def test_a_bad_paper_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceSpec.from_json(text)


NAN = float("nan")
BAD_SPECS: list[tuple[dict[str, Any], str]] = [
    *[
        ({name: wrong}, f"{name} must be an integer, got {re.escape(repr(wrong))}")
        for name in ("num_samples", "length", "width", "height", "seed")
        for wrong in (True, np.True_, 2.0, np.float64(3), NAN, "5", 1j, b"5")
    ],
    *[({name: None}, f"{name} must be") for name in ("num_samples", "length", "height", "seed")],
    *[
        ({name: wrong}, f"{name} must be at least 1, got {wrong}")
        for name in ("num_samples", "length", "width", "height")
        for wrong in (0, -3)
    ],
    ({"num_samples": HUGE + 1}, f"num_samples must be at most {HUGE}, got {HUGE + 1}"),
    ({"width": 2**17}, "width must be at most 65536, got 131072"),
    ({"height": 2**17}, "height must be at most 65536, got 131072"),
    ({"seed": -1}, "seed must be at least 0, got -1"),
    ({"seed": SEED_LIMIT}, f"seed must be at most {SEED_LIMIT - 1}, got {SEED_LIMIT}"),
    ({"length": (6, 2)}, r"length must be \(shortest, longest\), got \(6, 2\): swap them"),
    ({"length": (0, 2)}, "shortest must be at least 1, got 0"),
    ({"length": (2, 3.0)}, "longest must be an integer, got 3.0"),
    ({"length": (True, 3)}, "shortest must be an integer, got True"),
    ({"length": (1, 2, 3)}, r"must be an integer or \(shortest, longest\), got \(1, 2, 3\)"),
    ({"length": ()}, r"must be an integer or \(shortest, longest\), got \(\)"),
    ({"length": 10**9}, "length must be at most"),
    ({"length": (1, 10**9)}, "longest must be at most"),
    ({"spacing": (5, 1)}, r"spacing must ascend, got \(5, 1\): did you mean \(1, 5\)"),
    ({"spacing": (0, 2.5)}, "largest gap of spacing must be an integer, got 2.5"),
    ({"spacing": (True, 2)}, "smallest gap of spacing must be an integer, got True"),
    ({"spacing": (NAN, 2)}, "smallest gap of spacing must be an integer, got nan"),
    ({"spacing": 5}, "spacing must be two integers, the smallest and the largest gap, got 5"),
    ({"spacing": (1, 2, 3)}, "spacing must be two integers"),
    ({"spacing": "12"}, "spacing must be two integers"),
    ({"spacing": (0, 10**7)}, "largest gap of spacing must be at most"),
    ({"fill": "justfy"}, "fill must be one of free, justify, equal, got 'justfy': did you mean"),
    ({"align": "centre"}, "align must be one of .* got 'centre': did you mean 'center'"),
    ({"align": None}, "align must be one of .* got None"),
    ({"measure": "inc"}, "measure must be one of cell, ink, got 'inc': did you mean 'ink'"),
    ({"overflow": "shrunk"}, "overflow must be one of error, shrink, .* did you mean 'shrink'"),
    ({"writer": "sane"}, "writer must be one of same, got 'sane': did you mean 'same'"),
    ({"ink": "grey"}, "ink must be one of white, black, got 'grey'"),
    ({"dtype": "float64"}, "dtype must be one of uint8, float32, got 'float64': did you mean"),
    ({"dtype": np.uint8}, "dtype must be one of uint8, float32, got <class"),
    ({"fill": True}, "fill must be one of .* got True"),
    ({"fill": ["free"]}, "fill must be one of .* got"),
    ({"unique": 1}, "unique must be True or False, got 1"),
    ({"unique": "yes"}, "unique must be True or False, got 'yes'"),
    ({"split": ""}, "split must be a short name of letters and digits, got ''"),
    ({"split": "a/b"}, "split must be a short name .* got 'a/b'"),
    ({"split": "train\n"}, "split must be a short name"),
    ({"split": "../x"}, "split must be a short name"),
    ({"split": "x" * 41}, "split must be a short name"),
    ({"split": 5}, "split must be a short name .* got 5"),
    ({"texts": "007"}, r"texts must be a list of strings, got '007': write texts=\['007'\]"),
    ({"texts": 5}, "texts must be a list of strings, got 5"),
    ({"texts": []}, "texts must hold at least one text, got none"),
    ({"texts": {"7"}}, "texts must be a list of strings"),
    ({"texts": ["12", ""]}, "text 1: "),
    ({"texts": ["12", "1a3"]}, "text 1: .*'a'.* position 1"),
    ({"texts": ["12", [3, 12]]}, "text 1: .* 12 .*position 1"),
    ({"texts": ["12", [3, -1]]}, "text 1: .* -1 .*position 1"),
    ({"texts": [[3, 1.0]]}, "text 0: .*integer, got 1.0"),
    ({"texts": [[True]]}, "text 0: .*integer, got True"),
    ({"texts": ["\u0661\u0662"]}, "text 0: "),  # Arabic digits are digits to str.isdigit
    ({"texts": ["\u00b2"]}, "text 0: "),
    ({"texts": ["1 2"]}, "text 0: "),
    ({"texts": [5]}, "text 0: "),
    ({"texts": [None]}, "text 0: "),
    ({"texts": ["1"], "length": 3}, "length follows from the texts, got 3: leave it out"),
    ({"texts": ["1"], "length": (1, 3)}, r"length follows from the texts, got \(1, 3\)"),
    ({"texts": ["1"], "length": np.array([2, 6])}, "length follows from the texts"),
    ({"texts": ["1"], "length": 5.0}, "length follows from the texts, got 5.0"),
    ({"texts": ["1"], "unique": True}, "texts are taken as they are: leave out unique and digits"),
    ({"texts": ["1"], "digits": [1] * 10}, "leave out unique and digits"),
    (
        {"unique": True, "digits": [1] * 10},
        "unique texts can't follow digit weights: leave out one",
    ),
    ({"digits": [1] * 9}, "digits must be ten weights, of 0 to 9, got 9"),
    ({"digits": [0] * 10}, "digits must not all be zero: give at least one a positive weight"),
    ({"digits": [1] * 9 + [-1]}, "digits must be finite and not negative, got -1.0 at position 9"),
    ({"digits": [NAN] * 10}, "digits must be finite and not negative, got nan at position 0"),
    ({"digits": [np.inf] * 10}, "digits must be finite and not negative, got inf"),
    ({"digits": ["1"] * 10}, "digits must be"),
    ({"digits": [None] * 10}, "digits must be"),
    ({"digits": [[1]] * 10}, "digits must be"),
    ({"digits": 5}, "digits must be ten weights"),
    ({"digits": "1234567890"}, "digits must be ten weights"),
    ({"digits": dict.fromkeys(range(10), 1)}, "digits must be ten weights"),
    ({"digits": np.ones((10, 1))}, "digits must be"),
    ({"augment": 3}, 'augment must be an Augment, settings by name, or "default", got 3'),
    (
        {"augment": "defualt"},
        "augment must be one of default, got 'defualt': did you mean 'default'",
    ),
    ({"augment": {"rotation": 3}}, "augment has no 'rotation': did you mean 'rotation_range'"),
    ({"augment": {"rescale": 2}}, "rescale has no place in a spec"),
    ({"augment": {"cval": 256}}, "cval must be 0 to 255 in a spec, got 256"),
    ({"page": "from"}, "page must be one of mnist, form, cheque, meter, photo, got 'from'"),
    ({"page": 3}, "page must be a Page, settings by name, or a preset's name, got 3"),
    ({"page": "form", "spacing": (0, 3)}, "spacing must be left out with a page"),
    ({"page": "form", "fill": "free"}, "fill must be left out with a page"),
    ({"page": "form", "measure": "ink"}, "measure must be left out with a page"),
    ({"page": "form", "overflow": "shrink"}, "overflow must be left out with a page"),
    ({"page": "form", "augment": "default"}, "augment must be left out with a page"),
    ({"page": {"slope": 3}}, "a page has no 'slope': it belongs into writing"),
    ({"page": {"writing": {"slop": 3}}}, "Writing has no 'slop': did you mean 'slope'"),
    ({"page": {"camera": {"blur": 3}}}, "blur must lie in 0 to 0.25, got 3"),
]


@pytest.mark.parametrize(("wishes", "message"), BAD_SPECS, ids=repr)
def test_bad_wishes_are_refused(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceSpec(**wishes)


UNFIT: list[tuple[dict[str, Any], str]] = [
    (
        {"width": 49},
        r"width must be at least 50 for 5 digits of 10 px .* got 49: widen it, take at",
    ),
    ({"width": 9, "length": 1}, "width must be at least 10 .* got 9"),
    ({"width": 61, "length": (2, 6), "spacing": (1, 3)}, "at least 65 for 6 .*take at most 5 of"),
    ({"width": 41, "spacing": (-2, 0)}, "width must be at least 42"),
    ({"width": 49, "fill": "equal"}, "width must be at least 50"),
    ({"width": 49, "fill": "justify"}, "width must be at least 50|width must be 50 to"),
    ({"width": 91, "fill": "justify"}, "width must be 50 to 90 .* got 91"),
    ({"width": 60, "length": (2, 5), "fill": "justify"}, "width must be"),
    ({"width": 30, "measure": "ink"}, "width must be at least .* got 30"),
    ({"width": 39, "overflow": "shrink"}, "width must be at least .* got 39"),
    (
        {"width": 12, "length": 4, "spacing": (-9, -9), "overflow": "shrink"},
        "spacing must begin at -8 or above, as cells are shrunk to 9 px, got -9",
    ),
    ({"height": 11}, "height must be at least 12, that of the glyphs, got 11: .*overflow='shrink'"),
    ({"height": 8, "overflow": "shrink"}, "8 px"),
    ({"spacing": (-10, 0)}, "smallest gap of spacing must be at least -9, got -10"),
    ({"length": 1000, "spacing": (0, 65000)}, "width must be at most 65536"),
    (
        {"length": 3, "unique": True, "num_samples": 1001},
        "num_samples must be at most 1000 .* 1001",
    ),
]


@pytest.mark.parametrize(("wishes", "message"), UNFIT, ids=repr)
def test_what_does_not_fit_is_refused_before_any_work(
    small: Glyphs, wishes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DigitSequences(small, SequenceSpec(**wishes))


def test_a_missing_class_is_named(small: Glyphs) -> None:
    lacking = small.subset(~np.isin(small.labels, [4, 7]))
    for wishes in ({}, {"texts": ["123", "47"]}, {"digits": [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}):
        with pytest.raises(ValueError, match="4"):
            cut(lacking, **wishes)
    for wishes in ({"texts": ["0123"]}, {"digits": [1, 1, 1, 1, 0, 1, 1, 0, 1, 1]}):
        batch = cut(lacking, **wishes)[:]
        assert not np.isin(batch.digits, [4, 7]).any()
    with pytest.raises(ValueError, match="4"):
        cut(lacking, unique=True, length=2, num_samples=3)


def test_other_arguments_are_checked(small: Glyphs) -> None:
    spec = SequenceSpec()
    for threads in (0, -1, 1.5, True, "2", 10**6):
        with pytest.raises(ValueError, match="threads must be"):
            DigitSequences(small, spec, threads=threads)  # type: ignore[arg-type]
    odd = Glyphs(small.images, small.labels, small.ids, split="a b")
    with pytest.raises(ValueError, match="split must be a short name"):
        DigitSequences(odd, spec)


# The edges of what can be asked for


def test_a_single_digit_has_no_gap(small: Glyphs) -> None:
    for wishes in ({}, {"width": 10}, {"fill": "justify"}, {"measure": "ink", "fill": "equal"}):
        ds = cut(small, length=1, **wishes)
        batch = ds[:]
        assert batch.gaps.shape == (300, 0) and ds.layout.width == 10
        assert batch.images.shape == (300, 28, 10)


def test_fifty_digits(small: Glyphs) -> None:
    for wishes in (
        {},
        {"width": 700},
        {"width": 700, "fill": "justify"},
        {"width": 999, "fill": "equal"},
    ):
        ds = cut(small, length=50, **wishes)
        batch = ds[:8]
        assert batch.images.shape == (8, 28, wishes.get("width", 990))
        assert (batch.gaps >= 0).all() and (batch.gaps <= 10).all()
        if wishes.get("fill") == "justify":
            assert (batch.gaps.sum(axis=1) == 200).all()


@pytest.mark.parametrize("gap", [-9, -3, 0, 4])
def test_the_least_width_leaves_one_gap_vector(small: Glyphs, gap: int) -> None:
    least = 4 * 10 + 3 * gap
    batch = cut(small, length=4, width=least, spacing=(gap, gap + 5))[:]
    assert (batch.gaps == gap).all() and (batch.widths == least).all()
    assert not batch.factors["left"].any()
    with pytest.raises(ValueError, match=f"width must be at least {least} .* got {least - 1}"):
        cut(small, length=4, width=least - 1, spacing=(gap, gap + 5))


@pytest.mark.parametrize("shape", [(20, 12), (12, 20), (1, 1), (3, 40), (64, 5)])
def test_glyphs_of_any_size(make_glyphs: Any, shape: tuple[int, int]) -> None:
    height, width = shape
    glyphs = make_glyphs(20, height, width)
    ds = cut(glyphs, length=3, height=70)
    batch = ds[:20]
    assert batch.images.shape == (20, 70, 3 * width + 20)
    top = (70 - height) // 2
    assert (batch.cells[:, :, [1, 3]] == [top, top + height]).all()
    assert not batch.images[:, :top].any() and not batch.images[:, top + height :].any()
    exact = cut(glyphs, length=3, height=height, spacing=(0, 0))[:20]
    assert exact.images.shape == (20, height, 3 * width)
    position = {key: k for k, key in enumerate(glyphs.ids.tolist())}
    for image, row in zip(exact.images, exact.sources.tolist(), strict=True):
        assert (image == np.hstack([glyphs.images[position[key]] for key in row])).all()


def test_a_low_canvas_shrinks_all_lengths_alike(mnist: Glyphs) -> None:
    ds = cut(mnist, length=(1, 4), height=14, overflow="shrink")
    batch = ds[:]
    assert (batch.factors["scale"] == np.float32(0.5)).all()
    assert ds.layout.width == 4 * 28 + 30 and batch.images.shape[1:] == (14, 142)
    tall = batch.cells[:, :, 3] - batch.cells[:, :, 1]
    assert (tall[batch.digits >= 0] == 14).all()


def test_only_lengths_that_need_it_shrink(mnist: Glyphs) -> None:
    batch = cut(mnist, length=(2, 6), width=120, overflow="shrink")[:]
    scales = {int(n): set(batch.factors["scale"][batch.lengths == n].tolist()) for n in range(2, 7)}
    cells = {2: 28, 3: 28, 4: 28, 5: 20, 6: 15}  # (120 - 20) / 5 and (120 - 25) / 6
    assert scales == {n: {float(np.float32(cell) / np.float32(28))} for n, cell in cells.items()}


def test_blank_glyphs_are_digits_without_ink(small: Glyphs) -> None:
    images = small.images.copy()
    images[small.labels == 3] = 0
    blank = Glyphs(images, small.labels, small.ids)
    for wishes in ({}, {"measure": "ink", "width": 70}, {"measure": "ink", "fill": "justify"}):
        batch = cut(blank, texts=["33", "131", "3"], **wishes)[:30]
        assert not batch.boxes[batch.digits == 3].any()
        assert not batch.images[::3].any() and not batch.images[2::3].any()
        assert (batch.boxes[1::3, 0] == batch.boxes[1::3, 0]).all()
        assert (batch.boxes[batch.digits == 1][:, 2] > 0).all()


def test_the_last_of_very_many(small: Glyphs) -> None:
    ds = cut(small, num_samples=HUGE, seed=SEED_LIMIT - 1, length=(1, 6), align="random")
    assert len(ds) == HUGE
    assert_row(ds.batch([HUGE - 1, 3]), 0, ds[-1])
    assert_row(ds[HUGE - 3 :], 2, ds[HUGE - 1])
    with pytest.raises(IndexError, match=f"index {HUGE} is out of range for {HUGE} samples"):
        ds[HUGE]


# One sequence, and a look


def test_one_sequence(mnist: Glyphs) -> None:
    one = sequence([2, 9, 3, 4], seed=5)
    assert one.text == "2934" and one.image.flags.c_contiguous
    assert one.image.shape == (28, one.width) and one.width == 4 * 28 + one.gaps.sum()
    assert (one.image == sequence("2934", seed=5, glyphs=mnist).image).all()
    assert (one.image != sequence("2934", width=one.width, seed=6).image).any()
    wide = sequence("007", width=150, ink="black")
    assert wide.image.shape == (28, 150) and wide.text == "007"
    assert sequence("7").image.shape == (28, 28)
    inky = sequence("1234", spacing=(0, 0), measure="ink")
    assert inky.image.shape == (28, inky.width) and inky.image[:, [0, -1]].any(axis=0).all()


@pytest.mark.parametrize(
    ("digits", "message"),
    [
        ("", "empty|at least one"),
        ("29a4", "position 2"),
        ([2, 12], "position 1"),
        ([], "empty|one"),
        ([1, True], "True"),
        ([1, 2.0], "2.0"),
        ([1, None], "None"),
        (5, "5"),
        (None, "None"),
    ],
    ids=repr,
)
def test_what_is_no_sequence_is_refused(small: Glyphs, digits: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sequence(digits, glyphs=small)


@pytest.mark.parametrize("wishes", [VARIED[1], VARIED[3], dict(length=40)], ids=str)
def test_a_data_set_shows_itself(small: Glyphs, wishes: dict[str, Any]) -> None:
    ds = cut(small, **wishes)
    for boxes in (False, True):
        figure = ds.show(5, boxes=boxes)
        titles = [axis.get_title() for axis in figure.axes]
        assert [title for title in titles if title] == ds[:5].texts
    html = ds._repr_html_()
    height, width = ds[0].image.shape
    assert f"300 sequences, {width} x {height} px, {ds.spec.dtype}" in html
    assert html.count("data:image/png;base64,") == 1 and ds[3].text in html
    assert len(cut(small, num_samples=2).show().axes) >= 2
    assert "data" not in repr(ds).split("spec=")[0] and len(repr(ds)) < 600
