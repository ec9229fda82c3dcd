"""Pictures: every spec and style, other readers, and all that can go wrong with files."""

import errno
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitseq.core import Glyphs, SequenceBatch
from digitseq.cutting import Shard, cut_shards, shard_record
from digitseq.encoding import encode_png
from digitseq.generating import DigitSequences
from digitseq.keeping import Data, Entry, Folder, LocalFolder, RemoteFolder, open_folder
from digitseq.picturing import (
    PATTERN,
    STYLES,
    digit_boxes,
    expected_names,
    in_threads,
    list_file,
    picture_name,
    read_list,
    read_pictures,
    row_files,
    whole_files,
    whole_names,
    write_pictures,
    yolo_data,
    yolo_labels,
)
from digitseq.specifying import SequenceSpec

MakeGlyphs = Callable[..., Glyphs]
Sets = Sequence[DigitSequences]
FIELDS = ("images", "digits", "lengths", "sources", "boxes", "cells", "gaps", "widths")
SPECS: dict[str, dict[str, Any]] = {
    "plain": {"length": 3},
    "lengths": {"length": (1, 4), "width": 100},
    "one digit": {"length": 1},
    "float32": {"length": (2, 3), "dtype": "float32"},
    "black float32": {"length": 2, "ink": "black", "dtype": "float32"},
    "texts": {"length": None, "texts": ("007", "42", "0" * 60)},
    "augmented": {"length": 3, "augment": {"rotation_range": 20, "horizontal_flip": True}},
}
every_style = pytest.mark.parametrize("style", STYLES)
every_spec = pytest.mark.parametrize("name", SPECS)


@pytest.fixture(scope="module")
def sets(make_glyphs: MakeGlyphs) -> Sets:
    """Two splits of lengths that differ; the ink of many digits touches the edge of its cell."""
    spec = SequenceSpec(num_samples=11, length=None, texts=("007", "42", "90210"), width=60)
    second = make_glyphs(seed=2, height=12, width=9, split="validation")
    return [
        DigitSequences(make_glyphs(height=12, width=9, split="train"), spec),
        DigitSequences(second, spec.replace(num_samples=4)),
    ]


def library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed")


def shards_of(sets: Sets, size: int) -> dict[str, list[Shard]]:
    return {ds.split: list(cut_shards(ds.split, len(ds), size)) for ds in sets}


def write_all(folder: Folder, sets: Sets, style: str, size: int = 4) -> dict[str, list[Shard]]:
    """Write splits with all that belongs to them."""
    shards = shards_of(sets, size)
    for ds in sets:
        for shard in shards[ds.split]:
            write_pictures(folder, shard, ds[shard.start : shard.stop], style)
    for name, pieces in whole_files(folder, shards, {ds.split: ds.spec for ds in sets}, style):
        folder.write(name, pieces)
    return shards


def one_shard(ds: DigitSequences) -> Shard:
    return next(cut_shards(ds.split, len(ds), len(ds)))


def assert_same(a: SequenceBatch, b: SequenceBatch) -> None:
    """Compare values, types and shapes of all fields and factors."""
    assert list(a.factors) == list(b.factors)
    pairs = [(getattr(a, name), getattr(b, name)) for name in FIELDS]
    for x, y in [*pairs, *((a.factors[name], b.factors[name]) for name in a.factors)]:
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert np.array_equal(x, y)


# There and back


@every_style
@every_spec
def test_what_was_written_is_read(
    make_glyphs: MakeGlyphs, tmp_path: Path, name: str, style: str
) -> None:
    spec = SequenceSpec(num_samples=9, **SPECS[name])
    ds = DigitSequences(make_glyphs(height=12, width=16, n=40), spec)
    folder = LocalFolder(tmp_path)
    for shard in cut_shards(ds.split, 9, 5):
        batch = ds[shard.start : shard.stop]
        entry = write_pictures(folder, shard, batch, style)
        assert entry == {
            "size": folder.size(list_file(shard)),
            "sha256": folder.sha256(list_file(shard)),
        }
        rows, record = read_list(folder, shard, style), shard_record(shard, batch)
        assert_same(read_pictures(folder, shard, rows, record, spec.dtype), batch)
        few = read_pictures(folder, shard, rows[::-2], record, spec.dtype)
        assert_same(few, ds.batch(np.arange(shard.start, shard.stop)[::-2]))


def test_no_rows_are_an_empty_batch(sets: Sets, tmp_path: Path) -> None:
    ds, shard = sets[0], one_shard(sets[0])
    record = shard_record(shard, ds[:])
    none = read_pictures(LocalFolder(tmp_path), shard, [], record, "uint8")
    assert (len(none), none.images.shape[1:]) == (0, ds[:].images.shape[1:])


@given(
    style=st.sampled_from(STYLES),
    total=st.integers(1, 12),
    size=st.integers(1, 13),
    low=st.integers(1, 4),
    more=st.integers(0, 3),
    seed=st.integers(0, 2**64 - 1),
)
def test_any_cut_gives_the_same_pictures(
    toy_glyphs: Glyphs,
    tmp_path_factory: pytest.TempPathFactory,
    style: str,
    total: int,
    size: int,
    low: int,
    more: int,
    seed: int,
) -> None:
    spec = SequenceSpec(num_samples=total, length=(low, low + more), height=10, seed=seed)
    ds, folder = DigitSequences(toy_glyphs, spec), LocalFolder(tmp_path_factory.mktemp("cut"))
    shards = write_all(folder, [ds], style, size)
    read, seen = [], list[str]()
    for shard in shards[ds.split]:
        rows = read_list(folder, shard, style)
        record = shard_record(shard, ds[shard.start : shard.stop])
        read += [*read_pictures(folder, shard, rows, record, "uint8").images]
        seen += [list_file(shard)] + [name for row in rows for name, _ in row_files(shard, row)]
        assert all(expected_names(shard, style)(name) for name in seen[-len(rows) :])
    assert np.array_equal(read, ds[:].images)
    assert sorted([*seen, *whole_names([ds.split], style)]) == folder.files()
    own = re.compile(PATTERN.replace("{split}", re.escape(ds.split)))
    assert all(map(own.fullmatch, folder.files()))


@every_style
def test_every_file_is_the_same_wherever_it_is_written(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    here, there = LocalFolder(tmp_path / "a"), open_folder(f"memory://same/{style}")
    many = LocalFolder(tmp_path / "b")
    for folder in (here, there):
        write_all(folder, sets, style)
    monkeypatch.setattr("digitseq.picturing._threads", lambda folder: 5)
    write_all(many, sets, style)
    assert here.files() == there.files() == many.files()
    for name in here.files():
        assert here.read(name) == there.read(name) == many.read(name)


@every_style
def test_the_files_of_the_whole_go_by_their_names(sets: Sets, tmp_path: Path, style: str) -> None:
    folder, specs = LocalFolder(tmp_path), {ds.split: ds.spec for ds in sets}
    shards = write_all(folder, sets, style)
    files = whole_files(folder, shards, specs, style)
    assert [name for name, _ in files] == whole_names(shards, style)


def test_a_style_that_nobody_knows_is_refused(sets: Sets, tmp_path: Path) -> None:
    ds = sets[0]
    with pytest.raises(ValueError, match="style must be"):
        write_pictures(LocalFolder(tmp_path), one_shard(ds), ds[:], "jpeg")
    with pytest.raises(ValueError, match="style must be"):
        whole_names(["train"], "jpeg")


# Order


@given(st.integers(2, 10**12), st.data())
def test_the_order_of_names_is_that_of_samples(total: int, data: st.DataObject) -> None:
    numbers = sorted(data.draw(st.lists(st.integers(0, total - 1), min_size=2, unique=True)))
    texts = data.draw(st.lists(st.from_regex("[0-9]{1,70}", fullmatch=True), min_size=2))
    names = [picture_name(k, texts[k % len(texts)], total) for k in numbers]
    assert names == sorted(names) and len({*names}) == len(names)
    assert [name.split("/") for name in names] == sorted(name.split("/") for name in names)


@dataclass
class Lists(Folder):
    """A folder that remembers lists, and of everything else only the names."""

    kept: dict[str, bytes] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def walk(self) -> Iterator[str]:
        return iter(self.names)

    def size(self, name: str) -> int | None:
        return None

    def open(self, name: str) -> BinaryIO:
        raise FileNotFoundError(name)

    def read(self, name: str) -> bytes:
        return self.kept[name]

    def write(self, name: str, data: Data, sync: bool = True) -> Entry:
        assert isinstance(data, bytes)
        self.names.append(name)
        if sync:
            self.kept[name] = data
        return {"size": len(data), "sha256": "0" * 64}

    def remove(self, names: Iterable[str]) -> None:
        raise NotImplementedError

    def lock(self) -> Any:
        raise NotImplementedError

    def check_room(self, needed: int) -> None:
        raise NotImplementedError


@dataclass
class Pictured(Lists):
    """The same, in which every file that is no list holds one picture."""

    picture: Any = None

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(encode_png(self.picture))


def test_a_large_split_lies_in_folders_of_a_thousand(sets: Sets) -> None:
    shard, folder = Shard("train", 4, 10, 3998, 4004, 10_001), Lists()
    write_pictures(folder, shard, sets[0][:6], "yolo")
    rows = read_list(folder, shard, "yolo")
    assert [row["file_name"][:16] for row in rows] == [
        f"{k // 1000:05d}/{k:09d}_" for k in range(3998, 4004)
    ]
    assert {name for row in rows for name, _ in row_files(shard, row)} == {*folder.names[:-1]}
    assert all(expected_names(shard, "yolo")(name) for name in folder.names[:-1])


# Other people's readers


def test_hugging_face_reads_splits_pictures_and_texts(sets: Sets, tmp_path: Path) -> None:
    datasets = library("datasets")
    for style in STYLES:
        write_all(LocalFolder(tmp_path / style), sets, style)
        read = datasets.load_dataset(
            "imagefolder", data_dir=str(tmp_path / style), cache_dir=str(tmp_path / "cache" / style)
        )
        assert [*read] == ["train", "validation"]
        for ds in sets:
            split, batch = read[ds.split], ds[:]
            assert split["text"] == batch.texts
            assert [np.asarray(image).tolist() for image in split["image"]] == batch.images.tolist()
            assert split["boxes"][0] == batch.boxes[0, : batch.lengths[0]].tolist()
            assert {"label", "size", "sha256"}.isdisjoint(split.column_names)


def test_hugging_face_guesses_that_these_are_pictures(sets: Sets, tmp_path: Path) -> None:
    datasets = library("datasets")
    for style in ("png", "coco"):  # with YOLO's there are as many text files, and it guesses those
        write_all(LocalFolder(tmp_path / style), sets, style)
        read = datasets.load_dataset(
            str(tmp_path / style), cache_dir=str(tmp_path / "cache" / style)
        )
        assert {name: split["text"] for name, split in read.items()} == {
            ds.split: ds[:].texts for ds in sets
        }


def test_hugging_face_reads_single_digits(make_glyphs: MakeGlyphs, tmp_path: Path) -> None:
    datasets = library("datasets")
    ds = DigitSequences(make_glyphs(split="train"), SequenceSpec(num_samples=5, length=1))
    write_all(LocalFolder(tmp_path / "out"), [ds], "png")
    read = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache")
    )
    assert read["train"]["text"] == ds[:].texts and read["train"]["gaps"] == [[]] * 5


@pytest.mark.parametrize(
    ("first", "second", "columns"),
    [
        ({"length": 3, "augment": {"rotation_range": 9}}, {"length": 3}, {"gaps", "factors"}),
        ({"length": 1}, {"length": (1, 3)}, {"factors"}),
        ({"length": 1}, {"length": None, "texts": ("7", "5")}, {"gaps", "factors"}),
    ],
)
def test_hugging_face_takes_splits_that_differ(
    make_glyphs: MakeGlyphs,
    tmp_path: Path,
    first: dict[str, Any],
    second: dict[str, Any],
    columns: set[str],
) -> None:
    datasets = library("datasets")
    pairs = [("train", first), ("test", second)]
    sets = [
        DigitSequences(make_glyphs(split=name), SequenceSpec(num_samples=6, **more))
        for name, more in pairs
    ]
    write_all(LocalFolder(tmp_path / "out"), sets, "png")
    read = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache")
    )
    for ds in sets:
        assert read[ds.split]["text"] == ds[:].texts
        assert columns == {"gaps", "factors"} & {*read[ds.split].column_names}
        assert [*read[ds.split]["factors"][0]] == ["left"]


def keras_pictures(folder: Path, shape: tuple[int, int]) -> Any:
    keras = library("keras")
    return keras.utils.image_dataset_from_directory(
        folder,
        labels=None,
        shuffle=False,
        color_mode="grayscale",
        image_size=shape,
        batch_size=4,
        verbose=False,
    )


def test_keras_reads_pictures_in_the_order_of_the_samples(sets: Sets, tmp_path: Path) -> None:
    library("tensorflow")
    images = sets[0][:].images
    for style in STYLES:
        write_all(LocalFolder(tmp_path / style), sets, style)
        read = np.concatenate([*keras_pictures(tmp_path / style / "train", images.shape[1:])])
        assert np.array_equal(read[..., 0], images)


def test_keras_keeps_the_order_across_folders(sets: Sets, tmp_path: Path) -> None:
    library("tensorflow")
    images, folder = sets[0][:].images, LocalFolder(tmp_path)
    starts = (0, 1998, 9_998, 10_000)  # eight of a million samples, in five folders
    for number, start in enumerate(starts):
        shard = Shard("train", number, 4, start, start + 2, 10**6)
        write_pictures(folder, shard, sets[0][2 * number : 2 * number + 2], "yolo")
    assert len([*(tmp_path / "train").iterdir()]) == 4
    read = np.concatenate([*keras_pictures(tmp_path / "train", images.shape[1:])])
    assert np.array_equal(read[..., 0], images[:8])


def test_keras_learns_from_pictures_and_texts(sets: Sets, tmp_path: Path) -> None:
    keras, tf = library("keras"), library("tensorflow")
    write_all(LocalFolder(tmp_path), sets, "png")
    lines = (tmp_path / "train" / "metadata.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    labels = np.zeros((len(texts), 5), np.int32)  # 0 is CTC's blank, so digits count from 1
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = [int(letter) + 1 for letter in text]
    height, width = sets[0][:].images.shape[1:]
    pictures = keras_pictures(tmp_path / "train", (height, width)).unbatch()
    data = tf.data.Dataset.zip((pictures, tf.data.Dataset.from_tensor_slices(labels))).batch(11)
    model = keras.Sequential(
        [
            keras.Input((height, width, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Permute((2, 1, 3)),
            keras.layers.Reshape((width, height)),
            keras.layers.Dense(11),
        ]
    )
    model.compile(loss=keras.losses.CTC())
    assert np.isfinite(model.fit(data, verbose=0).history["loss"]).all()


@pytest.fixture
def coco(sets: Sets, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """COCO's own reader, on the training split."""
    reader = library("pycocotools.coco")
    write_all(LocalFolder(tmp_path), sets, "coco")
    return reader.COCO(str(tmp_path / "annotations" / "instances_train.json"))


def test_pycocotools_reads_every_box(sets: Sets, tmp_path: Path, coco: Any) -> None:
    batch, names = sets[0][:], {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
    assert coco.getImgIds() == [*range(len(batch))] and [*names.values()] == [*"0123456789"]
    for k, image in enumerate(coco.loadImgs(coco.getImgIds())):
        assert (tmp_path / "train" / image["file_name"]).is_file()
        assert (image["height"], image["width"]) == batch.images.shape[1:]
        told = coco.loadAnns(coco.getAnnIds(imgIds=[k]))
        assert "".join(names[one["category_id"]] for one in told) == batch.texts[k]
        for one, (x0, y0, x1, y1) in zip(told, batch.boxes[k], strict=False):
            mask = np.zeros(batch.images.shape[1:], np.uint8)
            mask[y0:y1, x0:x1] = 1
            assert np.array_equal(coco.annToMask(one), mask)


def test_the_truth_is_evaluated_as_perfect(coco: Any, capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = library("pycocotools.cocoeval")
    told = coco.loadAnns(coco.getAnnIds())
    keys = ("image_id", "category_id", "bbox")
    found = coco.loadRes([{key: one[key] for key in keys} | {"score": 1.0} for one in told])
    for kind in ("bbox", "segm"):
        judge = evaluation.COCOeval(coco, found, kind)
        judge.evaluate(), judge.accumulate(), judge.summarize()
        assert judge.stats[0] == pytest.approx(1)


def test_what_is_not_to_be_seen_is_not_annotated() -> None:
    row = {"text": "1234", "boxes": [[0, 0, 5, 5], [5, 0, 5, 9], [6, 4, 9, 4], [9, 0, 12, 8]]}
    assert [digit for digit, _ in digit_boxes(row)] == [1, 4]
    assert len(yolo_labels(row, (10, 20)).splitlines()) == 2


sides = st.integers(1, 1 << 16)


@given(sides, sides, st.data())
def test_yolo_finds_each_pixel_again(height: int, width: int, data: st.DataObject) -> None:
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    line = yolo_labels({"text": "7", "boxes": [[x0, y0, x1, y1]]}, (height, width))
    name, *numbers = line.split()
    x, y, w, h = (float(number) for number in numbers)
    edges = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
    assert (name, [round(edge) for edge in edges]) == (b"7", [x0, y0, x1, y1])
    assert all(0 <= number <= 1 for number in (x, y, w, h))


def test_yolo_finds_labels_beside_pictures(sets: Sets, tmp_path: Path) -> None:
    write_all(LocalFolder(tmp_path), sets, "yolo")
    yaml = library("yaml")
    told = yaml.safe_load((tmp_path / "data.yaml").read_bytes())
    assert told == {
        "train": ["train"],
        "val": ["validation"],
        "test": [],
        "nc": 10,
        "names": [*"0123456789"],
    }
    for ds in sets:
        pictures = sorted((tmp_path / ds.split).rglob("*.png"))
        labels = [path.with_suffix(".txt").read_text().splitlines() for path in pictures]
        assert ["".join(line[0] for line in lines) for lines in labels] == ds[:].texts


@pytest.mark.parametrize(
    ("splits", "roles"),
    [
        (["train"], (["train"], ["train"], [])),
        (["train", "test"], (["train"], ["train"], ["test"])),
        (["train", "validation", "test"], (["train"], ["validation"], ["test"])),
        (["all"], (["all"], ["all"], [])),
        (["null", "1e5", "val"], (["null", "1e5"], ["val"], [])),
        (["train", "holdout"], (["train"], ["train"], [])),
        (["download", "names"], (["download", "names"], ["download", "names"], [])),
    ],
)
def test_yolo_is_told_what_each_split_is_for(splits: list[str], roles: tuple[Any, ...]) -> None:
    told = library("yaml").safe_load(yolo_data(splits))
    assert (told["train"], told["val"], told["test"]) == roles
    assert {*told} == {"train", "val", "test", "nc", "names"}


# Lists that lie


@pytest.fixture(scope="module")
def lists(sets: Sets) -> dict[str, tuple[Shard, bytes]]:
    """A true list in each style."""
    made = {}
    for style in STYLES:
        shard, folder = one_shard(sets[1]), Lists()
        write_pictures(folder, shard, sets[1][:], style)
        made[style] = shard, folder.read(list_file(shard))
    return made


def read_as(style: str, shard: Shard, data: bytes) -> list[dict[str, Any]]:
    return read_list(Lists({list_file(shard): data}), shard, style)


@given(st.sampled_from(STYLES), st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_is_nonsense_or_harmless(
    lists: dict[str, tuple[Shard, bytes]], style: str, place: int, flip: int
) -> None:
    shard, data = lists[style]
    forged = bytearray(data)
    forged[place % len(data)] ^= flip
    try:
        rows = read_as(style, shard, bytes(forged))
    except ValueError as error:
        assert str(error).startswith(list_file(shard))
    else:
        names = [name for row in rows for name, _ in row_files(shard, row)]
        assert all(expected_names(shard, style)(name) for name in names)
        assert len(names) == (8 if style == "yolo" else 4)


@given(st.sampled_from(STYLES), st.integers(0, 10**6))
def test_a_list_that_breaks_off_is_nonsense(
    lists: dict[str, tuple[Shard, bytes]], style: str, place: int
) -> None:
    shard, data = lists[style]
    with pytest.raises(ValueError, match="makes no sense"):
        read_as(style, shard, data[: place % (len(data) - 2)])


EVIL = ["../../etc/passwd", "/etc/passwd", "..\\evil.png", "", "000000000_007.png\n", "a/b.png"]


@every_style
@pytest.mark.parametrize("name", EVIL)
def test_an_evil_name_is_refused(
    lists: dict[str, tuple[Shard, bytes]], name: str, style: str
) -> None:
    shard, data = lists[style]
    first, *others = data.splitlines(keepends=True)
    row = json.loads(first) | {"file_name": name}
    with pytest.raises(ValueError, match="sample 0 is listed as"):
        read_as(style, shard, json.dumps(row).encode() + b"\n" + b"".join(others))


NONSENSE: list[Any] = [None, 1, "text", [], {}, -1, True, 1e308, [[]], "٣", "1" * 10**6]


@every_style
@pytest.mark.parametrize("key", ["file_name", "text", "size", "sha256", "label"])
def test_nonsense_in_a_row_is_named(
    lists: dict[str, tuple[Shard, bytes]], key: str, style: str
) -> None:
    shard, data = lists[style]
    first, *others = data.splitlines(keepends=True)
    for value in NONSENSE:
        row = json.loads(first) | {key: value}
        if key == "size" and value == 1:
            continue
        with pytest.raises(ValueError, match=re.escape(list_file(shard))) as caught:
            read_as(style, shard, json.dumps(row).encode() + b"\n" + b"".join(others))
        assert len(str(caught.value)) < 1000 or key in ("size", "sha256", "label")


@pytest.mark.parametrize("line", [b"[]", b"1", b"null", b'"x"', b"[" * 10**5, b"9" * 10**5, b""])
def test_rows_that_are_none_are_nonsense(
    lists: dict[str, tuple[Shard, bytes]], line: bytes
) -> None:
    shard, data = lists["png"]
    others = data.splitlines(keepends=True)[1:]
    with pytest.raises(ValueError, match="makes no sense"):
        read_as("png", shard, line + b"\n" + b"".join(others))


@pytest.mark.parametrize("key", ["boxes", "cells", "sources", "gaps", "width", "factors"])
def test_nonsense_beside_a_picture_is_named(sets: Sets, tmp_path: Path, key: str) -> None:
    ds, folder, shard = sets[1], LocalFolder(tmp_path), one_shard(sets[1])
    write_pictures(folder, shard, ds[:], "png")
    rows, record = read_list(folder, shard, "png"), shard_record(shard, ds[:])
    for value in (None, "text", [[[[1]]]], [1] * 100, {"left": "left"}, 10**30):
        forged = [rows[0] | {key: value}, *rows[1:]]
        with pytest.raises(ValueError, match="makes no sense"):
            read_pictures(folder, shard, forged, record, "uint8")


@pytest.mark.parametrize("boxes", [None, [], [[0, 0, 1]], [[0, 0, 1, 1.5]], [[0, 0, 1, 10**30]]])
def test_nonsense_for_a_box_is_named(
    sets: Sets, lists: dict[str, tuple[Shard, bytes]], boxes: Any
) -> None:
    shard, data = lists["coco"]
    first, *others = data.splitlines(keepends=True)
    row = json.dumps(json.loads(first) | {"boxes": boxes}).encode() + b"\n"
    folder = Pictured({list_file(shard): row + b"".join(others)}, picture=sets[1][:].images[0])
    specs = {shard.split: sets[1].spec}
    files = dict(whole_files(folder, {shard.split: [shard]}, specs, "coco"))
    with pytest.raises(ValueError, match=r"for annotations/instances_validation.json, makes no"):
        list(files["annotations/instances_validation.json"])


@pytest.mark.parametrize("factors", [None, [], 1, "left"])
def test_nonsense_for_a_factor_is_named(
    sets: Sets, lists: dict[str, tuple[Shard, bytes]], factors: Any
) -> None:
    shard, data = lists["png"]
    rows = [json.loads(line) for line in data.splitlines()]
    for k, what in ((0, "a list of pictures makes no"), (1, "for validation/metadata.jsonl, mak")):
        forged = [row | {"factors": factors} if row is rows[k] else row for row in rows]
        text = "".join(json.dumps(row) + "\n" for row in forged)
        folder = Lists({list_file(shard): text.encode()})
        specs = {shard.split: sets[1].spec}
        with pytest.raises(ValueError, match=what):
            for _, pieces in whole_files(folder, {shard.split: [shard]}, specs, "png"):
                list(pieces)


# Pictures that are not what they should be


@every_style
def test_wrong_pictures_are_named(sets: Sets, tmp_path: Path, style: str) -> None:
    ds, folder, shard = sets[1], LocalFolder(tmp_path), one_shard(sets[1])
    write_pictures(folder, shard, ds[:], style)
    rows, record = read_list(folder, shard, style), shard_record(shard, ds[:])
    name = f"{shard.split}/{rows[2]['file_name']}"
    good = folder.read(name)
    height, width = record["shape"]
    wrong = [encode_png(np.zeros((height, width + 1), np.uint8)), b"", good[:60], b"GIF89a"]
    bomb = good[:16] + (60_000).to_bytes(4, "big") * 2 + good[24:]
    for data in [*wrong, bomb]:
        folder.write(name, data)
        with pytest.raises(ValueError, match=f"{re.escape(name)} makes no sense"):
            read_pictures(folder, shard, rows, record, "uint8")
    folder.remove([name])
    with pytest.raises(FileNotFoundError):
        read_pictures(folder, shard, rows, record, "uint8")


def test_pictures_of_another_height_are_not_described(sets: Sets, tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    shards = write_all(folder, sets[:1], "coco")
    specs = {"train": sets[0].spec.replace(height=40)}
    with pytest.raises(ValueError, match="the pictures of train are"):
        [*dict(whole_files(folder, shards, specs, "coco"))["annotations/instances_train.json"]]


# Disks that fill up


@dataclass
class Full:
    """A local folder in which only so many files can be made."""

    left: int
    lock: Lock = field(default_factory=Lock)

    def take(self) -> None:
        with self.lock:
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")


@dataclass(frozen=True)
class SmallFolder(LocalFolder):
    """A local folder on a disk that is soon full, in the middle of a file."""

    disk: Full = field(default_factory=lambda: Full(0))

    def write(self, name: str, data: Data, sync: bool = True) -> Entry:
        def pieces() -> Iterable[bytes]:
            yield b"half of it"
            self.disk.take()
            yield from [data] if isinstance(data, bytes) else data

        return super().write(name, pieces(), sync)


@dataclass(frozen=True)
class SmallBucket(RemoteFolder):
    """The same, far away."""

    disk: Full = field(default_factory=lambda: Full(0))

    def write(self, name: str, data: Data, sync: bool = True) -> Entry:
        self.disk.take()
        return super().write(name, data, sync)


@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("style", ["png", "yolo"])
def test_a_full_disk_leaves_no_half_file_and_no_list(
    toy_glyphs: Glyphs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    style: str,
    threads: int,
) -> None:
    monkeypatch.setattr("digitseq.picturing._threads", lambda folder: threads)
    ds = DigitSequences(toy_glyphs, SequenceSpec(num_samples=150, length=2))
    shard, batch, count = one_shard(ds), ds[:], 150 * (2 if style == "yolo" else 1)
    for room in (0, 1, 40, 149, count):
        folder = SmallFolder(tmp_path / str(room), Full(room))
        with pytest.raises(OSError, match="No space left") as caught:
            write_pictures(folder, shard, batch, style)
        assert caught.value.errno == errno.ENOSPC
        names = folder.files()
        assert len(names) <= room and list_file(shard) not in names
        assert not [name for name in names if name.endswith(".tmp")]
    whole = SmallFolder(tmp_path / "whole", Full(count + 1))
    write_pictures(whole, shard, batch, style)
    assert len(whole.files()) == count + 1


def test_a_full_bucket_is_told(toy_glyphs: Glyphs) -> None:
    ds = DigitSequences(toy_glyphs, SequenceSpec(num_samples=150, length=2))
    away = open_folder("memory://full")
    assert isinstance(away, RemoteFolder)
    folder = SmallBucket(away.url, away.fs, away.root, Full(100))
    with pytest.raises(OSError, match="No space left"):
        write_pictures(folder, one_shard(ds), ds[:], "png")
    assert len(folder.files()) <= 100 and list_file(one_shard(ds)) not in folder.files()


# Threads


@given(st.lists(st.integers()), st.integers(1, 8), st.integers(1, 7))
def test_threads_keep_the_order(items: list[int], threads: int, lot: int) -> None:
    assert in_threads(str, items, threads, lot) == [*map(str, items)]


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 8), st.integers(1, 7))
def test_the_first_error_is_raised_and_nothing_goes_on(
    wrong: set[int], threads: int, lot: int
) -> None:
    seen = Counter[int]()

    def work(k: int) -> int:
        seen[k] += 1
        if k in wrong:
            raise ValueError(f"item {k}")
        return k

    with pytest.raises(ValueError, match=rf"item {min(wrong)}\b"):
        in_threads(work, range(61), threads, lot)
    before = seen.total()
    assert max(seen.values()) == 1 and seen.total() == before
