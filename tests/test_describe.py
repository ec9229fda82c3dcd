"""What a data set says of itself: true, readable by others, harmless whatever names it holds."""

import json
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitseq.core import Glyphs
from digitseq.describing import add_statistics, croissant, data_card, shard_statistics
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.recording import FORMATS, read_manifest
from digitseq.saving import save
from digitseq.specifying import SequenceSpec

ALL = pytest.mark.parametrize("format", FORMATS)
TEXTS = ("007", "42", "31415")


def library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed")


def saved(tmp_path: Path, format: str, name: str = "sample") -> tuple[Path, list[DigitSequences]]:
    """Save two splits, whose glyphs go by a name."""
    train, test = load_sample().train_test_split(test=0.3)
    spec = SequenceSpec(23, None, 180, texts=TEXTS)
    sets = [
        DigitSequences(Glyphs(g.images, g.labels, g.ids, name=name, split=split), one)
        for g, split, one in (
            (train, "train", spec),
            (test, "validation", spec.replace(num_samples=5)),
        )
    ]
    return Path(save(sets, tmp_path / format, format, 10, progress=False)), sets


# Statistics


@pytest.mark.parametrize("wishes", [{"length": (1, 4)}, {"length": 1}, {"dtype": "float32"}])
def test_statistics_are_counts(wishes: dict[str, Any]) -> None:
    ds = DigitSequences(load_sample("train"), SequenceSpec(50, spacing=(-3, 5), **wishes))
    batch, found = ds[:], shard_statistics(ds[:])
    assert found["samples"] == 50 and found["pixels"] == batch.images.size
    assert found["digits"] == dict(sorted(Counter("".join(batch.texts)).items()))
    lengths = Counter(str(len(text)) for text in batch.texts)
    assert found["lengths"] == dict(sorted(lengths.items()))
    gaps = Counter(
        gap
        for row, text in zip(batch.gaps, batch.texts, strict=True)
        for gap in row[: len(text) - 1].tolist()
    )
    assert found["gaps"] == {str(gap): gaps[gap] for gap in sorted(gaps)}
    bytes_of = ds.replace(dtype="uint8")[:].images
    assert found["brightness"] == int(bytes_of.sum(dtype=np.int64))
    assert json.loads(json.dumps(found)) == found


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_statistics_add_up_over_any_cut(sizes: list[int]) -> None:
    ds = DigitSequences(load_sample("train"), SequenceSpec(sum(sizes), (1, 5), spacing=(-9, 9)))
    edges = np.cumsum([0, *sizes])
    parts = [shard_statistics(ds[a:b]) for a, b in pairwise(edges.tolist())]
    assert add_statistics(parts) == add_statistics([shard_statistics(ds[:])])
    assert list(add_statistics(parts)["gaps"]) == sorted(add_statistics(parts)["gaps"], key=int)


# The card


@ALL
@pytest.mark.parametrize("name", ["sample", "mine"])
def test_the_head_is_what_hugging_face_wants(tmp_path: Path, format: str, name: str) -> None:
    hub = library("huggingface_hub")
    out, _ = saved(tmp_path, format, name)
    text = (out / "README.md").read_text(encoding="utf-8")
    card = hub.DatasetCard(text)
    assert card.data.license == ("cc-by-sa-3.0" if name == "sample" else "other")
    assert card.data.size_categories == ["n<1K"]
    assert ("CC BY-SA" in card.text) == (name == "sample")
    configs = card.data.to_dict().get("configs")
    if format in ("npz", "tfrecord"):
        assert configs is None
    else:
        assert [one["split"] for one in configs[0]["data_files"]] == ["train", "validation"]
    for words in ("## Open it", "## Statistics", "--recipe recipe.json", "contact-sheet.png"):
        assert words in card.text
    assert "| `train` | 23 | 3 |" in card.text and "| `validation` | 5 | 1 |" in card.text


@pytest.mark.parametrize("format", ["parquet", "png", "coco", "yolo", "webdataset"])
def test_hugging_face_opens_the_folder_by_its_card(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = library("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    out, sets = saved(tmp_path, format)
    tables = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(table) for split, table in tables.items()} == {"train": 23, "validation": 5}
    picture, text = ("png", "txt") if format == "webdataset" else ("image", "text")
    for ds in sets:
        table, batch = tables[ds.split], ds[:]
        found = {(row[text], np.asarray(row[picture].convert("L")).tobytes()) for row in table}
        expected = zip(batch.texts, batch.images, strict=True)
        assert found == {(words, image.tobytes()) for words, image in expected}


def test_large_sets_of_pictures_lie_deeper(tmp_path: Path) -> None:
    out, _ = saved(tmp_path, "png")
    manifest = read_manifest(out)
    counted = {split: {"samples": 10_001, **EMPTY} for split in manifest.specs}
    many = [{**record, "samples": 10_001} for record in manifest.data["shards"]["train"][:1]]
    data = manifest.data | {"shards": {"train": many, "validation": many}}
    card = data_card(data, manifest.specs, counted).decode()
    assert '["train/*/*.png", "train/metadata.jsonl"]' in card and '"10K<n<100K"' in card


EMPTY = {"digits": {}, "lengths": {}, "gaps": {}, "pixels": 0, "brightness": 0}


# Croissant


@ALL
@pytest.mark.parametrize("name", ["sample", "mine"])
def test_croissant_is_valid(
    tmp_path: Path, format: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    mlc = library("mlcroissant")
    out, sets = saved(tmp_path, format, name)
    found = mlc.Dataset(str(out / "croissant.json"))
    issues = found.metadata.ctx.issues
    assert not issues.errors
    assert all("datePublished" in warning for warning in issues.warnings), issues.warnings
    for records in found.metadata.record_sets:
        key = records.uuid
        rows = list(found.records(key))
        own = [ds for ds in sets if format == "parquet" or ds.split == key]
        expected = sorted(text for ds in own for text in ds[:].texts)
        assert sorted(row[f"{key}/text"].decode() for row in rows) == expected
    assert len(found.metadata.record_sets) == {"parquet": 1, "png": 2, "coco": 2, "yolo": 2}.get(
        format, 0
    )


def test_croissant_gives_pictures_of_parquet(tmp_path: Path) -> None:
    mlc = library("mlcroissant")
    out, sets = saved(tmp_path, "parquet")
    rows = list(mlc.Dataset(str(out / "croissant.json")).records("default"))
    pictures = {np.asarray(row["default/image"]).tobytes() for row in rows}
    assert pictures == {image.tobytes() for ds in sets for image in ds[:].images}


# Hostile names


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "x\n---\nlicense: mit\n",
            '"}, {"license": "mit',
            "<script>alert(1)</script>",
            "| a | b |\n|---|---|",
            "[click](javascript:alert(1))",
            "![x](http://evil/x.png)",
            "`rm -rf`",
        ]
    ),
)


@given(HOSTILE)
def test_a_name_stays_a_name(name: str) -> None:
    hub = library("huggingface_hub")
    ds = DigitSequences(load_sample("train"), SequenceSpec(3, 2))
    counted = {"train": add_statistics([shard_statistics(ds[:])])}
    glyphs = {"name": name, "split": "train", "count": 1, "sha256": "0" * 64}
    manifest = {
        "format": "png",
        "splits": {"train": {"spec": ds.spec.to_dict(), "glyphs": glyphs}},
        "licence": [f"that of the glyphs {name!r}"],
        "recipe_sha256": "0" * 64,
        "files": {},
        "shards": {"train": [{"name": "train-00000-of-00001", "samples": 3}]},
    }
    text = data_card(manifest, {"train": ds.spec}, counted).decode()
    card = hub.DatasetCard(text)
    plain = name in ("sample", "mnist")
    assert card.data.license == ("cc-by-sa-3.0" if plain else "other")
    assert "<script" not in text and text.count("\n---\n") == 1
    assert not re.search(r"(?<!\\)\]\((javascript|http://evil)", text)  # an escaped ] links nothing
    told = json.loads(croissant(manifest, {"train": ds.spec}))
    assert told["name"] == "digit_sequences"
    assert told["citeAs"] == manifest["licence"][0]


def test_the_same_data_set_says_the_same(tmp_path: Path) -> None:
    one, _ = saved(tmp_path / "one", "npz")
    two, _ = saved(tmp_path / "two", "npz")
    for name in ("README.md", "croissant.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
