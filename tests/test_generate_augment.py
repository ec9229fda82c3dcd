"""Augmented sequences: the one promise, an oracle in plain steps, what is kept."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitseq.augmenting import FACTORS, Augment
from digitseq.cli import main
from digitseq.composing import compose_plainly, ink_boxes, resize_plainly
from digitseq.core import Glyphs, SequenceBatch
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.saving import load, save, verify
from digitseq.specifying import SequenceSpec
from digitseq.warping import FILL_MODES

GLYPHS = load_sample("train")
STRONG = Augment(
    rotation_range=30,
    width_shift_range=0.3,
    height_shift_range=[2, 5],
    brightness_range=(0.4, 1.6),
    shear_range=20,
    zoom_range=0.4,
    channel_shift_range=20,
    horizontal_flip=True,
)


def made(glyphs: Glyphs = GLYPHS, **wishes: Any) -> DigitSequences:
    return DigitSequences(glyphs, SequenceSpec(num_samples=10_000, **wishes))


def warped_apart(ds: DigitSequences, batch: SequenceBatch) -> np.ndarray:
    """Warp the glyphs of a batch by themselves, and round: shape (N, L, h, w)."""
    order = np.argsort(ds.glyphs.ids)
    used = batch.digits >= 0
    found = order[np.searchsorted(ds.glyphs.ids[order], batch.sources[used])]
    assert (ds.glyphs.ids[found] == batch.sources[used]).all()
    drawn = {
        name: batch.factors[f"augment.{name}"][used]
        for name in FACTORS
        if f"augment.{name}" in batch.factors
    }
    glyphs = np.zeros((*used.shape, *ds.glyphs.images.shape[1:]), np.uint8)
    applied = ds.spec.augment.apply(ds.glyphs.images[found], drawn)
    glyphs[used] = np.floor(applied + np.float32(0.5)).astype(np.uint8)
    return glyphs


def painted_apart(ds: DigitSequences, batch: SequenceBatch) -> tuple[np.ndarray, np.ndarray]:
    """Paste them at their cells by the plain loop, and measure their ink there."""
    glyphs, (count, longest) = warped_apart(ds, batch), batch.digits.shape
    h, w = glyphs.shape[2:]
    flat = glyphs.reshape(-1, h, w)
    slots = np.where(batch.digits >= 0, np.arange(count * longest).reshape(count, longest), -1)
    wide, tall = (np.tile(ds.layout.cells[batch.lengths, k], (longest, 1)).T for k in (0, 1))
    x0, x1 = batch.cells[..., 0], batch.cells[..., 2]
    left = np.where(x0 > 0, x0, x1 - wide).astype(np.int64)  # a cell may hang over the edge
    top = (ds.layout.height - tall).astype(np.int64) // 2
    images = compose_plainly(
        flat, slots, left, top, np.stack([tall, wide], axis=-1),
        ds.layout.height, ds.layout.width, ds.spec.dtype, ds.spec.ink,
    )  # fmt: skip
    boxes = np.zeros_like(batch.boxes)
    for n, j in np.argwhere(batch.digits >= 0):
        small = resize_plainly(glyphs[n, j], int(tall[n, j]), int(wide[n, j]))
        ink = ink_boxes(small[None])[0] + np.tile([left[n, j], top[n, j]], 2)
        ink = np.clip(ink, 0, np.tile([ds.layout.width, ds.layout.height], 2))
        if small.any() and ink[0] < ink[2] and ink[1] < ink[3]:
            boxes[n, j] = ink
    return images, boxes


WISHES = st.fixed_dictionaries(
    {"width": st.sampled_from([180, 230]), "seed": st.integers(0, 2**64 - 1)},
    optional={
        "length": st.sampled_from([1, 4, (1, 5)]),
        "measure": st.sampled_from(["cell", "ink"]),
        "fill": st.sampled_from(["free", "equal"]),
        "align": st.sampled_from(["left", "center", "right", "random"]),
        "height": st.sampled_from([28, 40]),
        "dtype": st.sampled_from(["uint8", "float32"]),
        "ink": st.sampled_from(["white", "black"]),
        "augment": st.builds(
            STRONG.replace,
            fill_mode=st.sampled_from(FILL_MODES),
            cval=st.sampled_from([0.0, 100.0]),
            interpolation_order=st.sampled_from([0, 1]),
            channel_shift_range=st.sampled_from([0, 30]),
        ),
    },
)


@settings(max_examples=60)
@given(WISHES)
def test_a_batch_is_its_glyphs_warped_and_pasted(wishes: dict[str, Any]) -> None:
    ds = made(**({"augment": STRONG} | wishes))
    batch = ds.batch(np.arange(40))  # more than a block of samples
    images, boxes = painted_apart(ds, batch)
    assert batch.images.dtype == images.dtype and (batch.images == images).all()
    assert (batch.boxes == boxes).all()


@pytest.mark.parametrize("measure", ["cell", "ink"])
def test_shrunk_glyphs_are_warped_first(measure: str) -> None:
    ds = made(
        length=(2, 6), width=110, spacing=(0, 3), overflow="shrink", measure=measure,
        augment=STRONG,
    )  # fmt: skip
    batch = ds.batch(np.arange(70))
    images, boxes = painted_apart(ds, batch)
    assert (batch.images == images).all() and (batch.boxes == boxes).all()
    assert len(np.unique(batch.factors["scale"])) > 1


@settings(max_examples=40)
@given(WISHES, st.lists(st.integers(0, 9999), min_size=1, max_size=90), st.integers(1, 3))
def test_a_sample_is_the_same_wherever_it_is_made(
    wishes: dict[str, Any], numbers: list[int], threads: int
) -> None:
    spec = SequenceSpec(num_samples=10_000, **({"augment": STRONG} | wishes))
    batch = DigitSequences(GLYPHS, spec, threads=threads).batch(numbers * 3)
    k = len(numbers) // 2
    alone = DigitSequences(GLYPHS, spec.replace(num_samples=20_000))[numbers[k]]
    assert (alone.image == batch.images[k]).all() and (alone.boxes == batch.boxes[k]).all()
    assert all((alone.factors[name] == batch.factors[name][k]).all() for name in batch.factors)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_threads_change_nothing(dtype: str) -> None:
    spec = SequenceSpec(length=(1, 5), width=200, augment=STRONG, measure="ink", dtype=dtype)
    one, many = DigitSequences(GLYPHS, spec)[:1000], DigitSequences(GLYPHS, spec, threads=3)[:1000]
    assert one.sha256 == many.sha256
    assert all((one.factors[name] == many.factors[name]).all() for name in one.factors)


def test_masks_know_whose_ink_it_is() -> None:
    ds = made(length=(2, 5), width=190, measure="ink", spacing=(0, 2), augment=STRONG)
    batch = ds.batch(np.arange(50))
    masks = batch.masks()
    assert ((masks > 0) == (batch.images > 0)).all()
    plain = made(length=(2, 5), width=190, measure="ink", spacing=(0, 2))
    assert (plain.batch(np.arange(50)).digits == batch.digits).all()


def test_what_does_not_vary_is_not_recorded_and_moves_nothing() -> None:
    turned = made(length=4, augment=Augment(rotation_range=9))[:50]
    assert {name for name in turned.factors if "." in name} == {"augment.theta"}
    more = made(length=4, augment=Augment(rotation_range=9, zoom_range=0.1, vertical_flip=True))
    batch = more[:50]
    assert (batch.factors["augment.theta"] == turned.factors["augment.theta"]).all()
    assert (batch.sources == turned.sources).all() and (batch.gaps == turned.gaps).all()
    assert batch.factors["augment.flip_vertical"].dtype == bool
    assert 60 < batch.factors["augment.flip_vertical"].sum() < 140  # of 200; chance 1e-8


def test_padding_has_no_factors() -> None:
    batch = made(length=(1, 6), augment=STRONG)[:60]
    padded = batch.digits < 0
    assert padded.any()
    for name, values in batch.factors.items():
        assert values.shape[0] == 60 and (values.ndim == 1 or not values[padded].any()), name


def test_a_factor_can_be_fixed() -> None:
    ds = made(length=4, augment=STRONG)
    own, other = ds.batch([3]), ds.batch([3], override={"augment.theta": [5, 0, 0, 0]})
    assert other.factors["augment.theta"].tolist() == [[5, 0, 0, 0]]
    names = set(own.factors) - {"augment.theta"}
    assert all((own.factors[name] == other.factors[name]).all() for name in names)
    images, _ = painted_apart(ds, other)
    assert (other.images == images).all()
    narrow = made(length=4, augment=Augment(rotation_range=9))
    assert "augment.zx" in narrow.batch([0], override={"augment.zx": 1.5}).factors


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"augment.thetta": 1}, "no factor 'augment.thetta': did you mean 'augment.theta'"),
        ({"augment.theta": [1, 2]}, "augment.theta must be one number, or 4, got"),
        ({"augment.theta": float("nan")}, "augment.theta must be within 1e.09"),
        ({"augment.theta": "x"}, "augment.theta must be one number, or 4, got 'x'"),
        ({"augment.zx": 1e308}, "augment.zx must be within 1e.09, got 1e.308"),
        ({"augment.ty": [0, 0, -2e9, 0]}, "augment.ty must be within 1e.09"),
    ],
)
def test_wrong_overrides_are_refused(override: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(length=4, augment=STRONG).batch([0], override=override)


@pytest.mark.parametrize("fill_mode", ["nearest", "constant", "reflect", "wrap"])
def test_what_an_override_may_be_at_most_stays_in_memory(fill_mode: str) -> None:
    ds = made(length=4, augment=Augment(rotation_range=5, fill_mode=fill_mode, cval=9))
    for name in ("theta", "tx", "ty", "shear", "zx", "zy"):
        for value in (1e9, -1e9, 1e-9):
            assert ds.batch([0, 1], override={f"augment.{name}": value}).images.shape[0] == 2


def test_without_augmentation_there_is_no_such_factor() -> None:
    with pytest.raises(ValueError, match=r"no factor 'augment.theta'.*gaps"):
        made(length=4).batch([0], override={"augment.theta": 1})


@pytest.mark.parametrize("form", ["png", "npz"])
def test_a_saved_set_is_the_computed_one(tmp_path: Path, form: str) -> None:
    ds = DigitSequences(GLYPHS, SequenceSpec(60, (1, 5), 200, augment=STRONG, split="train"))
    save(ds, tmp_path / "out", form, shard_size=25, progress=False)
    assert verify(tmp_path / "out", deep=True, glyphs=GLYPHS).ok
    saved, computed = load(tmp_path / "out")[:60], ds[:60]
    assert saved.sha256 == computed.sha256
    assert all((saved.factors[name] == computed.factors[name]).all() for name in computed.factors)
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert '"rotation_range": 30' in json.dumps(recipe)


def test_the_command_line_augments(tmp_path: Path) -> None:
    settings_file = tmp_path / "augment.json"
    settings_file.write_text('{"rotation_range": 20, "zoom_range": [0.8, 1.1]}')
    for k, wish in enumerate(("default", str(settings_file))):
        out = str(tmp_path / str(k))
        assert main(["generate", out, "--num-samples", "5", "--augment", wish, "--quiet"]) == 0
        assert main(["verify", out, "--deep"]) == 0
        assert load(out).spec.augment.rotation_range == (10, 20)[k]
    assert main(["generate", str(tmp_path / "x"), "--augment", "nowhere.json"]) == 2
    assert not (tmp_path / "x").exists()


ALONE = """
import sys
if sys.argv[1] == "without":
    sys.modules["numba"] = None
from digitseq.augmenting import Augment
from digitseq.generating import DigitSequences
from digitseq.specifying import SequenceSpec
from digitseq.loading import load_sample
spec = SequenceSpec(100, (1, 3), 100, seed=5, measure="ink", spacing=(0, 3), augment=Augment(
    rotation_range=30, width_shift_range=2, shear_range=9, zoom_range=0.3, horizontal_flip=True,
    brightness_range=(0.5, 1.5)))
print(DigitSequences(load_sample("train"), spec).batch([0, 7, 99]).sha256)
"""


def test_without_numba_the_bytes_are_the_same() -> None:
    command = [sys.executable, "-c", ALONE]
    told = [
        subprocess.run([*command, way], capture_output=True, text=True, check=True).stdout
        for way in ("with", "without")
    ]
    assert told[0] == told[1] and len(told[0]) == 65
