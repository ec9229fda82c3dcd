"""prepare, beyond its notebook: pages whose strip is known, pictures of every kind, blank ones."""

import io
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy import ndimage

from digitseq import DigitSequences, SequenceSpec, load_sample, preparing
from digitseq.preparing import (
    framed,
    ink_frame,
    prepare,
    prepare_all,
    reduced,
    spread,
    straight_runs,
    without_bars,
    without_lines,
    without_specks,
    without_table,
)

# Pages


@pytest.fixture(scope="module")
def strips() -> list[np.ndarray]:
    """Write 24 sequences of 3 to 7 digits, white on black, 28 pixels high."""
    batch = DigitSequences(load_sample(), SequenceSpec(24, (3, 7), seed=11, align="left"))[:]
    return [image[:, :width] for image, width in zip(batch.images, batch.widths, strict=True)]


def sheet(
    strip: np.ndarray,
    number: int = 0,
    scale: float = 1,
    margin: tuple[int, int] = (8, 9),
    contrast: float = 0.6,
    slope: float = 0,
    pattern: float = 0,
    noise: float = 0,
    blur: float = 0,
    rule: float = 0,
    strike: float = 0,
    shadow: float = 0,
    table: int = 0,
    box: float = 0,
    specks: int = 0,
) -> np.ndarray:  # float64 in [0, 1], dark ink on light paper
    """Write a strip on a sheet of paper, well or badly."""
    rng = np.random.default_rng(number)
    size = (round(strip.shape[1] * scale), round(strip.shape[0] * scale))
    ink = np.asarray(Image.fromarray(strip).resize(size, Image.Resampling.BICUBIC)) / 255
    ink = np.pad(ink, [(side, side) for side in margin])
    (height, width), thick = ink.shape, max(1, round(scale))
    if rule:
        foot = height - margin[0] - round(2 * scale)
        ink[foot : foot + thick] = np.maximum(ink[foot : foot + thick], rule)
    if strike:
        middle = height // 2 + round(4 * scale)
        ink[middle : middle + 2 * thick] = strike
    if box:
        ink[2 : 2 + thick, 3:-3] = ink[-2 - thick : -2, 3:-3] = box
        ink[2:-2, 3 : 3 + thick] = ink[2:-2, -3 - thick : -3] = box
    for y, x in zip(
        rng.integers(0, height - 1, specks), rng.integers(0, width - 1, specks), strict=True
    ):
        ink[y : y + thick, x : x + thick] = 1
    y, x = np.mgrid[:height, :width]
    waves = np.sin((x + 4 * np.sin(y / 7)) / 1.5) + np.sin((y + 3 * np.sin(x / 9)) / 1.6)
    page = (
        0.85 - contrast * ink - slope * (0.7 * x / width + 0.3 * y / height) + pattern / 2 * waves
    )
    page[:, width // 2 :] -= shadow
    page = np.pad(page, table, constant_values=0.2)
    page = ndimage.gaussian_filter(page, blur) if blur else page
    return np.clip(page + noise * rng.standard_normal(page.shape), 0, 1)


def cut_out(strip: np.ndarray) -> np.ndarray:
    """Cut out what is at least a quarter as light as the lightest, with a pixel around it."""
    x0, y0, x1, y1 = ink_frame(strip / max(1, strip.max()))
    return strip[y0:y1, x0:x1]


def likeness(found: np.ndarray, wanted: np.ndarray) -> float:
    """Correlate two strips, one laid over the other; a shift of a pixel is forgiven."""
    wanted = cut_out(wanted)
    size = wanted.shape[::-1]
    found = np.asarray(Image.fromarray(cut_out(found)).resize(size, Image.Resampling.BICUBIC))
    a, b = (np.pad(ndimage.gaussian_filter(each / 255, 0.7), 2) for each in (found, wanted))
    shifts = product((-1, 0, 1), repeat=2)
    return max(np.corrcoef(np.roll(a, s, (0, 1)).ravel(), b.ravel())[0, 1] for s in shifts)


def likenesses(strips: list[np.ndarray], **wishes: Any) -> np.ndarray:
    """Prepare a sheet for each strip; what can't be prepared is not alike at all."""
    values = []
    for k, strip in enumerate(strips):
        wanted = framed(strip.astype(np.float32) / 255, 28)
        try:
            values.append(likeness(prepare(sheet(strip, k, **wishes)), wanted))
        except ValueError:
            values.append(0.0)
    return np.array(values)


FIELD = {"contrast": 0.45, "pattern": 0.1, "noise": 0.03, "blur": 0.6, "specks": 4}


@pytest.mark.parametrize(
    ("mean", "least", "wishes"),
    [
        (0.98, 0.90, {}),
        (0.98, 0.90, {"contrast": 0.08}),
        (0.98, 0.90, {"margin": (0, 0)}),
        (0.98, 0.90, {"slope": 0.5, "contrast": 0.3}),
        (0.97, 0.90, {"pattern": 0.1}),
        (0.94, 0.80, {"noise": 0.1}),
        (0.91, 0.80, {"blur": 1.2}),
        (0.92, 0.75, {"rule": 1}),
        (0.95, 0.85, {"box": 1}),
        (0.92, 0.80, {"strike": 1}),
        (0.95, 0.85, {"shadow": 0.3, "contrast": 0.4}),
        (0.96, 0.85, {"specks": 12}),
        (0.98, 0.90, {"scale": 4, "margin": (40, 50)}),
        (0.98, 0.90, {"scale": 4, "margin": (60, 80), "box": 1}),
        (0.98, 0.90, {"scale": 2, "margin": (300, 400), "noise": 0.03}),
        (0.90, 0.75, {"scale": 0.6, "margin": (4, 5)}),
        (0.92, 0.70, FIELD),
        (0.92, 0.70, FIELD | {"rule": 0.8}),
        (0.92, 0.70, FIELD | {"box": 0.8, "slope": 0.2}),
    ],
    ids=str,
)
def test_the_strip_comes_back_from_a_sheet(
    strips: list[np.ndarray], mean: float, least: float, wishes: dict[str, Any]
) -> None:
    values = likenesses(strips, **wishes)
    assert values.mean() > mean, values
    assert np.sort(values)[1] > least, values  # one of the two dozen may be a sad case


def same(picture: np.ndarray, *others: Any) -> np.ndarray:
    return picture


@pytest.mark.parametrize(
    ("step", "instead", "wishes"),
    [
        ("without_slope", lambda grey: grey - grey.mean(), {"slope": 0.8, "contrast": 0.05}),
        (
            "paper_under",
            lambda flat: np.full_like(flat, flat.max()),
            {"shadow": 0.3, "contrast": 0.4},
        ),
        ("without_lines", same, {"rule": 1}),
        ("wipeable", lambda mask, line, thick: spread(line, 1, 1), {"strike": 1}),
        ("without_table", same, {"scale": 2, "margin": (60, 80), "table": 24, "noise": 0.02}),
        ("without_specks", lambda ink: np.clip(ink, 0, 1), {"specks": 12}),
        ("has_light_ink", lambda flat: True, {}),
        ("nearer", lambda grey, ink, factor: grey, {"scale": 2, "margin": (500, 700)}),
        ("softened", lambda picture, width: picture, {"noise": 0.2}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_step_is_there_for_nothing(
    strips: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    instead: Callable[..., Any],
    wishes: dict[str, Any],
) -> None:
    good = likenesses(strips[:8], **wishes).mean()
    monkeypatch.setattr(preparing, step, instead)
    without = likenesses(strips[:8], **wishes).mean()
    assert good > 0.85
    assert without < good - 0.02


def test_the_way_back_is_no_way_for_what_is_back(strips: list[np.ndarray]) -> None:
    for strip in strips:
        once = prepare(strip)
        assert likeness(once, framed(strip.astype(np.float32) / 255, 28)) > 0.95
        again = prepare(once)
        assert abs(again.shape[1] - once.shape[1]) <= 0.06 * once.shape[1]
        assert likeness(again, once) > 0.97


def test_greys_stay_grey(strips: list[np.ndarray]) -> None:
    for k, strip in enumerate(strips[:6]):
        found = prepare(sheet(strip, k, pattern=0.05))
        inked = found[found > 0]
        assert 0.2 < ((inked > 20) & (inked < 235)).mean() < 0.9
        assert found.max() > 240


def test_a_photograph_of_twelve_megapixels(strips: list[np.ndarray]) -> None:
    photo = np.full((3000, 4000, 3), 210, np.uint8)
    photo -= (np.linspace(0, 90, 4000)[:, None]).astype(np.uint8)
    large = 255 - strips[3].repeat(5, axis=0).repeat(5, axis=1)
    window = photo[1200 : 1200 + large.shape[0], 700 : 700 + large.shape[1]]
    window[:] = (window * (0.25 + 0.75 * large[..., None] / 255)).astype(np.uint8)
    assert likeness(prepare(photo), framed(strips[3].astype(np.float32) / 255, 28)) > 0.95


# Lines, and what is none


@pytest.mark.parametrize("text", ["1111", "7777", "1", "7", "17171", "444", "5"])
@pytest.mark.parametrize("margin", [(0, 0), (8, 9)])
def test_no_stroke_is_taken_for_a_line(text: str, margin: tuple[int, int]) -> None:
    for seed in range(6):
        spec = SequenceSpec(1, None, texts=(text,), seed=seed, spacing=(-6, 4))
        strip = DigitSequences(load_sample(), spec)[:].images[0]
        ink = np.pad(strip.astype(np.float32) / 255, [(side, side) for side in margin])
        ink = ink[:, ink.any(axis=0).argmax() :] if margin == (0, 0) else ink
        assert (without_lines(ink) == ink).all()


@pytest.mark.parametrize("thick", [1, 2, 3])
@pytest.mark.parametrize("place", [2, 30, 41])
def test_a_line_goes_and_the_digits_stay(strips: list[np.ndarray], thick: int, place: int) -> None:
    for strip in strips:
        ink = np.pad(strip.astype(np.float32) / 255, 8)
        ruled = ink.copy()
        ruled[place : place + thick] = 1
        left = without_lines(ruled)
        added, inked = ruled - ink, ink > 0.5
        inked[place - 1 : place + thick + 1] = False
        assert (left[inked] != ink[inked]).mean() < 0.02
        assert (np.abs(left - ink) * (added > 0)).sum() < 0.4 * added.sum()


def test_a_tall_one_between_small_digits_stays() -> None:
    ink = np.zeros((40, 120), np.float32)
    ink[:, 60:63] = 1
    for left in (10, 30, 80, 100):
        ink[14:30, left : left + 3] = ink[14:17, left : left + 10] = 1
    assert (without_lines(ink) == ink).all()


@pytest.mark.parametrize("angle", [-3, -1, 1, 3])
def test_a_tilted_box_goes(strips: list[np.ndarray], angle: int) -> None:
    for k, strip in enumerate(strips[:8]):
        page = np.rint(sheet(strip, k, scale=2, margin=(30, 40), box=1) * 255).astype(np.uint8)
        turned = Image.fromarray(page).rotate(angle, Image.Resampling.BICUBIC, fillcolor=217)
        plain = np.rint(sheet(strip, k, scale=2, margin=(30, 40)) * 255).astype(np.uint8)
        wanted = Image.fromarray(plain).rotate(angle, Image.Resampling.BICUBIC, fillcolor=217)
        assert likeness(prepare(turned), prepare(wanted)) > 0.9


def test_cells_go(strips: list[np.ndarray]) -> None:
    for strip in strips[:8]:
        page = sheet(strip, margin=(10, 20))
        ruled = page.copy()
        ruled[:, 4::32] = 0.3
        assert likeness(prepare(ruled), prepare(page)) > 0.8


@pytest.mark.parametrize("dark", [0.3, 0.5])
def test_the_table_is_no_ink(strips: list[np.ndarray], dark: float) -> None:
    for strip in strips[:6]:
        page = sheet(strip, scale=3, margin=(150, 200))
        photo = np.pad(page, ((60, 50), (90, 40)), constant_values=dark)
        assert likeness(prepare(photo), prepare(page)) > 0.95
    ends = np.full((28, 90), 220, np.uint8)
    ends[:, :4] = ends[:, 40:44] = ends[:, -4:] = 30  # three ones, cut tightly
    assert (prepare(ends)[:, [5, -6]] > 128).any(axis=0).all()


def photo_of(
    page: np.ndarray, rng: np.random.Generator, table: float, skew: float = 0.02
) -> np.ndarray:
    """Lay a sheet on a table, turned and seen from one side."""
    (h, w), room = page.shape, 0.12
    corners = np.array([(0, 0), (0, h), (w, h), (w, 0)]) * (1 - 2 * room) + room * np.array([w, h])
    corners += rng.uniform(-skew, skew, (4, 2)) * [w, h]
    rows, wanted = [], []
    for (x, y), (u, v) in zip(corners, [(0, 0), (0, h), (w, h), (w, 0)], strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        wanted += [u, v]
    back = np.linalg.solve(rows, wanted)
    seen = [
        Image.fromarray(layer.astype(np.float32)).transform(
            (w, h), Image.Transform.PERSPECTIVE, list(back), Image.Resampling.BILINEAR
        )
        for layer in (page, np.ones_like(page))
    ]
    sheet_seen, cover = (np.asarray(layer) for layer in seen)
    photo = ndimage.gaussian_filter(sheet_seen + table * (1 - cover), 1.0)
    return np.clip(photo + 0.01 * rng.standard_normal(photo.shape), 0, 1)


@pytest.mark.parametrize("table", [0.1, 0.35, 1.0])
def test_a_sheet_that_lies_crooked_on_a_table_is_read(
    strips: list[np.ndarray], table: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alike() -> np.ndarray:
        values = []
        for k, strip in enumerate(strips[:12]):
            page = sheet(strip, scale=4, margin=(110, 130)) - (0.25 if table == 1 else 0)
            photo = photo_of(page, np.random.default_rng(k), table)
            try:
                values.append(likeness(prepare(photo), prepare(page)))
            except ValueError:
                values.append(0.0)
        return np.array(values)

    found = alike()
    assert np.sort(found)[1] > 0.85, found
    monkeypatch.setattr(preparing, "without_table", same)
    assert alike().mean() < found.mean() - 0.1


@pytest.mark.parametrize("shade", [0.15, 0.3, 0.45])
def test_a_shadow_that_ends_in_the_writing_is_no_table(
    strips: list[np.ndarray], shade: float
) -> None:
    y, x = np.mgrid[:200, :400] / np.array([200, 400]).reshape(2, 1, 1)
    for k, strip in enumerate(strips[:12]):
        rng = np.random.default_rng(k)
        large = framed(strip.astype(np.float32) / 255, 100, 380) / 255
        ink = np.pad(large, ((50, 50), (10, 10)))
        line = np.cos(a := rng.uniform(0, 6.3)) * (x - 0.5) + np.sin(a) * (y - 0.5)
        page = (0.85 - shade * (line > rng.uniform(-0.1, 0.1))) * (1 - 0.6 * ink)
        page = np.clip(ndimage.gaussian_filter(page, 1) + 0.01 * rng.standard_normal(x.shape), 0, 1)
        grey = page.astype(np.float32)
        assert without_table(grey) is grey


def test_light_that_fades_to_the_sides_is_no_table(strips: list[np.ndarray]) -> None:
    y, x = np.mgrid[-1:1:200j, -1:1:400j]
    for k, strip in enumerate(strips[:12]):
        ink = np.pad(framed(strip.astype(np.float32) / 255, 80, 240) / 255, ((60, 60), (80, 80)))
        light = 0.9 - 0.5 / (1 + np.exp((0.8 - np.hypot(x, y)) / 0.12))
        noise = 0.005 * np.random.default_rng(k).standard_normal(x.shape)
        grey = (light * (1 - 0.6 * ink) + noise).astype(np.float32)
        assert without_table(grey) is grey


@given(st.integers(0, 2**32), st.integers(3, 130), st.integers(3, 130), st.integers(0, 3))
def test_where_no_table_is_nothing_changes(seed: int, height: int, width: int, spots: int) -> None:
    rng = np.random.default_rng(seed)
    grey = (0.8 + 0.01 * rng.standard_normal((height, width))).astype(np.float32)
    for _ in range(spots):
        y, x = rng.integers(0, (height, width))
        grey[y : y + height // 4, x : x + 3] = 0.2
    assert without_table(grey) is grey


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_cameras_of_any_depth(strips: list[np.ndarray], bits: int) -> None:
    page = sheet(strips[2], contrast=0.3, noise=0.02)
    counts = np.rint(page * (2**bits - 1)).astype(np.uint16)
    assert likeness(prepare(counts), prepare(page)) > 0.98


def test_digits_that_touch_a_frame_stay(strips: list[np.ndarray]) -> None:
    values = []
    for k, strip in enumerate(strips):
        wanted = cut_out(strip)
        ink = np.pad(wanted, ((6, 0), (6, 6))).repeat(2, axis=0).repeat(2, axis=1) / 255
        framed_ink = np.pad(ink, ((0, 3), (0, 3)), constant_values=1)  # all stand on it
        noise = np.random.default_rng(k).normal(0, 0.01, framed_ink.shape)
        values.append(likeness(prepare(0.85 - 0.5 * framed_ink + noise), wanted))
    assert np.mean(values) > 0.9 and min(values) > 0.75, values


def test_a_row_through_tight_digits_is_no_line() -> None:
    spec = SequenceSpec(60, 8, spacing=(0, 1), measure="ink", seed=3)
    for k, image in enumerate(DigitSequences(load_sample("test"), spec)[:].images):
        broad = Image.fromarray(cut_out(image))
        narrow = broad.resize((int(0.6 * broad.width), broad.height), Image.Resampling.BOX)
        page = 0.85 - 0.45 * np.pad(np.asarray(narrow), ((2, 2), (5, 5))) / 255
        page = ndimage.gaussian_filter(page, 0.7)
        page += np.random.default_rng(k).normal(0, 0.02, page.shape)
        assert likeness(prepare(page), np.asarray(narrow)) > 0.8


def test_runs_say_where_they_are() -> None:
    ink = np.zeros((30, 100), np.float32)
    ink[10:12, 20:90] = 1
    labels, lines = straight_runs(ink, 50, 3)
    assert lines.shape == (1, 5)
    assert np.abs(lines[0] - [20, 10, 90, 12, 2]).max() <= 2
    assert (labels[10:12, 22:88] == labels.max()).all()
    assert straight_runs(ink, 80, 3)[1].shape == straight_runs(ink, 50, 1)[1].shape == (0, 5)


def test_specks_go_by_the_size_of_the_digits() -> None:
    ink = np.zeros((60, 120), np.float32)
    ink[10:50, 20:26] = ink[10:50, 60:66] = 1
    dirt = ink.copy()
    dirt[5:10, 100:105] = 1
    assert (without_specks(dirt) == ink).all()
    dirt[5:20, 100:105] = 1
    assert (without_specks(dirt) == dirt).all()


# Every kind of picture


@pytest.fixture(scope="module")
def field(strips: list[np.ndarray]) -> np.ndarray:
    """Give one sheet in bytes."""
    return np.rint(sheet(strips[2], 2, **FIELD) * 255).astype(np.uint8)


def colour(grey: np.ndarray) -> np.ndarray:
    return np.stack([grey] * 3, axis=-1)


KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "(H, W, 1)": lambda grey: grey[..., None],
    "(H, W, 3)": colour,
    "(H, W, 4)": lambda grey: np.dstack([colour(grey), np.full_like(grey, 255)]),
    "uint16": lambda grey: grey.astype(np.uint16) * 257,
    "uint16 colour": lambda grey: colour(grey).astype(np.uint16) * 257,
    "int64": lambda grey: grey.astype(np.int64),
    "float32": lambda grey: grey.astype(np.float32) / 255,
    "float64": lambda grey: grey / 255,
    "float64 to 255": lambda grey: grey.astype(np.float64),
    "big endian": lambda grey: grey.astype(">u2"),
    "Fortran": np.asfortranarray,
    "strided": lambda grey: np.repeat(grey, 2, axis=1)[:, ::2],
    "read-only": lambda grey: np.frombuffer(grey.tobytes(), np.uint8).reshape(grey.shape),
    "list": lambda grey: grey.tolist(),
    "L": Image.fromarray,
    "LA": lambda grey: Image.fromarray(grey).convert("LA"),
    "La": lambda grey: Image.fromarray(grey).convert("LA").convert("La"),
    "P": lambda grey: Image.fromarray(grey).convert("P"),
    "PA": lambda grey: Image.fromarray(grey).convert("P").convert("PA"),
    "RGB": lambda grey: Image.fromarray(grey).convert("RGB"),
    "RGBA": lambda grey: Image.fromarray(grey).convert("RGBA"),
    "RGBa": lambda grey: Image.fromarray(grey).convert("RGBA").convert("RGBa"),
    "RGBX": lambda grey: Image.fromarray(grey).convert("RGBX"),
    "CMYK": lambda grey: Image.fromarray(grey).convert("CMYK"),
    "YCbCr": lambda grey: Image.fromarray(grey).convert("RGB").convert("YCbCr"),
    "HSV": lambda grey: Image.fromarray(grey).convert("RGB").convert("HSV"),
    "I": lambda grey: Image.fromarray(grey).convert("I"),
    "I;16": lambda grey: Image.fromarray(grey.astype(np.uint16) * 257),
    "F": lambda grey: Image.fromarray(grey.astype(np.float32) / 255),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_picture_in_every_kind(field: np.ndarray, kind: str) -> None:
    before = field.copy()
    found, wanted = prepare(KINDS[kind](field), width=160), prepare(field, width=160)
    assert np.abs(found.astype(int) - wanted).max() <= 12
    assert (field == before).all()


def test_truth_is_ink_or_paper(strips: list[np.ndarray]) -> None:
    for strip in strips[:4]:
        wanted = prepare(strip)
        mask = strip > 100
        kinds = (mask, ~mask, mask.astype(np.uint8), Image.fromarray(mask), Image.fromarray(~mask))
        assert all(likeness(prepare(kind), wanted) > 0.9 for kind in kinds)


def test_lightness_of_the_lab_kind(field: np.ndarray) -> None:
    planes = [Image.fromarray(plane) for plane in (field, *[np.full_like(field, 128)] * 2)]
    assert (prepare(Image.merge("LAB", planes)) == prepare(field)).all()


def test_transparent_pictures_stand_on_what_shows_them(strips: list[np.ndarray]) -> None:
    for strip in strips[:4]:
        wanted = prepare(strip)
        for shade in (0, 255):
            drawing = np.dstack([colour(np.full_like(strip, shade)), strip])
            assert likeness(prepare(drawing), wanted) > 0.98
            assert likeness(prepare(Image.fromarray(drawing)), wanted) > 0.98


def test_a_palette_with_a_transparent_colour(strips: list[np.ndarray]) -> None:
    picture = Image.fromarray((strips[0] > 100).astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    picture.info["transparency"] = 0
    assert likeness(prepare(picture), prepare(strips[0])) > 0.9


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".gif"])
@pytest.mark.parametrize("kind", [str, Path])
def test_files(field: np.ndarray, tmp_path: Path, suffix: str, kind: type) -> None:
    path = tmp_path / f"field{suffix}"
    Image.fromarray(field).save(path)
    assert likeness(prepare(kind(path)), prepare(field)) > 0.97


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(
    field: np.ndarray, tmp_path: Path, orientation: int
) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what the camera did, as Pillow counts
    picture = Image.fromarray(field)
    if orientation > 1:
        picture = picture.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "photo.png", exif=exif)
    assert (prepare(tmp_path / "photo.png") == prepare(field)).all()
    with Image.open(tmp_path / "photo.png") as opened:
        assert (prepare(opened) == prepare(field)).all()


# What must not matter


@pytest.mark.parametrize("wishes", [{}, FIELD, FIELD | {"box": 0.8}, {"margin": (0, 0)}], ids=str)
def test_polarity_is_found_out(strips: list[np.ndarray], wishes: dict[str, Any]) -> None:
    for k, strip in enumerate(strips):
        page = np.rint(sheet(strip, k, **wishes) * 255).astype(np.uint8)
        assert np.abs(prepare(255 - page).astype(int) - prepare(page)).max() <= 2
        assert (prepare(page) == prepare(page, ink="black")).all()
        assert (prepare(255 - page) == prepare(255 - page, ink="white")).all()


def test_ink_is_what_it_is_said_to_be(strips: list[np.ndarray]) -> None:
    page = np.full((40, 240), 128, np.uint8)  # a dark one and a light one, on grey
    page[8:32, 30:34], page[8:32, 80:84] = 20, 236
    dark, light = (cut_out(prepare(page, width=200, ink=ink)) for ink in ("black", "white"))
    for found in (dark, light):
        assert found.shape[0] == 20 and 2 <= found.shape[1] <= 5 and found.mean() > 200
    both = [prepare(strips[0], ink=ink) for ink in (None, "white")]
    assert (both[0] == both[1]).all()


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_contrast_does_not_matter(strips: list[np.ndarray], factor: float) -> None:
    for strip in strips[:6]:
        page = sheet(strip)
        assert likeness(prepare(page * factor + 0.1), prepare(page)) > 0.99


# Sizes


@pytest.mark.parametrize("height", [8, 20, 28, 32, 64, 200])
@pytest.mark.parametrize("width", [None, 8, 40, 160, 500])
def test_a_strip_has_the_size_asked_for(field: np.ndarray, height: int, width: int | None) -> None:
    found = prepare(field, height, width)
    assert found.shape == (height, found.shape[1] if width is None else width)
    assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable
    if width is not None and width < 40:  # five digits of one pixel each are hardly ink
        return
    x0, y0, x1, y1 = ink_frame(found / 255)
    natural = ink_frame(prepare(field, 200) / 255)
    ratio = (natural[2] - natural[0]) / (natural[3] - natural[1])
    assert abs((x1 - x0) - ratio * (y1 - y0)) <= 2 + 2 * ratio  # to a faint row at top and bottom
    assert abs(y0 - (height - y1)) <= 2 + height // 40
    assert abs(x0 - (found.shape[1] - x1)) <= 2 + height // 40


@pytest.mark.parametrize(("height", "inked"), [(14, 10), (28, 20), (56, 40), (70, 50)])
def test_ink_is_five_sevenths_high(field: np.ndarray, height: int, inked: int) -> None:
    rows = np.flatnonzero(prepare(field, height).any(axis=1))
    assert (rows[0], rows[-1] + 1) == ((height - inked) // 2, (height + inked) // 2)


def test_a_batch_is_its_strips_in_the_middle(strips: list[np.ndarray]) -> None:
    sheets = [sheet(strip, k) for k, strip in enumerate(strips[:5])]
    single = [prepare(one) for one in sheets]
    together = prepare_all(sheets)
    assert together.shape == (5, 28, max(one.shape[1] for one in single))
    for row, one in zip(together, single, strict=True):
        left = (row.shape[1] - one.shape[1]) // 2
        assert (row[:, left : left + one.shape[1]] == one).all() and row.sum() == one.sum()
    wide = prepare_all(iter(sheets), 32, 90)
    assert (wide == np.stack([prepare(one, 32, 90) for one in sheets])).all()
    assert prepare_all([], 32, 90).shape == (0, 32, 90)


@given(
    st.tuples(
        st.sampled_from(["uint8", "uint16", "bool", "float32", "float64"]),
        st.integers(3, 70),
        st.integers(3, 90),
        st.sampled_from([None, 1, 3, 4]),
        st.integers(0, 2**32 - 1),
        st.sampled_from([0.0, 0.02, 0.2, 1.0]),
        st.integers(0, 4),
    ),
    st.integers(8, 40),
    st.sampled_from([None, 8, 33, 120]),
    st.sampled_from([None, "black", "white"]),
)
def test_whatever_comes_a_strip_or_blank(
    drawn: tuple[Any, ...], height: int, width: int | None, ink: str | None
) -> None:
    dtype, rows, columns, channels, seed, noise, strokes = drawn
    rng = np.random.default_rng(seed)
    page = 0.5 + 0.4 * noise * rng.uniform(-1, 1, (rows, columns))
    for _ in range(strokes):
        y, x = rng.integers(0, rows), rng.integers(0, columns)
        page[y : y + rng.integers(1, rows), x : x + rng.integers(1, 9)] = rng.random()
    page = page if channels is None else np.stack([page] * channels, axis=-1)
    top = {"uint8": 255, "uint16": 65535, "bool": 1}.get(dtype, 1.0)
    image = (np.rint(page * top) if isinstance(top, int) else page).astype(dtype)
    try:
        found = prepare(image, height, width, ink)
    except ValueError as error:
        assert str(error).startswith("image is blank: ")
    else:
        assert found.dtype == np.uint8 and found.any()
        assert found.shape == (height, found.shape[1] if width is None else width)


# Nothing to read, nothing to be read


@pytest.mark.parametrize("size", [(3, 3), (28, 28), (45, 150), (300, 200)])
def test_blank_pictures_are_refused(size: tuple[int, int]) -> None:
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    slopes = (0.1 + 0.4 * x + 0.3 * y, 1 - 0.4 * ((x - 0.3) ** 2 + y**2))
    flats = [np.full(size, value) for value in (0, 0.3, 1)]
    for blank in (*slopes, *flats):
        for image in (blank, np.rint(blank * 255).astype(np.uint8)):
            with pytest.raises(ValueError, match="image is blank: .*: leave it out"):
                prepare(image)


def test_noise_is_not_read() -> None:
    read = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        size = (rng.integers(30, 200), rng.integers(30, 300))
        for noise in (rng.random(size), rng.normal(0.5, 0.1, size).clip(0, 1)):
            try:
                prepare(noise)
                read += 1
            except ValueError as error:
                assert "image is blank" in str(error)
    assert read <= 2


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5)), r"at least 3 x 3 pixels, got \(0, 5\): take a larger part"),
        (np.zeros((2, 50, 3)), r"at least 3 x 3 pixels, got \(2, 50, 3\)"),
        (np.zeros(9), r"must have shape \(H, W\), .*, got \(9,\): give one picture"),
        (np.zeros((4, 4, 2)), r"got \(4, 4, 2\)"),
        (np.zeros((3, 40, 40)), r"got \(3, 40, 40\)"),
        (np.zeros((1, 1, 4, 4, 3)), r"got \(1, 1, 4, 4, 3\)"),
        (np.full((5, 5), np.nan), "65535, got nan: scale them"),
        (np.full((5, 5), np.inf), "65535, got inf: scale them"),
        (np.full((5, 5), -0.5), "65535, got -0.5: scale them"),
        (np.full((5, 5), 70_000), "65535, got 70000: scale them"),
        (np.zeros((5, 5), complex), "bool, integers or floats, got complex128"),
        (np.array([["a"] * 5] * 5), "bool, integers or floats, got <U1"),
        (None, r"must have shape .* got \(\)"),
        (7, r"must have shape .* got \(\)"),
        (b"bytes", r"must have shape .* got \(\)"),
        (Image.new("L", (1, 9)), r"at least 3 x 3 pixels, got \(9, 1\)"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_picture_is_refused(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(image)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"height": 7}, "height must be at least 8, got 7"),
        ({"height": 28.0}, "height must be an integer, got 28.0"),
        ({"height": None}, "height must be an integer, got None"),
        ({"width": 0}, "width must be at least 8, got 0"),
        ({"width": True}, "width must be an integer, got True"),
        ({"ink": "blue"}, "ink must be 'black', 'white' or None, got 'blue'"),
        ({"ink": ["black"]}, r"ink must be 'black', 'white' or None, got \['black'\]"),
    ],
    ids=str,
)
def test_wrong_wishes_are_refused(field: np.ndarray, wishes: dict[str, Any], message: str) -> None:
    for call in (prepare, lambda image, **given: prepare_all([], **given)):
        with pytest.raises(ValueError, match=f"^{message}"):
            call(field, **wishes)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file '.*gone.png': check the path"):
        prepare(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        prepare(tmp_path)
    with pytest.raises(FileNotFoundError, match="position 0: image: there is no file 'gone'"):
        prepare_all(["gone"])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text.png' can't be read as a picture"):
        prepare(tmp_path / "text.png")
    Image.new("L", (99, 99), 9).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"half.png' can't be read as a picture"):
        prepare(tmp_path / "half.png")


def test_a_picture_that_would_fill_the_memory(
    field: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(field).save(tmp_path / "field.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", field.size // 3)
    with pytest.raises(ValueError, match=r"can't be read as a picture: Image size"):
        prepare(tmp_path / "field.png")


def test_without_scipy_the_error_says_how_to_get_it(
    field: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="scipy is missing, .* pip install scipy"):
        prepare(field)


def test_scipy_waits_until_it_is_needed() -> None:
    code = "import sys, digitseq; digitseq.prepare; print('scipy.ndimage' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 300))
def test_reducing_leaves_enough(rows: int, columns: int, enough: int) -> None:
    grey = np.full((rows, columns), 0.25, np.float32)
    small, factor = reduced(grey, enough)
    assert min(small.shape) >= min(enough, rows, columns)
    assert factor == 1 or min(small.shape) < 2 * enough + 1
    assert small.shape == (-(-rows // factor), -(-columns // factor))
    assert np.allclose(small, 0.25)


# Boxes, and sheets on other sheets


def boxed(height: int, thick: int, blur: float, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Write digits into boxes that they nearly fill; give the page, what is clean, and how many."""
    ds = DigitSequences(load_sample(), SequenceSpec(1, 5, 160, texts=("14107",), seed=seed))
    strip, side = ds[0].image, round(height * 1.25)
    page, clean = np.full((2, side + 24, 5 * height + 40), 235.0)
    top, foot = 8, 8 + side
    for j, (x0, y0, x1, y1) in enumerate(ds[0].boxes.tolist()):
        tall = height - 2 * thick
        ink = Image.fromarray(strip[y0:y1, x0:x1])
        ink = ink.resize((max(3, round((x1 - x0) * tall / (y1 - y0))), tall), Image.BICUBIC)
        array = np.asarray(ink, float)[:, : height - 4 * thick] / 255
        left, y = 20 + j * height + (height - array.shape[1]) // 2, (top + foot - tall) // 2
        for sheet in (page, clean):
            sheet[y : y + tall, left : left + array.shape[1]] *= 1 - 0.85 * array
    for x in range(20, 21 + 5 * height, height):
        page[top:foot, x : x + thick] = 40
    page[top : top + thick] = page[foot - thick : foot] = 40
    soft = [ndimage.gaussian_filter(sheet, blur) if blur else sheet for sheet in (page, clean)]
    return soft[0], soft[1], 5


@pytest.mark.parametrize("blur", [0.0, 0.7])
@pytest.mark.parametrize(("height", "thick"), [(40, 2), (64, 3), (64, 4), (90, 4)])
def test_boxes_go_and_the_ones_in_them_stay(height: int, thick: int, blur: float) -> None:
    values = []
    for seed in range(8):
        page, clean, _ = boxed(height, thick, blur, seed)
        values.append(likeness(prepare(page), prepare(clean)))
    assert np.sort(values)[2] > 0.8, values


@pytest.mark.parametrize("ends", [15, 30, 45])
@pytest.mark.parametrize("noise", [0, 2])
@pytest.mark.parametrize("grey", [90, 130, 150, 180, 220])
def test_a_grey_sheet_on_white_is_read(
    strips: list[np.ndarray], grey: int, noise: float, ends: int
) -> None:
    rng = np.random.default_rng(grey)
    for strip in strips[:8]:
        ink = np.pad(strip / 255, ((14, 14), (20, 20)))
        sheet = grey * (1 - 0.8 * ink) + np.linspace(-12, 12, ink.shape[1])
        page = np.pad(sheet, ((0, 0), (ends, ends)), constant_values=250)
        page = np.clip(np.rint(page + noise * rng.standard_normal(page.shape)), 0, 255)
        assert likeness(prepare(page), prepare(strip)) > 0.9


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(4, 20), st.integers(4, 20)),
        elements=st.floats(0.25, 0.75, width=32),
    ),
    st.tuples(*[st.integers(0, 9)] * 4),
    st.sampled_from([0, 0.2, 0.8, 1]),
)
def test_bars_are_cut_off(within: np.ndarray, bars: tuple[int, ...], level: float) -> None:
    within[0, 0] = within[-1, -1] = 0.25  # no side is of one grey
    within[0, -1] = within[-1, 0] = 0.75
    top, bottom, left, right = bars
    page = np.pad(within, ((top, bottom), (left, right)), constant_values=level)
    broad = max(bars) >= max(1, min(page.shape) // 4)
    assert np.array_equal(without_bars(page), within if broad else page)


def test_margins_of_a_page_are_no_bars(strips: list[np.ndarray]) -> None:
    for strip in strips:
        for page in (strip / np.float32(255), 1 - strip / np.float32(255)):
            assert without_bars(page) is page
    blank = np.full((20, 60), 0.5, np.float32)
    assert without_bars(blank) is blank


def test_a_sheet_on_a_screen_is_read_as_if_there_were_no_screen(strips: list[np.ndarray]) -> None:
    for number, strip in enumerate(strips[:12]):
        page = sheet(strip, number, noise=0.02, slope=0.2).astype(np.float32)
        for level, bars in ((0.0, ((0, 0), (40, 60))), (1.0, ((30, 30), (0, 90)))):
            barred = np.pad(page, bars, constant_values=level)
            assert np.array_equal(prepare(barred), prepare(page))


def test_a_float_that_was_rounded_up_is_still_a_share_of_white() -> None:
    page = np.ones((40, 160), np.float32)
    page[10:30, 20:30] = page[10:30, 60:70] = 0.1
    wanted = prepare(page)
    page[0, 0] = np.float32(1.000001)
    assert np.array_equal(prepare(page), wanted)
    colour = np.dstack([page, page, page, np.ones_like(page)])
    assert np.abs(prepare(colour).astype(int) - wanted).max() <= 2


def crowded(strip: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Write a line between two others that the sides of the picture cut through."""
    wide = strip.shape[1] + 40
    line = np.pad(other, ((0, 0), (4, 4)))
    lines = np.tile(line, (1, -(-wide // line.shape[1])))[:, :wide] / 255
    ink = np.pad(strip / 255, ((18, 18), (20, 20)))
    ink[:8], ink[-8:] = lines[16:24], lines[4:12]
    return 0.9 - 0.6 * ink


def test_lines_that_the_sides_cut_through_go(
    strips: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [crowded(one, other) for one, other in pairwise(strips)]
    good = [likeness(prepare(page), one) for page, one in zip(pages, strips, strict=False)]
    assert np.mean(good) > 0.95 and np.sort(good)[1] > 0.85, good
    monkeypatch.setattr(preparing, "without_cut", same)
    without = [likeness(prepare(page), one) for page, one in zip(pages, strips, strict=False)]
    assert np.mean(without) < 0.6, without


def test_a_shadow_on_an_empty_sheet_is_mostly_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        many = 0
        for number in range(24):
            rng = np.random.default_rng(number)
            y, x = np.mgrid[:200, :500] / 200
            a, place = rng.uniform(-1, 1), rng.uniform(0.4, 2.1)
            dark = np.tanh((x - place + a * y + 0.2 * np.sin(2 * y + a)) / rng.uniform(0.02, 0.1))
            page = 0.65 - rng.uniform(0.1, 0.25) * dark + 0.01 * rng.standard_normal(x.shape)
            try:
                prepare(np.clip(page, 0, 1))
            except ValueError as error:
                many += "image is blank" in str(error)
        return many

    found = refused()
    monkeypatch.setattr(preparing, "is_shade", lambda flat, part, ink: False)
    assert found >= 18 and found > refused() + 4, (found, refused())


def test_digits_that_the_sides_cut_through_stay(strips: list[np.ndarray]) -> None:
    for strip in strips:
        x0, y0, x1, y1 = ink_frame(strip / 255)
        page = 0.9 - 0.6 * np.pad(strip[:, x0 + 2 : x1 - 2] / 255, ((14, 14), (0, 0)))
        assert likeness(prepare(page), strip[:, x0 + 2 : x1 - 2]) > 0.9
        low = 0.9 - 0.6 * np.pad(strip[y0 + 2 : y1 - 2] / 255, ((0, 0), (14, 14)))
        assert likeness(prepare(low), strip[y0 + 2 : y1 - 2]) > 0.85


def squared(number: int) -> np.ndarray:
    """Draw a sheet of squared paper that nobody wrote on."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[: rng.integers(60, 160), : rng.integers(200, 400)].astype(float)
    step, turn = rng.uniform(9, 20), np.radians(rng.uniform(-1.5, 1.5))
    u, v = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    lines = np.minimum(1, [np.abs((w + step / 2) % step - step / 2) for w in (u, v)]).min(axis=0)
    page = 0.9 - rng.uniform(0.1, 0.2) * (1 - lines) - 0.3 * np.hypot(x - 100, y - 30) / x.max()
    page = ndimage.gaussian_filter(page, 0.6) + 0.008 * rng.standard_normal(page.shape)
    return np.clip(page, 0, 1)


def test_squared_paper_without_a_word_is_mostly_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        many = 0
        for number in range(24):
            try:
                prepare(squared(number))
            except ValueError as error:
                many += "image is blank" in str(error)
        return many

    found = refused()
    monkeypatch.setattr(preparing, "check_height", lambda ink: None)
    assert found >= 16 and found > refused(), (found, refused())


@pytest.mark.parametrize("many", [3, 12])
def test_a_page_of_many_lines_is_no_line(strips: list[np.ndarray], many: int) -> None:
    wide = max(strip.shape[1] for strip in strips)
    rows = [np.pad(strip, ((9, 9), (9, 9 + wide - strip.shape[1]))) for strip in strips[:many]]
    with pytest.raises(ValueError, match="or a page of many lines: .* cut out a line"):
        prepare(0.9 - 0.6 * np.concatenate(rows) / 255)
    for strip, row in zip(strips, rows, strict=False):
        assert likeness(prepare(0.9 - 0.6 * row / 255), strip) > 0.9


@pytest.mark.parametrize("angle", [-14, 8, 14])
def test_a_steep_line_is_a_line(strips: list[np.ndarray], angle: int) -> None:
    for strip in strips:
        ink = Image.fromarray(np.pad(strip, 70)).rotate(angle, Image.Resampling.BILINEAR)
        level = Image.fromarray(prepare(0.9 - 0.6 * np.asarray(ink) / 255, 160))
        back = np.asarray(level.rotate(-angle, Image.Resampling.BILINEAR))
        assert likeness(back, strip) > 0.8


@pytest.mark.parametrize("quality", [30, 60, 85])
@pytest.mark.parametrize("level", [0, 255])
def test_bars_that_jpeg_made_uneven_are_cut_off(
    strips: list[np.ndarray], quality: int, level: int
) -> None:
    values = []
    for k, strip in enumerate(strips[:12]):
        page = 255 * sheet(strip, k, slope=0.2, contrast=0.5)
        page = np.pad(np.rint(page).astype(np.uint8), ((0, 0), (37, 51)), constant_values=level)
        file = io.BytesIO()
        Image.fromarray(page).save(file, "JPEG", quality=quality)
        values.append(likeness(prepare(Image.open(file)), strip))
    assert np.sort(values)[1] > 0.85, values


@given(st.data(), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_masks_spread_as_scipy_filters_them(
    data: st.DataObject, rows: int, columns: int, grow: bool
) -> None:
    shape = data.draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    mask = data.draw(hnp.arrays(np.bool_, shape))
    extreme = ndimage.maximum_filter if grow else ndimage.minimum_filter
    size = (2 * rows + 1, 2 * columns + 1)
    wanted = extreme(mask.view(np.uint8), size, mode="constant").astype(bool)
    found = spread(mask, rows, columns, grow)
    assert found.dtype == np.bool_ and np.array_equal(found, wanted)
