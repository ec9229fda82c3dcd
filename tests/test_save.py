"""save and load, beyond their notebook: every kind of spec, every way to make it, every refusal."""

import csv
import io
import json
import os
import pickle
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from digitseq import picturing
from digitseq.core import Glyphs, SequenceBatch
from digitseq.encoding import encode_png
from digitseq.generating import DigitSequences
from digitseq.keeping import LocalFolder
from digitseq.recording import Records, manifest_sha256, pretty_json, spelled
from digitseq.saving import (
    load,
    read_manifest,
    recipe_sets,
    save,
    verify,
)
from digitseq.specifying import SequenceSpec

MakeGlyphs = Callable[..., Glyphs]
WHOLE = {"manifest.json", "recipe.json", "contact-sheet.png", "README.md", "croissant.json"}
FIELDS = ("images", "digits", "lengths", "sources", "boxes", "cells", "gaps", "widths")
SPECS: dict[str, dict[str, Any]] = {
    "plain": {"length": 3},
    "lengths": {"length": (1, 4), "width": 100},
    "one digit": {"length": 1},
    "float32": {"length": (2, 3), "dtype": "float32"},
    "black ink": {"length": 2, "ink": "black"},
    "black float32": {"length": 2, "ink": "black", "dtype": "float32"},
    "texts": {"length": None, "texts": ("007", "42", "0" * 60)},
    "shrunk": {"length": (3, 5), "width": 60, "spacing": (0, 2), "overflow": "shrink"},
    "one writer": {"length": 2, "writer": "same"},
    "ink to ink": {"length": (2, 4), "measure": "ink", "spacing": (-2, 3), "align": "random"},
    "margin": {"length": 2, "width": 90, "height": 20, "align": "right", "seed": 2**64 - 1},
}


@pytest.fixture(scope="module")
def glyphs(make_glyphs: MakeGlyphs) -> tuple[Glyphs, Glyphs]:
    """Make two sets of ten writers each that share nothing, wide enough to shrink."""
    size = {"height": 12, "width": 16, "n": 100}
    writers = np.arange(100) // 10
    first = make_glyphs(**size, seed=1, split="train", writers=writers)
    second = make_glyphs(
        **size, seed=2, split="test", writers=10 + writers, ids=np.arange(100) + 100
    )
    return first, second


@pytest.fixture(scope="module")
def sets(glyphs: tuple[Glyphs, Glyphs]) -> list[DigitSequences]:
    """Make two small splits."""
    spec = SequenceSpec(num_samples=11, length=(2, 4), height=14)
    return [DigitSequences(glyphs[0], spec), DigitSequences(glyphs[1], spec.replace(num_samples=4))]


def contents(out: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def inodes(out: Path) -> dict[str, int]:
    """Tell which file is still the very same: a file that was written again has another inode."""
    return {
        path.relative_to(out).as_posix(): path.stat().st_ino
        for path in out.rglob("*")
        if path.is_file()
    }


def assert_same(a: SequenceBatch, b: SequenceBatch) -> None:
    """Compare values, types and shapes of all fields and factors."""
    for name in FIELDS:
        x, y = getattr(a, name), getattr(b, name)
        assert (x.dtype, x.shape) == (y.dtype, y.shape), name
        assert np.array_equal(x, y), name
    assert list(a.factors) == list(b.factors)
    for name in a.factors:
        assert a.factors[name].dtype == b.factors[name].dtype, name
        assert np.array_equal(a.factors[name], b.factors[name]), name


# Pictures


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_a_png_holds_every_pixel(image: np.ndarray) -> None:
    with Image.open(io.BytesIO(encode_png(image))) as picture:
        picture.load()
        assert (picture.format, picture.mode) == ("PNG", "L")
        assert np.array_equal(np.asarray(picture), image)


def test_a_png_of_strokes_is_no_larger_than_pillows(sets: list[DigitSequences]) -> None:
    ours = theirs = 0
    for image in sets[0][:].images:
        Image.fromarray(image).save(buffer := io.BytesIO(), format="PNG")
        ours, theirs = ours + len(encode_png(image)), theirs + len(buffer.getvalue())
    assert ours <= theirs


# There and back


@pytest.mark.parametrize("format", ["png", "npz"])
@pytest.mark.parametrize("name", SPECS)
def test_what_is_loaded_is_what_was_saved(
    tmp_path: Path, glyphs: tuple[Glyphs, Glyphs], name: str, format: str
) -> None:
    spec = SequenceSpec(**{"num_samples": 7, "height": 12, **SPECS[name]})
    ds = DigitSequences(glyphs[0], spec)
    out = save(ds, tmp_path / "out", format, shard_size=3, progress=False)
    data = load(out)
    assert (len(data), data.split, data.spec) == (7, "train", spec)
    assert_same(data[:], ds[:])
    assert_same(data.batch([6, 0, -1, 3, 3]), ds.batch([6, 0, -1, 3, 3]))
    assert verify(out, deep=True, glyphs=glyphs).problems == ()


@pytest.fixture(scope="module", params=["png", "npz"])
def saved(
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    sets: list[DigitSequences],
) -> Path:
    """Save two splits once for all tests that only read."""
    return save(sets, tmp_path_factory.mktemp("saved") / "out", request.param, 4, progress=False)


@pytest.mark.parametrize(
    "index",
    [slice(None), slice(2, 9, 3), slice(None, None, -1), slice(5, 5), [], [3], [10, 0, 10, -11]],
    ids=str,
)
def test_batches_are_taken_as_from_the_source(
    saved: Path, sets: list[DigitSequences], index: Any
) -> None:
    assert_same(load(saved, "train")[index], sets[0][index])


def test_samples_are_taken_as_from_the_source(saved: Path, sets: list[DigitSequences]) -> None:
    data, ds = load(saved, "train"), sets[0]
    for index in (0, 10, -1, -11, np.int64(7)):
        for mine, theirs in zip(data[index], ds[index], strict=True):
            assert type(mine) is type(theirs)
            assert np.array_equal(mine, theirs)
    assert [sample.text for sample in data] == [sample.text for sample in ds]
    assert [sample.text for sample in data.__getitems__([4, 1])] == ds.batch([4, 1]).texts
    assert [len(batch) for batch in data.batches(5)] == [5, 5, 1]


@pytest.mark.parametrize("index", [11, -12, [0, 11]], ids=str)
def test_an_index_past_the_end_is_an_index_error(saved: Path, index: Any) -> None:
    with pytest.raises(IndexError, match="is out of range for 11 samples"):
        load(saved, "train")[index]


@pytest.mark.parametrize("index", [[0.5], ["1"], [[1]]], ids=str)
def test_what_is_no_index_is_a_value_error(saved: Path, index: Any) -> None:
    with pytest.raises(ValueError, match="indices must be"):
        load(saved, "train").batch(index)


def test_arrays_that_are_read_can_be_written_to(saved: Path) -> None:
    batch = load(saved, "train")[:]
    assert all(getattr(batch, name).flags.writeable for name in FIELDS)


def test_a_loaded_set_travels_to_another_process(saved: Path, sets: list[DigitSequences]) -> None:
    data = load(saved, "test")
    assert data[0].text == sets[1][0].text
    again = pickle.loads(pickle.dumps(data))
    assert_same(again[:], sets[1][:])


def test_load_reads_nothing_but_the_manifest(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_bytes((saved / "manifest.json").read_bytes())
    data = load(tmp_path, "train")
    assert len(data) == 11
    with pytest.raises(FileNotFoundError):
        data[0]


def test_a_loaded_set_does_not_mind_a_change_of_folder(
    saved: Path, sets: list[DigitSequences], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent)
    data = load("out", "test")
    monkeypatch.chdir(tmp_path)
    assert data[0].text == sets[1][0].text


def test_a_split_must_be_named_and_there(saved: Path) -> None:
    with pytest.raises(ValueError, match="holds train, test: say which"):
        load(saved)
    with pytest.raises(ValueError, match="has no split 'tset': did you mean 'test'"):
        load(saved, "tset")


# What others read


def test_lists_beside_the_pictures(tmp_path: Path, glyphs: tuple[Glyphs, Glyphs]) -> None:
    spec = SequenceSpec(num_samples=5, length=None, texts=("007", "1"), height=12)
    ds = DigitSequences(glyphs[0], spec)
    out = save(ds, tmp_path, shard_size=2, progress=False)
    batch = ds[:]
    listed = (out / "train" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in listed]
    assert [row["text"] for row in rows] == ["007", "1", "007", "1", "007"]
    for k, row in enumerate(rows):
        with Image.open(out / "train" / row["file_name"]) as picture:
            assert np.array_equal(np.asarray(picture), batch.images[k])
        length = len(row["text"])
        assert row["boxes"] == batch.boxes[k, :length].tolist()
        assert row["cells"] == batch.cells[k, :length].tolist()
        assert row["sources"] == batch.sources[k, :length].tolist()
        assert row["gaps"] == batch.gaps[k, : length - 1].tolist()
        assert (row["width"], row["factors"]) == (
            batch.widths[k],
            {"left": batch.factors["left"][k]},
        )
        names = ("file_name", "text", "width", "sources", "boxes", "cells", "gaps", "factors")
        assert set(row) == {*names}
    with (out / "labels.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["file_name", "text"],
            *([f"train/{row['file_name']}", row["text"]] for row in rows),
        ]


def test_beyond_ten_thousand_each_thousand_has_a_folder(
    tmp_path: Path, make_glyphs: MakeGlyphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = picturing.picture_name
    assert name(9_999, "7", 10_000) == "000009999_7.png"
    assert name(9_999, "7", 10_001) == "00009/000009999_7.png"
    monkeypatch.setattr(picturing, "picture_name", lambda k, text, _: name(k, text, 10_001))
    tiny = make_glyphs(n=10, height=2, width=2)
    ds = DigitSequences(tiny, SequenceSpec(num_samples=1_002, length=1, height=2))
    out = save(ds, tmp_path, shard_size=600, progress=False)
    folders = [path for path in sorted((out / "all").iterdir()) if path.is_dir()]
    assert [(path.name, len(list(path.iterdir()))) for path in folders] == [
        *(("00000", 1000), ("00001", 2))
    ]
    assert_same(load(out).batch([1_001, 599, 600]), ds.batch([1_001, 599, 600]))
    assert verify(out, deep=True, glyphs=tiny).ok


# The same bytes


@pytest.mark.parametrize("format", ["png", "npz"])
def test_who_makes_the_shards_makes_no_difference(
    tmp_path: Path, sets: list[DigitSequences], format: str
) -> None:
    serial = contents(save(sets, tmp_path / "serial", format, 3, progress=False))
    again = contents(save(sets, tmp_path / "again", format, 3, progress=False))
    with ThreadPoolExecutor(3) as pool:
        threads = save(sets, tmp_path / "threads", format, 3, executor=pool, progress=False)
    workers = save(sets, tmp_path / "workers", format, 3, workers=2, progress=False)
    assert again == serial
    assert contents(threads) == serial
    assert contents(workers) == serial


def test_the_order_of_shards_makes_no_difference(
    tmp_path: Path, sets: list[DigitSequences], monkeypatch: pytest.MonkeyPatch
) -> None:
    serial = contents(save(sets, tmp_path / "serial", "png", 3, progress=False))
    make = save.__globals__["_make"]

    def backwards(sets: Any, out: Path, todo: list[Any], *rest: Any) -> Any:
        return make(sets, out, todo[::-1], *rest)

    monkeypatch.setitem(save.__globals__, "_make", backwards)
    assert contents(save(sets, tmp_path / "backwards", "png", 3, progress=False)) == serial


def test_more_samples_change_no_sample(tmp_path: Path, sets: list[DigitSequences]) -> None:
    few = save(sets[0], tmp_path / "few", "png", 3, progress=False)
    many = save(sets[0].replace(num_samples=20), tmp_path / "many", "png", 5, progress=False)
    pictures = {name: data for name, data in contents(few).items() if name.startswith("train/0")}
    assert pictures.items() <= contents(many).items()


# Going on


@pytest.mark.parametrize("format", ["png", "npz"])
def test_a_finished_folder_is_left_alone(
    tmp_path: Path, sets: list[DigitSequences], format: str
) -> None:
    out = save(sets, tmp_path / "out", format, 3, progress=False)
    before = inodes(out)
    save(sets, out, format, 3, progress=False)
    assert inodes(out) == before


@pytest.mark.parametrize("format", ["png", "npz"])
def test_only_what_is_missing_or_wrong_is_made_again(
    tmp_path: Path, sets: list[DigitSequences], format: str
) -> None:
    out = save(sets, tmp_path / "out", format, 3, progress=False)
    before, data = inodes(out), contents(out)
    stem = "train-00001-of-00004"
    if format == "npz":
        (out / f"{stem}.npz").write_bytes(b"torn")
        touched = {f"{stem}.npz"}
    else:
        mine = [
            name
            for name in before
            if name.startswith(tuple(f"train/00000000{k}" for k in (3, 4, 5)))
        ]
        (out / mine[0]).unlink()
        touched = {
            *mine,
            f".digitseq/{stem}.jsonl",
            "train/metadata.jsonl",
            "test/metadata.jsonl",
            "labels.csv",
        }
    save(sets, out, format, 3, progress=False)
    assert contents(out) == data
    same = {name for name, inode in inodes(out).items() if before[name] == inode}
    assert set(before) - same <= touched | WHOLE
    assert before.keys() - touched - WHOLE <= same


def test_a_damaged_recipe_is_mended_from_the_manifest(
    tmp_path: Path, sets: list[DigitSequences]
) -> None:
    out = save(sets, tmp_path / "out", "npz", progress=False)
    data = contents(out)
    for damage in (b"", b"{", data["recipe.json"].replace(b"14", b"15"), b"[" * 100_000):
        (out / "recipe.json").write_bytes(damage)
        save(sets, out, "npz", progress=False)
        assert contents(out) == data


def test_a_folder_that_was_only_locked_is_free(tmp_path: Path, sets: list[DigitSequences]) -> None:
    (tmp_path / ".digitseq").mkdir()
    (tmp_path / ".digitseq" / "lock").touch()
    (tmp_path / "recipe.json.0123abcd.tmp").write_bytes(b"{")
    assert verify(save(sets, tmp_path, progress=False)).ok


# Refusals: a clear error, and nothing written


@pytest.fixture
def taken(tmp_path: Path, sets: list[DigitSequences]) -> Path:
    """Make a folder that holds a data set, and what its owner put beside it."""
    out = save(sets[0], tmp_path / "taken", "png", 3, progress=False)
    (out / "notes.txt").write_text("mine")
    (out / "train" / "photo.png").write_bytes(b"mine")
    (out / "holiday").mkdir()
    (out / "holiday" / "000000001_1.png").write_bytes(b"mine")
    return out


def test_another_data_set_is_refused_with_both_hashes(
    taken: Path, sets: list[DigitSequences]
) -> None:
    before = contents(taken)
    own = read_manifest(taken).data["recipe_sha256"]
    with pytest.raises(FileExistsError, match=f"holds another data set, {own}, and this one is"):
        save(sets[1], taken, progress=False)
    assert contents(taken) == before


def test_overwrite_replaces_only_own_files(taken: Path, sets: list[DigitSequences]) -> None:
    mine = {name: data for name, data in contents(taken).items() if data == b"mine"}
    save(sets[1], taken, "npz", overwrite=True, progress=False)
    assert set(contents(taken)) == WHOLE | {"test-00000-of-00001.npz"} | set(mine)
    assert len(mine) == 3
    assert {name: contents(taken)[name] for name in mine} == mine
    assert len(verify(taken).problems) == 3


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["notes.txt", "recipe.json", "manifest.json", "train/1.png"])
def test_other_peoples_folders_are_refused(
    tmp_path: Path, sets: list[DigitSequences], name: str, overwrite: bool
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"recipe": "of my grandmother"}')
    with pytest.raises(FileExistsError, match=f"holds other files \\({name}\\): name an empty"):
        save(sets, tmp_path, overwrite=overwrite, progress=False)
    assert list(contents(tmp_path)) == [name]


def test_a_file_is_no_folder(tmp_path: Path, sets: list[DigitSequences]) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(FileExistsError, match="out is a file: name a folder"):
        save(sets, tmp_path / "out", overwrite=True, progress=False)
    with pytest.raises(OSError, match="Not a directory|cannot find"):
        save(sets, tmp_path / "out" / "deeper", progress=False)
    assert contents(tmp_path) == {"out": b"mine"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "pgn"}, "format must be one of png, .*, got 'pgn': did you mean 'png'"),
        ({"format": None}, "format must be one of"),
        ({"shard_size": 0}, "shard_size must be at least 1, got 0"),
        ({"shard_size": True}, "shard_size must be an integer"),
        ({"shard_size": 10.0}, "shard_size must be an integer"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"workers": "2"}, "workers must be an integer"),
        ({"workers": 62}, "workers must be at most 61"),
        pytest.param(
            {"workers": 1, "executor": ThreadPoolExecutor()}, "exclude each other", id="both"
        ),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(
    tmp_path: Path, sets: list[DigitSequences], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        save(sets, tmp_path / "out", **wrong, progress=False)
    assert not (tmp_path / "out").exists()


def shared(glyphs: tuple[Glyphs, Glyphs], sets: list[DigitSequences]) -> dict[str, tuple[Any, str]]:
    """List what can't be saved together, and what is said of it."""
    train, test, spec = *glyphs, sets[0].spec
    other = replace(test, writers=None)
    leaky = Glyphs.concat([other, replace(train.subset([5]), writers=None)])
    renumbered = replace(leaky, ids=np.arange(101) + 500)
    mixed = test.writers.copy()
    mixed[3] = 4
    mnist, small = replace(train, name="mnist"), test.images[:, 1:]
    resized = replace(test, name="mnist", images=small, ids=test.ids - 99)
    one, two = sets

    def against(found: Glyphs, first: Glyphs = train) -> list[DigitSequences]:
        return [DigitSequences(first, spec), DigitSequences(replace(found, split="test"), spec)]

    return {
        "a glyph": (against(leaky), "'train' and 'test' share 1 glyphs, the first has id 5"),
        "a renumbered glyph": (against(renumbered), "share 1 glyphs, the first has id 600"),
        "a resized glyph": (against(resized, mnist), "share 99 glyphs, the first has id 1"),
        "a writer": (against(replace(test, writers=mixed)), "share 1 writers, the first is 4"),
        "a name": ([one, one], "two data sets are called 'train'"),
        "a transform": (DigitSequences(train, spec, transform=np.fliplr), "has a transform"),
        "nothing": ([], "must be one or several DigitSequences"),
        "a batch": ([two, one[:]], "must be one or several DigitSequences"),
        "arrays": (two[:].images, "must be one or several DigitSequences"),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("a glyph", "a renumbered glyph", "a resized glyph", "a writer", "a name"),
        *("a transform", "nothing", "a batch", "arrays"),
    ],
)
def test_what_must_not_be_saved_together_is_refused(
    tmp_path: Path, glyphs: tuple[Glyphs, Glyphs], sets: list[DigitSequences], name: str
) -> None:
    wrong, message = shared(glyphs, sets)[name]
    with pytest.raises(ValueError, match=message):
        save(wrong, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


# Recipes


def test_a_recipe_makes_the_data_set_again(
    tmp_path: Path, saved: Path, glyphs: tuple[Glyphs, Glyphs]
) -> None:
    recipe = json.loads((saved / "recipe.json").read_bytes())
    sets = recipe_sets(recipe, glyphs)
    again = save(sets, tmp_path / "again", recipe["format"], recipe["shard_size"], progress=False)
    assert contents(again) == contents(saved)


def test_a_recipe_without_its_glyphs_names_their_hash(
    saved: Path, glyphs: tuple[Glyphs, Glyphs], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DIGITSEQ_CACHE", str(tmp_path))
    recipe = json.loads((saved / "recipe.json").read_bytes())
    with pytest.raises(LookupError, match=glyphs[1].sha256):
        recipe_sets(recipe, glyphs[0])
    with pytest.raises(LookupError, match=glyphs[0].sha256):
        verify(saved, deep=True)


@pytest.mark.parametrize(
    "change",
    [
        {"recipe_version": 2}, {"recipe_version": None}, {"splits": 3}, {"splits": {"a": {}}},
        {"splits": {"a": {"spec": {}, "glyphs": {"sha256": "../e", "name": "a", "split": "a"}}}},
        {"splits": {"a": {"spec": {}, "glyphs": {"sha256": 7, "name": [], "split": "../a"}}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_recipe_that_makes_no_sense_is_a_value_error(saved: Path, change: dict[str, Any]) -> None:
    recipe = json.loads((saved / "recipe.json").read_bytes())
    with pytest.raises(ValueError):
        recipe_sets(recipe | change)


def test_the_manifest_says_who_and_whose(tmp_path: Path, sets: list[DigitSequences]) -> None:
    ds = replace(sets[0], glyphs=replace(sets[0].glyphs, name="mnist"))
    mine = read_manifest(save(sets[0], tmp_path / "mine", "npz", progress=False)).data
    theirs = read_manifest(save(ds, tmp_path / "theirs", "npz", progress=False)).data
    assert mine["licence"] == ["that of the glyphs 'custom'"]
    assert theirs["licence"] == ["CC BY-SA 3.0, MNIST by Yann LeCun and Corinna Cortes"]
    assert mine["versions"]["numpy"] == np.__version__
    assert [row["samples"] for row in mine["shards"]["train"]] == [11]


# The manifest, a record at a time

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(value=JSON, rows=st.lists(st.dictionaries(st.text(), JSON), max_size=4), data=st.data())
def test_a_manifest_is_spelled_as_json_spells_it(
    value: Any, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    with TemporaryFile() as file:
        records = Records(file, len(rows))
        for number in data.draw(st.permutations(range(len(rows)))):
            assert records.lacks(number)
            records.put(number, rows[number])
            assert not records.lacks(number)
        told = {"a": value, "shards": {"train": records, "none": []}, "z": {"deep": records}}
        plain = {"a": value, "shards": {"train": rows, "none": []}, "z": {"deep": rows}}
        expected = json.dumps(plain, indent=1).encode() + b"\n"
        assert pretty_json(told) == pretty_json(plain) == expected
        assert manifest_sha256(told) == manifest_sha256(plain)


def test_ten_thousand_records_take_no_memory(saved: Path) -> None:
    (record, *_) = json.loads((saved / "manifest.json").read_bytes())["shards"]["train"]
    with TemporaryFile() as file:
        records = Records(file, 10_000)
        tracemalloc.start()
        for number in range(len(records)):
            records.put(number, record)
        digest = manifest_sha256({"shards": {"train": records}})
        size = sum(map(len, spelled({"shards": {"train": records}})))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert digest == manifest_sha256({"shards": {"train": [record] * 10_000}})
    assert size > 5_000_000 and peak < 500_000  # of which 160,000 are where they lie


# The bar


def test_the_bar_counts_samples_on_standard_error(
    tmp_path: Path, sets: list[DigitSequences], capfd: pytest.CaptureFixture[str]
) -> None:
    save(sets, tmp_path / "out", "npz", 4)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "15.0/15.0" in shown.err
    os.remove(tmp_path / "out" / "test-00000-of-00001.npz")
    save(sets, tmp_path / "out", "npz", 4)
    assert "11.0/15.0" in capfd.readouterr().err.replace("\r", "\n").split("\n")[1]
    save(sets, tmp_path / "quiet", "npz", 4, progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_loaded_batch_goes_where_it_shall(saved: Path, sets: list[DigitSequences]) -> None:
    data = load(saved, sets[0].split)
    expected = sets[0].batch([3, 1])
    room = np.empty_like(expected.images)
    assert data.batch([3, 1], out=room).images is room and (room == expected.images).all()
    with pytest.raises(ValueError, match="out must be uint8 .* got float64"):
        data.batch([3, 1], out=room.astype(float))
    with pytest.raises(ValueError, match="can't be overridden: use the DigitSequences"):
        data.batch([3, 1], override={"gaps": 0})


def test_files_that_vanish_while_room_is_measured_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalFolder, "walk", lambda folder: iter(["gone.png.0123abcd.tmp"]))
    LocalFolder(tmp_path).check_room(1)
