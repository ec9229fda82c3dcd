"""Augment against Keras itself: where they agree to the bit, and where they differ, by how much."""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice, product
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import chi2, ks_1samp, ks_2samp, uniform

from digitseq.augmenting import FACTORS, Augment
from digitseq.loading import load_sample
from digitseq.warping import FILL_MODES, keras_matrix, warp_exactly

tensorflow = pytest.importorskip("tensorflow", reason="tensorflow, with Keras, is not installed")
keras = tensorflow.keras.preprocessing.image
legacy = sys.modules[keras.ImageDataGenerator.__module__]

pytestmark = pytest.mark.filterwarnings("ignore:Please import .affine_transform:DeprecationWarning")

# Every test of a distribution fails a correct program with this chance, were its seed not fixed.
FALSE_ALARM = 1e-6
GEOMETRY = FACTORS[:6]
Params = dict[str, np.ndarray]


def generator(**settings: Any) -> Any:
    """Make Keras' object, without its remarks on settings that imply others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return keras.ImageDataGenerator(**settings)


def quiet(**settings: Any) -> Augment:
    """Make ours, without its remark on whitening and deviation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Augment(**settings)


def drawn(n: int, seed: int, special: bool) -> Params:
    """Draw geometry as wild as it gets; each factor rests at times, so that Keras leaves it out.

    If `special`, there are quarter turns and shifts by whole pixels too.
    """
    rng = np.random.default_rng(seed)
    params = {
        "theta": rng.uniform(-200, 200, n),
        "tx": rng.normal(0, 6, n),
        "ty": rng.normal(0, 6, n),
        "shear": rng.uniform(-89, 89, n),
        "zx": rng.uniform(0.2, 3, n),
        "zy": rng.uniform(0.2, 3, n),
    }
    for name, values in params.items():
        values[rng.random(n) < 0.3] = name.startswith("z")
        some = (rng.random(n) < 0.2) & special
        if name in ("theta", "shear"):
            values[some] = rng.integers(-4, 5, n)[some] * 90
        if name in ("tx", "ty"):
            values[some] = np.round(values[some])
    return params


def one(params: Params, k: int) -> dict[str, float]:
    return {name: float(values[k]) for name, values in params.items()}


def by_keras(images: np.ndarray, params: Params, **how: Any) -> np.ndarray:
    axes = {"row_axis": 0, "col_axis": 1, "channel_axis": 2}
    each = (
        keras.apply_affine_transform(image[:, :, None], **one(params, k), **axes, **how)
        for k, image in enumerate(images)
    )
    return np.stack([result[:, :, 0] for result in each])


def pictures(shape: tuple[int, int], n: int) -> np.ndarray:
    """Give digits and noise in turns, float32 in [0, 1]; digits of another shape are cut out."""
    h, w = shape
    images = np.random.default_rng(h).random((n, h, w), np.float32)
    digits = load_sample().images[:: 5000 // n][:n] / np.float32(255)
    pair = np.concatenate([digits, digits], axis=2)[:, :h, :w]
    images[::2, : pair.shape[1], : pair.shape[2]] = pair[::2]
    return images


def settings_of(mode: str, order: int, cval: float) -> tuple[Augment, dict[str, Any]]:
    aug = Augment(fill_mode=mode, interpolation_order=order, cval=cval)
    return aug, {"fill_mode": mode, "order": order, "cval": cval}


modes = pytest.mark.parametrize("mode", FILL_MODES)
orders = pytest.mark.parametrize("order", [1, 0])
SQUARE = [(28, 1000), (17, 500), (64, 100), (5, 200), (2, 150), (1, 50)]


# Geometry


@modes
@orders
def test_exact_is_keras_bit_for_bit(mode: str, order: int) -> None:
    """2,000 sets of parameters; not only for nearest and constant, but for reflect and wrap too."""
    assert sum(n for _, n in SQUARE) == 2000
    for side, n in SQUARE:
        images, params = pictures((side, side), n), drawn(n, side, special=True)
        aug, how = settings_of(mode, order, cval=0.7 if side % 2 else 0.0)
        ours, theirs = aug.apply(images, params, exact=True), by_keras(images, params, **how)
        assert ours.dtype == theirs.dtype == np.float32
        wrong = np.flatnonzero((ours != theirs).any(axis=(1, 2)))
        assert not len(wrong), f"side {side}: {len(wrong)}, first {one(params, wrong[0])}"


def test_exact_is_keras_where_the_last_bit_decides() -> None:
    """Half-way between two numbers of single precision, one bit of double precision is seen."""
    n, rng = 300, np.random.default_rng(0)
    images = (1 + rng.random((n, 8, 8), np.float32)) / 2  # all of them have the same exponent
    params = {"tx": rng.uniform(-40, 40, n), "ty": rng.integers(-20, 20, n) + 0.5}
    ours = Augment().apply(images, params, exact=True)
    assert np.array_equal(ours, by_keras(images, params))


@modes
@orders
def test_fast_is_keras_within_the_contract(mode: str, order: int) -> None:
    """The contract is 1e-4 on [0, 1]; at these sizes it is less than a fifth of it in fact.

    The sides are even and no turn is a quarter: else the middle row, say, would look at the very
    edge, where the last bit decides between ink and cval (see test_augment.py).
    """
    for side, n in ((28, 1400), (64, 100), (10, 300), (2, 200)):
        images, params = pictures((side, side), n), drawn(n, 100 + side, special=False)
        aug, how = settings_of(mode, order, cval=0.7 if side == 10 else 0.0)
        error = np.abs(aug.apply(images, params) - by_keras(images, params, **how)).max()
        assert error <= 1e-4
        assert error <= (2e-5 if order == 1 else 0)


SHAPES = [(28, 56), (20, 13), (1, 9), (9, 1), (15, 16)]


@modes
@orders
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_only_the_middle_is_another_if_height_is_not_width(
    mode: str, order: int, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras takes height for width when it looks for the middle, and that is all."""
    (h, w), n = shape, 80
    images, params = pictures(shape, n), drawn(n, 7 * h + w, special=True)
    aug, how = settings_of(mode, order, cval=0.4)
    ours, theirs = aug.apply(images, params, exact=True), by_keras(images, params, **how)
    keras_again = np.empty_like(images)
    for k, image in enumerate(images):
        matrix = keras_matrix(*(params[name][k] for name in GEOMETRY), h=w, w=h)
        position = FILL_MODES.index(mode)
        warp_exactly(image, matrix, position, how["cval"], order, keras_again[k])
    assert np.array_equal(keras_again, theirs)
    shifts = {name: params[name] for name in ("tx", "ty")}
    assert np.array_equal(aug.apply(images, shifts, exact=True), by_keras(images, shifts, **how))
    original = legacy.transform_matrix_offset_center
    monkeypatch.setattr(
        legacy, "transform_matrix_offset_center", lambda matrix, x, y: original(matrix, y, x)
    )
    assert np.array_equal(by_keras(images, params, **how), ours)
    if min(shape) > 1:
        assert (np.abs(ours - theirs).max(axis=(1, 2)) > 0.01).sum() > n // 2


@modes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_middle_is_the_middle(mode: str, shape: tuple[int, int]) -> None:
    """SciPy, given the parameters' matrix and the true middle, says the same as `exact`."""
    (h, w), n = shape, 80
    images, params = pictures(shape, n), drawn(n, h + w, special=False)
    aug, _ = settings_of(mode, 1, cval=0.4)
    ours = aug.apply(images, params, exact=True)
    middle = np.array([h / 2 - 0.5, w / 2 - 0.5])
    for k, image in enumerate(images):
        p = one(params, k)
        turned, slanted = np.deg2rad(p["theta"]), np.deg2rad(p["shear"])
        turn = np.array([[np.cos(turned), np.sin(turned)], [-np.sin(turned), np.cos(turned)]])
        slant = np.array([[np.cos(slanted), 0], [-np.sin(slanted), 1]])
        matrix = turn @ slant @ np.diag([p["zy"], p["zx"]])  # rows first, columns second
        offset = middle + turn @ [p["ty"], p["tx"]] - matrix @ middle
        assert np.allclose(keras_matrix(*p.values(), h, w), [*matrix.ravel(), *offset], atol=1e-11)
        if min(shape) > 1 and p["theta"]:  # else a hair's breadth decides between ink and cval
            theirs = ndimage.affine_transform(
                image, matrix, offset, order=1, mode=mode, cval=0.4, output=np.float32
            )
            assert np.abs(ours[k] - theirs).max() < 1e-6


MOVES: list[tuple[dict[str, float], Any, Any]] = [
    ({"tx": 5}, np.s_[:, 5:], np.s_[:, :-5]),
    ({"tx": -3}, np.s_[:, :-3], np.s_[:, 3:]),
    ({"ty": 4}, np.s_[4:], np.s_[:-4]),
    ({"ty": -7, "tx": 2}, np.s_[:-7, 2:], np.s_[7:, :-2]),
    ({"zx": 2, "tx": 0.5}, np.s_[:, 1::2], np.s_[:, 4:12]),
    ({"zy": 2, "ty": -0.5}, np.s_[::2], np.s_[4:12]),
    ({"zx": -1}, np.s_[:, ::-1], np.s_[:]),
    ({"zy": -1}, np.s_[::-1], np.s_[:]),
    ({"theta": 180}, np.s_[::-1, ::-1], np.s_[:]),
]


@pytest.mark.parametrize(("params", "seen", "where"), MOVES, ids=str)
@pytest.mark.parametrize("exact", [True, False])
def test_what_the_numbers_mean(
    params: dict[str, float], seen: Any, where: Any, exact: bool
) -> None:
    """tx and zx are of columns, ty and zy of rows, here and in apply_affine_transform."""
    image = np.random.default_rng(1).random((16, 16), np.float32)
    ours = Augment().apply(image[None], params, exact=exact)[0]
    theirs = by_keras(image[None], {name: np.array([value]) for name, value in params.items()})[0]
    for result in (ours, theirs):
        assert np.allclose(result[where], image[seen], rtol=0, atol=1e-6)


# What is not geometry


KERAS_NAMES = {"channel_shift": "channel_shift_intensity"}


def keras_row(params: Params, k: int) -> dict[str, float]:
    return {KERAS_NAMES.get(name, name): values[k].item() for name, values in params.items()}


def hand_over(keras_generator: Any, params: Params) -> None:
    """Let Keras take the numbers that were drawn here, image after image."""
    rows = (keras_row(params, k) | {"brightness": None} for k in count())
    keras_generator.get_random_transform = lambda shape, seed=None: next(rows)


def transformed(keras_generator: Any, images: np.ndarray, params: Params) -> np.ndarray:
    apply = keras_generator.apply_transform
    return np.stack([apply(image, keras_row(params, k)) for k, image in enumerate(images)])


LAYOUTS = [("channels_last", (1, 3, 4, 2)), ("channels_first", (1, 3, 5))]


@pytest.mark.parametrize(("data_format", "counts"), LAYOUTS)
def test_all_but_brightness_is_apply_transform_bit_for_bit(
    data_format: str, counts: tuple[int, ...]
) -> None:
    """With the same numbers: geometry, then the shift of the greys, then flips."""
    n, settings = 60, {"fill_mode": "constant", "cval": 0.2, "data_format": data_format}
    aug, theirs = Augment(**settings), generator(**settings)
    for c in counts:
        rng = np.random.default_rng(c)
        shape = (n, 14, 14, c) if data_format == "channels_last" else (n, c, 14, 14)
        images, params = rng.random(shape, np.float32), drawn(n, c, special=True)
        params["channel_shift"] = rng.uniform(-0.5, 0.5, n)
        params["flip_horizontal"], params["flip_vertical"] = rng.random((2, n)) < 0.5
        expected = transformed(theirs, images, params)
        assert np.array_equal(aug.apply(images, params, exact=True), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_brightness_in_bytes_is_that_of_keras_before_it_rounds_down(channels: int) -> None:
    n, rng = 200, np.random.default_rng(channels)
    images = rng.integers(0, 256, (n, 9, 9, channels)).astype(np.float32)
    params = {
        "brightness": rng.uniform(0, 3, n),
        "channel_shift": rng.integers(-200, 200, n).astype(float),
        "flip_horizontal": rng.random(n) < 0.5,
    }
    ours, theirs = Augment().apply(images, params), transformed(generator(), images, params)
    assert np.array_equal(np.floor(ours), theirs)
    assert (ours != theirs).any()
    bytes_too = Augment().apply(images.astype(np.uint8), params)
    assert np.array_equal(bytes_too, ours)


def test_brightness_comes_last_and_keras_rounds_down_twice() -> None:
    n, rng = 100, np.random.default_rng(0)
    images = rng.integers(0, 256, (n, 12, 12, 1)).astype(np.float32)
    params, bright = drawn(n, 5, special=True), {"brightness": rng.uniform(0, 3, n)}
    warped = np.floor(Augment().apply(images, params, exact=True))
    ours = np.floor(Augment().apply(warped, bright))
    assert np.array_equal(ours, transformed(generator(), images, params | bright))


def test_brightness_on_the_unit_scale_is_black_in_keras_and_kept_here() -> None:
    rng = np.random.default_rng(4)
    images = rng.random((50, 9, 9, 1), np.float32)
    params = {"brightness": rng.uniform(0.1, 2, 50)}
    assert not transformed(generator(), images, params).any()
    ours = Augment().apply(images, params)
    wanted = images * params["brightness"].astype(np.float32)[:, None, None, None]
    assert np.array_equal(ours, np.minimum(wanted, 1))
    on_bytes = Augment().apply(images * np.float32(255), params)
    assert np.abs(ours - on_bytes / 255).max() < 1e-6


# Standardizing


FLAGS = (
    *("featurewise_center", "samplewise_center", "featurewise_std_normalization"),
    *("samplewise_std_normalization", "zca_whitening"),
)


def bent(image: np.ndarray) -> np.ndarray:
    return np.abs(0.8 * image - 0.3 * image[::-1])


@pytest.mark.parametrize("flags", list(product([False, True], repeat=5)), ids=str)
def test_standardizing_is_that_of_keras(flags: tuple[bool, ...]) -> None:
    """Each combination, with and without a factor and a function; and what it implies."""
    rng = np.random.default_rng(sum(flags))
    switches = dict(zip(FLAGS, flags, strict=True))
    for scale, function in product((None, 1 / 255), (None, bent)):
        for data_format, shape in (
            ("channels_last", (40, 6, 7, 1)),
            ("channels_last", (30, 5, 4, 3)),
            ("channels_first", (30, 3, 5, 4)),
        ):
            settings = dict(
                **switches,
                zca_epsilon=1.0,
                rescale=scale,
                preprocessing_function=function,
                data_format=data_format,
            )
            images = rng.random(shape, np.float32) * np.float32(1 if scale is None else 255)
            images[3] = 0  # there is no deviation to divide by
            ours, theirs = quiet(**settings).fit(images), generator(**settings)
            theirs.fit(images)
            assert [getattr(ours, name) for name in FLAGS] == [
                getattr(theirs, name) for name in FLAGS
            ]
            expected = np.stack([theirs.standardize(image.copy()) for image in images])
            found = ours.standardize(images)
            assert found.dtype == np.float32
            assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)
            if shape[-1] == 1:  # the same without an axis of channels
                glyphs = images[..., 0]
                again = quiet(**settings).fit(glyphs).standardize(glyphs)
                assert np.allclose(again, found[..., 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("which", ["featurewise", "samplewise"])
def test_faint_images_are_divided_as_in_keras(which: str) -> None:
    """What is added to a deviation, lest one divides by nothing, is seen where there is little."""
    images = np.random.default_rng(0).random((20, 5, 6, 1), np.float32) * np.float32(1e-6)
    settings = {f"{which}_std_normalization": True}
    ours, theirs = Augment(**settings).fit(images), generator(**settings)
    theirs.fit(images)
    expected = np.stack([theirs.standardize(image.copy()) for image in images])
    assert expected.std() < 0.3
    assert np.allclose(ours.standardize(images), expected, rtol=1e-5, atol=1e-5)


def test_learning_from_augmented_images_is_that_of_keras() -> None:
    """Keras is handed the numbers that were drawn here, image after image, round after round."""
    images = load_sample().images[::100, 4:24, 4:24, None] / np.float32(255)
    settings = dict(
        rotation_range=20, width_shift_range=0.1, zoom_range=0.2, rescale=2.0, zca_epsilon=1.0
    )
    for switches in ({"featurewise_std_normalization": True}, {"zca_whitening": True}):
        ours, theirs = Augment(**settings, **switches), generator(**settings, **switches)
        hand_over(theirs, ours.draw(3 * len(images), seed=8, shape=(20, 20)))
        ours.fit(images, augment=True, rounds=3, seed=8)
        theirs.fit(images, augment=True, rounds=3)
        expected = np.stack([theirs.standardize(image.copy()) for image in images])
        assert np.allclose(ours.standardize(images), expected, rtol=1e-5, atol=1e-4)


# Drawing


def keras_draws(n: int, seed: int, shape: tuple[int, int, int], **settings: Any) -> Params:
    draw = generator(**settings).get_random_transform
    rows = [draw(shape, seed=(seed << 20) + k) for k in range(n)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


H, W = 20, 36
EVEN: list[tuple[dict[str, Any], dict[str, tuple[float, float]]]] = [
    ({"rotation_range": 30}, {"theta": (-30, 30)}),
    ({"rotation_range": 0.5}, {"theta": (-0.5, 0.5)}),
    ({"shear_range": 0.2}, {"shear": (-0.2, 0.2)}),
    ({"width_shift_range": 0.25}, {"tx": (-9, 9)}),
    ({"height_shift_range": 0.25}, {"ty": (-5, 5)}),
    ({"width_shift_range": 0.999}, {"tx": (-0.999 * W, 0.999 * W)}),
    ({"width_shift_range": 1.0}, {"tx": (-1, 1)}),
    ({"height_shift_range": 3.5}, {"ty": (-3.5, 3.5)}),
    ({"zoom_range": 0.3}, {"zx": (0.7, 1.3), "zy": (0.7, 1.3)}),
    ({"zoom_range": (0.5, 0.75)}, {"zx": (0.5, 0.75), "zy": (0.5, 0.75)}),
    ({"zoom_range": [1.5, 2]}, {"zx": (1.5, 2), "zy": (1.5, 2)}),
    ({"brightness_range": (0.2, 1.1)}, {"brightness": (0.2, 1.1)}),
    ({"channel_shift_range": 40.0}, {"channel_shift": (-40, 40)}),
]
SWAPPED = {"tx": "ty", "ty": "tx", "channel_shift": "channel_shift_intensity"}


@pytest.mark.parametrize(("settings", "ranges"), EVEN, ids=str)
def test_even_draws_have_the_distribution_of_keras(
    settings: dict[str, Any], ranges: dict[str, tuple[float, float]]
) -> None:
    ours = Augment(**settings).draw(20_000, seed=3, shape=(H, W))
    theirs = keras_draws(2000, 3, (H, W, 1), **settings)
    for name, (low, high) in ranges.items():
        values, keras_values = ours[name], theirs[SWAPPED.get(name, name)]
        for drawn_values in (values, keras_values):
            assert low <= drawn_values.min() and drawn_values.max() <= high
            even = uniform(low, high - low).cdf
            assert ks_1samp(drawn_values, even).pvalue > FALSE_ALARM
        assert ks_2samp(values, keras_values).pvalue > FALSE_ALARM
    for name in set(FACTORS) - set(ranges):
        rests = name in ("zx", "zy", "brightness")
        assert (ours[name] == rests).all(), name


def assert_follows(observed: Counter[float], chances: dict[float, float]) -> None:
    n, total = observed.total(), sum(chances.values())
    assert set(observed) <= set(chances)
    expected = {value: n * chance / total for value, chance in chances.items()}
    assert min(expected.values()) >= 5
    statistic = sum((observed[v] - wanted) ** 2 / wanted for v, wanted in expected.items())
    assert chi2.sf(statistic, len(chances) - 1) > FALSE_ALARM


STEPS: list[tuple[Any, list[float]]] = [
    (1, [0]),
    (2, [0, 1]),
    (5, [0, 1, 2, 3, 4]),
    ([3], [3]),
    ([-3], [3]),  # below 1, so of the width: a trap of Keras' that is kept
    ([1, 4, 9], [1, 4, 9]),
    ((2, 2, 5), [2, 2, 5]),
    ([-2, 2, 0], [-2, 2, 0]),
    ([0.1, 0.25], [0.1, 0.25]),
    ([-3, 0.5], [-3, 0.5]),
    ([0.5, 1.5], [0.5, 1.5]),
    (np.array([1.5, 2.5]), [1.5, 2.5]),
]


@pytest.mark.parametrize(("steps", "members"), STEPS, ids=str)
@pytest.mark.parametrize(("name", "factor", "side"), [("width", "tx", W), ("height", "ty", H)])
def test_shifts_from_integers_and_lists_are_those_of_keras(
    steps: Any, members: list[float], name: str, factor: str, side: int
) -> None:
    """A member and a coin for the sign; fractions, should none be 1 or more.

    With the integer n, these are -(n - 1) to n - 1, and 0 twice as often as any other.
    """
    settings = {f"{name}_shift_range": steps}
    scale = side if np.max(steps) < 1 else 1
    chances: Counter[float] = Counter(s * m * scale for m in members for s in (-1.0, 1.0))
    ours = Augment(**settings).draw(12_000, seed=4, shape=(H, W))[factor]
    listed = {key: np.array(value).tolist() for key, value in settings.items()}
    theirs = keras_draws(2000, 4, (H, W, 1), **listed)[SWAPPED[factor]]
    for values in (ours, theirs):
        if len(chances) > 1:
            assert_follows(Counter(values.tolist()), chances)
        assert set(values.tolist()) == set(chances)
    if name == "width":
        assert not Augment(**settings).draw(50, shape=(H, W))["ty"].any()


def test_flips_are_tossed_for_as_in_keras() -> None:
    settings = {"horizontal_flip": True, "vertical_flip": True}
    ours = Augment(**settings).draw(12_000, seed=5)
    theirs = keras_draws(2000, 5, (H, W, 1), **settings)
    for draws in (ours, theirs):
        pairs = zip(draws["flip_horizontal"], draws["flip_vertical"], strict=True)
        observed = Counter((bool(a), bool(b)) for a, b in pairs)
        assert_follows(observed, dict.fromkeys(product([False, True], repeat=2), 1))
    only = Augment(horizontal_flip=True).draw(12_000, seed=5)
    assert np.array_equal(only["flip_horizontal"], ours["flip_horizontal"])
    assert not only["flip_vertical"].any()


def test_factors_do_not_depend_on_each_other() -> None:
    aug = Augment(
        rotation_range=10,
        width_shift_range=[1, 2, 3],
        height_shift_range=0.2,
        brightness_range=(0.5, 1.5),
        shear_range=5,
        zoom_range=0.2,
        channel_shift_range=9,
        horizontal_flip=True,
        vertical_flip=True,
    )
    n = 10_000
    draws = aug.draw(n, seed=6)
    columns = [draws[name].astype(float) for name in FACTORS]
    columns += [np.abs(draws["tx"]), *([*column[1:].tolist(), 0] for column in columns)]
    correlations = np.corrcoef(columns) - np.eye(len(columns))
    correlations[10, 1] = correlations[1, 10] = 0  # tx and its size
    limit = 6 / np.sqrt(n)  # 6 deviations: a chance of 2e-9 for each of 210
    shifted = np.abs(correlations) < limit
    assert shifted.all(), np.argwhere(~shifted)


def test_width_and_height_change_places_in_keras() -> None:
    """What is drawn from height_shift_range moves columns there, and rows here."""
    image = np.random.default_rng(0).random((1, 16, 16, 1), np.float32)
    for name, other, factor in (
        ("width_shift_range", "height_shift_range", "tx"),
        ("height_shift_range", "width_shift_range", "ty"),
    ):
        keras_generator = generator(**{name: [3]})
        number = keras_generator.get_random_transform((16, 16, 1), seed=0)
        theirs = keras_generator.apply_transform(image[0], number)
        assert {number["tx"], number["ty"]} in ({0, 3}, {0, -3})
        exchanged = {"tx": number["ty"], "ty": number["tx"]}
        wanted = Augment().apply(image, exchanged, exact=True)  # as its name says
        assert np.array_equal(Augment().apply(image, {factor: number["tx"] + number["ty"]}), wanted)
        assert not np.array_equal(theirs, wanted[0])
        same = {"tx": number["tx"], "ty": number["ty"]}
        assert np.array_equal(Augment().apply(image, same, exact=True)[0], theirs)
        drawn_here = Augment(**{other: [3]}).draw(40)
        results = Augment().apply(np.repeat(image, 40, axis=0), drawn_here, exact=True)
        assert any(np.array_equal(result, theirs) for result in results)


# Flow


def first_epoch(batches: Iterator[Any], count: int) -> list[Any]:
    """Take batches until `count` images have come."""
    taken = []
    while sum(len(batch) for batch in taken) < count:
        taken.append(next(batches))
    return taken


@pytest.mark.parametrize("n", [7, 10, 100])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.29, 0.5, 0.9])
def test_subsets_are_those_of_keras(n: int, share: float) -> None:
    numbers = np.arange(n)
    images = np.broadcast_to(numbers[:, None, None, None], (n, 3, 2, 1)).astype(np.float32)
    ours, theirs = Augment(validation_split=share), generator(validation_split=share)
    for subset in (None, "training", "validation"):
        kept = theirs.flow(
            images, numbers, subset=subset, ignore_class_split=True, shuffle=False
        ).y.tolist()
        if not kept:
            with pytest.raises(ValueError, match=f"'validation' of {n} images is empty"):
                ours.flow(images, numbers, subset=subset)
            continue
        for shuffle in (False, True):
            batches = ours.flow(images, numbers, 4, shuffle=shuffle, seed=1, subset=subset)
            labels: list[int] = []
            while len(labels) < len(kept):
                batch, own = next(batches)
                assert (batch == own[:, None, None, None]).all()
                labels += own.tolist()
            assert (sorted(labels) if shuffle else labels) == kept


def test_batches_are_as_long_as_those_of_keras() -> None:
    for n, size in product((1, 4, 10, 33), (1, 4, 32, 50)):
        images = np.zeros((n, 2, 2, 1), np.float32)
        ours = Augment().flow(images, batch_size=size)
        theirs = generator().flow(images, batch_size=size)
        lengths = [[len(batch) for batch in islice(batches, 12)] for batches in (ours, theirs)]
        assert lengths[0] == lengths[1]


def test_the_same_numbers_give_the_same_batches() -> None:
    """All steps together: Keras' flow, handed the numbers that were drawn here."""
    images = load_sample().images[::170, :, :, None] / np.float32(255)
    n = len(images)
    settings = dict(
        rotation_range=20,
        width_shift_range=0.1,
        height_shift_range=[1.5, 2.5],
        shear_range=10,
        zoom_range=0.2,
        channel_shift_range=0.3,
        horizontal_flip=True,
        vertical_flip=True,
        fill_mode="reflect",
        rescale=0.5,
        preprocessing_function=bent,
        samplewise_center=True,
        featurewise_std_normalization=True,
    )
    ours, theirs = Augment(**settings).fit(images), generator(**settings)
    theirs.fit(images)
    hand_over(theirs, ours.draw(2 * n, seed=9))
    mine = ours.flow(images, batch_size=8, shuffle=False, seed=9)
    keras_batches = theirs.flow(images, batch_size=8, shuffle=False)
    for _ in range(2 * -(-n // 8)):
        assert np.abs(next(mine) - next(keras_batches)).max() < 1e-4
