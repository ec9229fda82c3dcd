"""One file a shard: what goes in comes out, others read it too, nonsense is refused."""

import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitseq.core import SequenceBatch, npz_bytes
from digitseq.cutting import Shard, cut_shards, shard_record
from digitseq.encoding import encode_png
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.packing import PACKERS, pack_webdataset, tfds_features
from digitseq.saving import save
from digitseq.specifying import SequenceSpec

ROOT = Path(__file__).resolve().parents[1]
FIELDS = ("images", "digits", "lengths", "sources", "boxes", "cells", "gaps", "widths")
EVERY = pytest.mark.parametrize("format", list(PACKERS))
SPECS: dict[str, dict[str, Any]] = {
    "plain": {"length": 3},
    "lengths": {"length": (1, 4), "width": 200},
    "one digit": {"length": 1},
    "float32": {"length": (2, 3), "dtype": "float32"},
    "black": {"length": 2, "ink": "black"},
    "texts": {"length": None, "texts": ("007", "42", "0" * 60)},
    "ink": {"length": (2, 4), "measure": "ink", "spacing": (-2, 3), "align": "random"},
    "justified": {"length": (2, 3), "measure": "ink", "fill": "justify", "width": 70},
    "shrunk": {"length": (3, 5), "width": 90, "overflow": "shrink"},
    "augmented": {"length": (1, 4), "augment": {"rotation_range": 30, "horizontal_flip": True}},
    "margins": {"length": 2, "width": 120, "height": 40, "seed": 2**64 - 1},
}


@cache
def made(name: str, count: int = 12) -> tuple[DigitSequences, SequenceBatch, Shard, dict[str, Any]]:
    ds = DigitSequences(load_sample("train"), SequenceSpec(num_samples=30, **SPECS[name]))
    shard = next(cut_shards("train", 30, count))
    batch = ds.batch(np.arange(shard.start, shard.stop))
    return ds, batch, shard, shard_record(shard, batch)


@cache
def packed(format: str, name: str = "augmented") -> bytes:
    _, batch, shard, _ = made(name)
    return PACKERS[format].pack(shard, batch)


def assert_same(one: SequenceBatch, other: SequenceBatch) -> None:
    for name in FIELDS:
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype and np.array_equal(a, b), name
    assert list(one.factors) == list(other.factors)
    for name, values in one.factors.items():
        assert values.dtype == other.factors[name].dtype, name
        assert np.array_equal(values, other.factors[name]), name


@EVERY
@pytest.mark.parametrize("name", list(SPECS))
def test_a_batch_comes_out_as_it_went_in(format: str, name: str) -> None:
    ds, batch, shard, record = made(name)
    again = PACKERS[format].unpack(packed(format, name), shard, record, ds.spec.dtype)
    assert_same(again, batch)


@EVERY
def test_shards_after_the_first_are_numbered_on(format: str) -> None:
    ds = made("lengths")[0]
    for shard in cut_shards("train", 30, 12):
        batch = ds.batch(np.arange(shard.start, shard.stop))
        data, record = PACKERS[format].pack(shard, batch), shard_record(shard, batch)
        assert_same(PACKERS[format].unpack(data, shard, record, "uint8"), batch)
        if shard.number and format == "webdataset":
            with pytest.raises(ValueError, match="is missing or not in its place"):
                PACKERS[format].unpack(data, shard._replace(start=0, stop=12), record, "uint8")


TWICE = """
import sys
from hashlib import sha256
sys.path.insert(0, {tests!r})
import test_pack
for format in test_pack.PACKERS:
    print(format, sha256(test_pack.packed(format)).hexdigest())
"""


def test_another_process_packs_the_same_bytes() -> None:
    """Dictionaries are hashed otherwise there; nothing may depend on that."""
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        code = TWICE.format(tests=str(ROOT / "tests"))
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout)
    assert found[0] == found[1] and len(found[0].splitlines()) == len(PACKERS)


# Other people's readers


def saved(tmp_path: Path, format: str) -> tuple[Path, list[DigitSequences]]:
    train, test = load_sample().train_test_split(test=0.3)
    spec = SequenceSpec(23, None, 180, texts=("007", "42", "31415"), augment="default")
    sets = [DigitSequences(train, spec), DigitSequences(test, spec.replace(num_samples=5))]
    return Path(save(sets, tmp_path / format, format, 10, progress=False)), sets


def test_numpy_reads_npz(tmp_path: Path) -> None:
    out, sets = saved(tmp_path, "npz")
    images = []
    for path in sorted(out.glob("train-*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            assert set(FIELDS) < set(arrays)
            images.append(arrays["images"])
    assert (np.concatenate(images) == sets[0][:].images).all()


def test_hugging_face_reads_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    out, sets = saved(tmp_path, "parquet")
    tables = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(table) for split, table in tables.items()} == {"train": 23, "test": 5}
    for ds in sets:
        table, batch = tables[ds.split], ds[:]
        assert isinstance(table.features["image"], datasets.Image)
        assert table["text"][:3] == ["007", "42", "31415"] == batch.texts[:3]
        for k, row in enumerate(table):
            assert (np.asarray(row["image"]) == batch.images[k]).all()
            assert row["boxes"] == batch.boxes[k, : row["length"]].tolist()
            assert row["factors"]["augment.theta"] == batch.factors["augment.theta"][k].tolist()
    known = sets[0].to_hf(cache_dir=str(tmp_path / "direct")).features
    for name in known:
        assert tables["train"].features[name] == known[name], name


def test_arrow_writes_what_hugging_face_would(tmp_path: Path) -> None:
    datasets, pq = pytest.importorskip("datasets"), pytest.importorskip("pyarrow.parquet")
    schema = pq.read_schema(io.BytesIO(packed("parquet")))
    told = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    features = datasets.Features.from_dict(told)
    assert features.to_dict() == datasets.Features.from_arrow_schema(schema).to_dict()
    assert features.arrow_schema.types == schema.types


def test_tensorflow_datasets_reads_tfrecord(tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    out, sets = saved(tmp_path, "tfrecord")
    builder = tfds.builder_from_directory(str(out))
    assert {name: one.num_examples for name, one in builder.info.splits.items()} == {
        "train": 23,
        "test": 5,
    }
    for ds in sets:
        batch = ds[:]
        for k, row in enumerate(tfds.as_numpy(builder.as_dataset(split=ds.split))):
            assert (row["image"][..., 0] == batch.images[k]).all()
            length = int(batch.lengths[k])
            assert row["text"].decode() == batch.texts[k] and row["length"] == length
            assert (row["digits"] == batch.digits[k, :length]).all()
            assert (row["boxes"] == batch.boxes[k, :length]).all()
            assert (row["sources"] == batch.sources[k, :length]).all()


def test_the_features_are_those_that_tensorflow_datasets_would_write(tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    kinds = tfds.features

    def numbers(dtype: Any, *sides: int | None) -> Any:
        return kinds.Tensor(shape=sides, dtype=dtype)

    columns = {name: kinds.Text() for name in ("text", "factors")}
    columns |= {name: numbers(np.int32) for name in ("length", "width")}
    columns |= {name: numbers(np.int32, None, 4) for name in ("boxes", "cells")}
    columns |= {"digits": numbers(np.int8, None), "gaps": numbers(np.int32, None)}
    columns |= {"sources": numbers(np.int64, None)}
    columns |= {"image": kinds.Image(shape=(28, 180, 1), encoding_format="png")}
    kinds.FeaturesDict(columns).save_config(str(tmp_path))
    assert tfds_features((28, 180)) == json.loads((tmp_path / "features.json").read_text())


def test_plain_tensorflow_reads_tfrecord(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    out, sets = saved(tmp_path, "tfrecord")
    files = sorted(map(str, out.glob("digitseq-train.tfrecord-*")))
    wanted = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "text": tf.io.FixedLenFeature([], tf.string),
        "boxes": tf.io.FixedLenSequenceFeature([4], tf.int64, allow_missing=True),
    }
    batch, rows = sets[0][:], tf.data.TFRecordDataset(files)
    for k, row in enumerate(rows.map(lambda one: tf.io.parse_single_example(one, wanted))):
        assert (tf.io.decode_png(row["image"]).numpy()[..., 0] == batch.images[k]).all()
        assert row["text"].numpy().decode() == batch.texts[k]
        assert (row["boxes"].numpy() == batch.boxes[k, : batch.lengths[k]]).all()
    assert k == 22


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it closes no file
def test_webdataset_reads_its_archives(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    out, sets = saved(tmp_path, "webdataset")
    url = str(out / "train-{000000..000002}.tar")
    batch = sets[0][:]
    for k, sample in enumerate(wds.WebDataset(url, shardshuffle=False).decode("l8")):
        assert sample["__key__"] == f"{k:09d}" and sample["txt"] == batch.texts[k]
        assert (sample["png"] == batch.images[k]).all()
        assert sample["json"]["boxes"] == batch.boxes[k, : batch.lengths[k]].tolist()
    assert k == 22
    with tarfile.open(out / "train-000000.tar") as archive:
        assert not any(member.mtime for member in archive)


# Nonsense


@EVERY
@settings(max_examples=60)
@given(data=st.data())
def test_damage_is_an_error_or_makes_no_difference(format: str, data: st.DataObject) -> None:
    _, batch, shard, record = made("augmented")
    whole = packed(format)
    if data.draw(st.booleans(), label="cut"):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        damaged = bytearray(whole)
        damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        again = PACKERS[format].unpack(bytes(damaged), shard, record, "uint8")
    except ValueError as error:
        assert PACKERS[format].file_name(shard) in str(error)
    else:
        if format == "webdataset":  # the one format without a checksum over its numbers
            again = replace(again, factors=batch.factors)
        assert_same(again, batch)


@EVERY
@pytest.mark.parametrize("junk", [b"", b"junk", bytes(10_000), b"PAR1" * 9, b"PK\3\4" * 9])
def test_junk_is_a_value_error(format: str, junk: bytes) -> None:
    _, _, shard, record = made("plain")
    with pytest.raises(ValueError, match="makes no sense"):
        PACKERS[format].unpack(junk, shard, record, "uint8")


FORGED: dict[str, Callable[[SequenceBatch], SequenceBatch]] = {
    "a factor too short": lambda one: replace(
        one, factors=one.factors | {"left": one.factors["left"][:1]}
    ),
    "a factor too deep": lambda one: replace(
        one, factors=one.factors | {"left": one.factors["left"][:, None, None]}
    ),
    "a factor of another type": lambda one: replace(
        one, factors=one.factors | {"left": one.factors["left"].astype(str)}
    ),
    "no factors": lambda one: replace(one, factors={}),
    "a factor more": lambda one: replace(one, factors=one.factors | {"evil": one.widths}),
    "letters": lambda one: replace(one, digits=np.full_like(one.digits, 77)),
    "no letters": lambda one: replace(one, digits=np.full_like(one.digits, -5)),
    "other lengths": lambda one: replace(one, lengths=np.full_like(one.lengths, 99)),
    "no lengths": lambda one: replace(one, lengths=np.full_like(one.lengths, -9)),
    "a hole": lambda one: replace(one, digits=one.digits[:, ::-1].copy()),
    "flat boxes": lambda one: replace(one, boxes=one.boxes[..., 0]),
    "wide numbers": lambda one: replace(one, widths=one.widths.astype(np.int64)),
    "other pixels": lambda one: replace(one, images=255 - one.images),
}


@pytest.mark.parametrize("name", list(FORGED))
def test_arrays_that_are_whole_and_wrong_are_refused(name: str) -> None:
    """Even where the fingerprint was forged with them: no later step could be harmed by these."""
    _, batch, shard, record = made("augmented")
    forged = FORGED[name](batch)
    data = PACKERS["npz"].pack(shard, forged)
    lies = record if name == "other pixels" else record | {"content_sha256": forged.sha256}
    with pytest.raises(ValueError, match="train-00000-of-00003.npz makes no sense"):
        PACKERS["npz"].unpack(data, shard, lies, "uint8")


def archive(**changes: bytes) -> bytes:
    """Pack two samples as a tar archive, with some members replaced."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in changes.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/passwd", "000000000.png", "a/b.json"])
def test_members_of_other_names_are_refused(name: str) -> None:
    _, _, shard, record = made("plain")
    with pytest.raises(ValueError, match="000000000.json is missing or not in its place"):
        PACKERS["webdataset"].unpack(archive(**{name: b"x"}), shard, record, "uint8")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_links_are_refused(kind: bytes) -> None:
    _, _, shard, record = made("plain")
    member = tarfile.TarInfo("000000000.json")
    member.type, member.linkname = kind, "/etc/passwd"
    data = member.tobuf() + bytes(1024)
    with pytest.raises(ValueError, match="000000000.json is missing or not in its place"):
        PACKERS["webdataset"].unpack(data, shard, record, "uint8")


def test_a_member_that_claims_to_be_endless_is_refused() -> None:
    _, _, shard, record = made("plain")
    member = tarfile.TarInfo("000000000.json")
    member.size = 1 << 60
    with pytest.raises(ValueError, match="webdataset|tar makes no sense"):
        PACKERS["webdataset"].unpack(member.tobuf() + bytes(1024), shard, record, "uint8")


def test_a_text_that_disagrees_with_its_row_is_refused() -> None:
    _, batch, shard, record = made("plain")
    whole = pack_webdataset(shard, batch)
    text = batch.texts[0].encode()
    other = bytes((digit - 47) % 10 + 48 for digit in text)
    place = whole.rindex(text, 0, whole.index(b"000000001.json"))
    forged = whole[:place] + other + whole[place + len(text) :]
    with pytest.raises(ValueError, match="texts and rows say different things"):
        PACKERS["webdataset"].unpack(forged, shard, record, "uint8")


def test_a_picture_that_claims_to_be_huge_is_refused() -> None:
    _, batch, shard, record = made("plain")
    bomb = bytearray(encode_png(batch.images[0]))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    whole = pack_webdataset(shard, batch)
    start = whole.index(b"\x89PNG")
    forged = whole[:start] + bytes(bomb[:40]) + whole[start + 40 :]
    with pytest.raises(ValueError, match="it is no PNG picture"):
        PACKERS["webdataset"].unpack(forged, shard, record, "uint8")


ROWS: dict[str, dict[str, Any]] = {
    "other digits": {"text": "\u0663\u0663\u0663"},
    "a long text": {"text": "1" * 1_000_000},
    "a number": {"text": 123},
    "no boxes": {"boxes": []},
    "thin boxes": {"boxes": [[1]] * 3},
    "boxes in a row": {"boxes": [1, 2, 3, 4]},
    "a string of sources": {"sources": "123"},
    "a wide width": {"width": 1 << 40},
    "a lost width": {"width": None},
    "deep factors": {"factors": {"left": [[1, 2]]}},
    "long factors": {"factors": {"left": [1] * 77}},
    "no factors": {"factors": {}},
}


@pytest.mark.parametrize("name", list(ROWS))
def test_rows_that_are_whole_and_wrong_are_refused(name: str) -> None:
    _, batch, shard, record = made("plain")
    whole, members = pack_webdataset(shard, batch), {}
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            members[member.name] = file.read()
    for key in [key for key in members if key.endswith("json")]:
        row = json.loads(members[key]) | ROWS[name]
        members[key] = json.dumps(row).encode()
        members[key.replace("json", "txt")] = str(row["text"]).encode()
    with pytest.raises(ValueError, match="train-000000.tar makes no sense"):
        PACKERS["webdataset"].unpack(archive(**members), shard, record, "uint8")


def unfolding(name: str, **options: Any) -> bytes:
    """Write a table with one column that is a few kilobytes and would be megabytes."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(io.BytesIO(packed("parquet")))
    size, place = 500_000, table.schema.get_field_index(name)
    if name == "text":
        values = pa.array(["1" * size] * 12)
    else:
        kind = table.schema.field(name).type
        zeros = pa.array(np.zeros(12 * size, kind.value_type.to_pandas_dtype()))
        starts = pa.array(np.arange(13, dtype=np.int32) * size)
        values = pa.ListArray.from_arrays(starts, zeros)
    table = table.set_column(place, table.schema.field(name), values)
    pq.write_table(table, file := io.BytesIO(), compression="zstd", **options)
    assert len(file.getvalue()) < 100_000
    return file.getvalue()


REASON = "is not written out|more than a shard can hold|unfolds to more than a shard holds"


@pytest.mark.parametrize("dictionary", [True, False])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("name", ["digits", "gaps", "text"])
def test_a_table_that_unfolds_is_refused_unread(
    name: str, version: str, dictionary: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    _, _, shard, record = made("augmented")
    data = unfolding(name, use_dictionary=dictionary, data_page_version=version)
    monkeypatch.setattr(pq.ParquetFile, "read", None)
    with pytest.raises(ValueError, match=REASON):
        PACKERS["parquet"].unpack(data, shard, record, "uint8")


def varint(number: int, length: int) -> bytes:
    """Write a positive number as Thrift does, perhaps longer than it need be."""
    septets = [2 * number >> 7 * k & 127 for k in range(length)]
    return bytes([*(septet | 128 for septet in septets[:-1]), septets[-1]])


@pytest.mark.parametrize("name", ["digits", "text"])
def test_a_table_that_lies_at_its_end_is_refused_unread(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last words promise a few bytes; its pages, which pyarrow goes by, hold megabytes."""
    pq = pytest.importorskip("pyarrow.parquet")
    _, _, shard, record = made("augmented")
    data = unfolding(name, use_dictionary=False, write_statistics=False)
    split = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    body, end = data[:split], data[split:]
    group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0)
    columns = [group.column(k) for k in range(group.num_columns)]
    (column,) = [one for one in columns if one.path_in_schema.startswith(name)]
    for truth, lie in ((column.num_values, 24), (column.total_uncompressed_size, 200)):
        length = (2 * truth).bit_length() // 7 + 1
        if length > 2:
            assert varint(truth, length) in end
            end = end.replace(varint(truth, length), varint(lie, length))
    meta = pq.ParquetFile(io.BytesIO(body + end)).metadata.row_group(0)
    assert sum(meta.column(k).total_uncompressed_size for k in range(meta.num_columns)) < 50_000
    monkeypatch.setattr(pq.ParquetFile, "read", None)
    with pytest.raises(ValueError, match=REASON):
        PACKERS["parquet"].unpack(body + end, shard, record, "uint8")


@pytest.mark.parametrize("name, kind", [("text", "int64"), ("length", "int64"), ("width", "float")])
def test_a_table_of_other_types_is_refused_unread(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    _, _, shard, record = made("augmented")
    table = pq.read_table(io.BytesIO(packed("parquet")))
    place = table.schema.get_field_index(name)
    table = table.set_column(place, name, pa.array([7] * 12, kind))
    pq.write_table(table, file := io.BytesIO(), use_dictionary=False)
    monkeypatch.setattr(pq.ParquetFile, "read", None)
    with pytest.raises(ValueError, match="its columns are of other types"):
        PACKERS["parquet"].unpack(file.getvalue(), shard, record, "uint8")


def crc32c(data: bytes) -> int:
    """Give the checksum of TensorFlow's records, before it is masked."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**45, 2**63, 2**64 - 16, 2**64 - 1])
def test_a_record_that_claims_the_moon_is_refused(length: int) -> None:
    """Its checksum is right; TensorFlow would ask for the room and die."""
    _, _, shard, record = made("plain")
    head = length.to_bytes(8, "little")
    value = crc32c(head)
    masked = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
    data = head + masked.to_bytes(4, "little") + bytes(100)
    with pytest.raises(ValueError, match="makes no sense: it is no file of records"):
        PACKERS["tfrecord"].unpack(data, shard, record, "uint8")


def npz_with(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(name, data)
    return file.getvalue()


def test_an_npz_cannot_claim_the_moon() -> None:
    _, _, shard, record = made("plain")
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (35184372088832,), }"
    padded = header.ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded
    with pytest.raises(ValueError, match="makes no sense"):
        PACKERS["npz"].unpack(npz_with("images.npy", data), shard, record, "uint8")


def test_an_npz_of_objects_is_refused_unread() -> None:
    _, _, shard, record = made("plain")
    np.save(buffer := io.BytesIO(), np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="makes no sense"):
        PACKERS["npz"].unpack(npz_with("images.npy", buffer.getvalue()), shard, record, "uint8")


def test_an_npz_with_an_evil_member_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, batch, shard, record = made("plain")
    monkeypatch.chdir(tmp_path)
    arrays = {name: getattr(batch, name) for name in FIELDS} | {"factors.left": batch.widths}
    file = io.BytesIO(npz_bytes(arrays))
    with zipfile.ZipFile(file, "a") as zipped:
        zipped.writestr("../../evil.npy", b"x")
    with pytest.raises(ValueError, match="makes no sense"):
        PACKERS["npz"].unpack(file.getvalue(), shard, record, "uint8")
    assert list(tmp_path.iterdir()) == []


# What is missing


@pytest.mark.parametrize(
    ("format", "module", "extra"),
    [
        ("parquet", "pyarrow", "parquet"),
        ("webdataset", "webdataset", "webdataset"),
        ("tfrecord", "tensorflow", "tf"),
    ],
)
def test_a_missing_library_is_named_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'digitseq\[{extra}\]'"):
        save(made("plain")[0], tmp_path / "out", format, progress=False)
    assert not (tmp_path / "out").exists()
