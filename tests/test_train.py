"""A reader: what it learns, what stops it, what it says and how it is kept."""

import os
import re
import sys
from copy import deepcopy
from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from digitseq.cli import main
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.preparing import ink_frame, prepare
from digitseq.saving import load, save
from digitseq.scoring import edit_distance, score
from digitseq.specifying import SequenceSpec

pytest.importorskip("tensorflow", reason="tensorflow is not installed")

from digitseq import training
from digitseq.training import (
    CLASSES,
    LIKELY,
    SHOWN,
    Lessons,
    Recogniser,
    as_strips,
    batch_loss,
    decode,
    judged_sources,
    likely_texts,
    looks_at,
    make_network,
    mixed_lessons,
    picture_lessons,
    read_pictures,
    read_strips,
    reading_costs,
    several_lessons,
    shaken,
    source_lessons,
    split_sources,
    surest,
    text_labels,
    text_losses,
    used_ids,
)

digits = st.text("0123456789", max_size=6)
SPEC = SequenceSpec(600, (1, 3), 96, 32, spacing=(0, 6), seed=2)
TRAIN, TEST = load_sample("train"), load_sample("test")


def data(**changes: Any) -> DigitSequences:
    return DigitSequences(TRAIN, SPEC.replace(**changes))


@pytest.fixture(scope="module")
def taught() -> Recogniser:
    """Teach a reader for half a minute."""
    reader = Recogniser(seed=3)
    reader.fit(data(), epochs=4, samples=2400, validation=200, progress=False)
    return reader


# Scores, against what is plainly so


def slow_distance(text: str, read: str) -> int:
    """Try everything."""
    if not text or not read:
        return len(text) + len(read)
    kept = slow_distance(text[1:], read[1:])
    if text[0] == read[0]:
        return kept
    return 1 + min(kept, slow_distance(text[1:], read), slow_distance(text, read[1:]))


@settings(max_examples=150, deadline=None)
@given(digits, digits)
def test_edit_distance_is_the_fewest_of_all(text: str, read: str) -> None:
    assert edit_distance(text, read) == slow_distance(text, read) == edit_distance(read, text)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(digits, digits), min_size=1, max_size=20))
def test_scores_add_up(pairs: list[tuple[str, str]]) -> None:
    texts, read = zip(*pairs, strict=True)
    found = score(texts, read)
    assert found.right == sum(a == b for a, b in pairs) and found.strings == len(pairs)
    assert found.edits == sum(slow_distance(a, b) for a, b in pairs)
    low, high = found.accuracy_interval
    assert 0 <= low <= found.accuracy <= high <= 1
    assert str(len(pairs)) in str(found)


# The network


def test_the_network_is_small_and_takes_any_width() -> None:
    for height in (16, 32, 48, 64):
        network = make_network(height)
        assert network.count_params() <= 150_000 or height > 48
        for width in (16, 37, 160, 500):
            out = network(np.zeros((1, height, width, 1), np.float32))
            assert out.shape[0] == 1 and abs(out.shape[1] - width / 4) <= 1 and out.shape[2] == 11
    with pytest.raises(ValueError, match="height must be a multiple of 16, got 28"):
        Recogniser(28)


def test_equal_seeds_make_equal_networks() -> None:
    one, same, other = (make_network(32, seed).get_weights() for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=60, deadline=None)
@given(digits, st.lists(st.integers(1, 3), min_size=12, max_size=12), st.booleans())
def test_decoding_undoes_writing(text: str, times: list[int], blank_first: bool) -> None:
    path: list[int] = [0] * blank_first
    for k, digit in enumerate(text):
        path += [int(digit) + 1] * times[k] + [0] * (times[6 + k] if k < 6 else 1)
    path = path or [0]
    logits = np.zeros((1, len(path), 11), np.float32)
    logits[0, np.arange(len(path)), path] = 9
    assert decode(logits) == [text]
    cost = text_losses(logits, [text])[0]
    assert 0 <= cost < 0.2 * len(path)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("0123456789", max_size=8) | st.text("11112", max_size=8), min_size=1),
    st.integers(2, 20),
    st.integers(0, 99),
)
def test_costs_are_those_of_keras(texts: list[str], columns: int, seed: int) -> None:
    import keras

    shape = (len(texts), columns, 11)
    logits = np.random.default_rng(seed).normal(0, 4, shape).astype(np.float32)
    lengths, steps = np.array([len(text) for text in texts]), np.full(len(texts), columns)
    wanted = keras.ops.ctc_loss(text_labels(texts), logits, lengths, steps, mask_index=0)
    wanted = np.asarray(keras.ops.convert_to_numpy(wanted), np.float64)
    wanted[wanted > 600] = np.inf  # Keras' number for what is impossible
    assert np.allclose(text_losses(logits, texts), wanted, rtol=1e-4, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(digits, min_size=1, max_size=5), st.integers(12, 20), st.integers(0, 99))
def test_the_loss_and_its_gradient_are_those_of_keras(
    texts: list[str], columns: int, seed: int
) -> None:
    import keras
    import tensorflow as tf

    shape = (len(texts), columns, 11)
    logits = tf.constant(np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32))
    labels = text_labels(texts)
    found = []
    for loss in (batch_loss, keras.losses.CTC()):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits)
        found.append((float(value), tape.gradient(value, logits).numpy()))
    (own, slope), (other, wanted) = found
    assert own == pytest.approx(other, rel=1e-4)
    np.testing.assert_allclose(slope, wanted, atol=1e-4)


def test_a_text_without_a_path_teaches_nothing() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (2, 4, 11)).astype(np.float32)
    both = float(batch_loss(text_labels(["11111", "12"]), logits))
    assert both == pytest.approx(float(batch_loss(text_labels(["12"]), logits[1:])) / 2, rel=1e-6)


# What it learns from


def test_every_epoch_takes_new_samples() -> None:
    lessons = source_lessons(data(), epochs=3, samples=100)
    assert lessons.fresh
    numbers = [np.concatenate(list(lessons.numbers(epoch, 32))) for epoch in range(3)]
    assert np.array_equal(np.concatenate(numbers), np.arange(300))
    images, texts = lessons.make(np.array([250]))
    sample = data(num_samples=300)[250]
    assert np.array_equal(images[0], sample.image) and texts == [sample.text]
    assert not source_lessons(data(unique=True), 3, None).fresh


def test_a_finite_set_comes_again_in_another_order() -> None:
    lessons = Lessons(lambda numbers: (numbers, []), 50, False)
    first, second = (np.concatenate(list(lessons.numbers(epoch, 16))) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert not np.array_equal(first, second)


def test_some_of_the_images_are_prepared() -> None:
    source = data(page="form", spacing=None, num_samples=200)
    plain, some, every = (
        source_lessons(source, 1, None, share).make(np.arange(200))[0] for share in (0, 0.5, 1)
    )
    changed = (plain != some).any(axis=(1, 2))
    assert 0.3 < changed.mean() < 0.55 < (plain != every).any(axis=(1, 2)).mean()
    assert np.array_equal(some[changed], every[changed])


def test_validation_shares_no_glyph() -> None:
    training, validation = split_sources(data(), 50)
    assert not np.intersect1d(training.glyphs.ids, validation.glyphs.ids).size
    assert len(validation) == 50 and len(training.glyphs) + len(validation.glyphs) == len(TRAIN)
    reader = Recogniser()
    with pytest.raises(ValueError, match=r"validation shares \d+ ids with what is trained on"):
        reader.fit(data(), validation=data(seed=8), progress=False)
    reader.fit(data(), validation=data(seed=8, num_samples=20), leaky=True, epochs=1, samples=20)


def test_saved_sets_want_their_own_validation(tmp_path: Path) -> None:
    save(data(num_samples=60), tmp_path, format="npz", progress=False)
    saved = load(tmp_path)
    with pytest.raises(ValueError, match="can't be split by glyphs: pass validation="):
        Recogniser().fit(saved, progress=False)
    held_out = DigitSequences(TEST, SPEC.replace(num_samples=20))
    history = Recogniser().fit(saved, validation=held_out, epochs=2, progress=False)
    assert len(history) == 2 and all(epoch.validation for epoch in history)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer, got 2.5"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"prepared": 2}, "prepared must be a share, 0 to 1, got 2"),
        ({"learning_rate": 0}, "learning_rate must be above 0 and at most 1, got 0"),
        ({"learning_rate": -0.1}, "learning_rate must be above 0 and at most 1, got -0.1"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
    ],
    ids=repr,
)
def test_bad_wishes_are_refused(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recogniser().fit(data(), progress=False, **wishes)


def test_pictures_and_texts_must_match() -> None:
    image = np.zeros((32, 60), np.uint8)
    with pytest.raises(ValueError, match="there must be a text for each of 2 pictures"):
        picture_lessons([image, image], ["1"], 32)
    with pytest.raises(ValueError, match="'1a'|must"):
        picture_lessons([image], ["1a"], 32)


# What it says


def test_it_reads(taught: Recogniser) -> None:
    found = taught.evaluate(DigitSequences(TEST, SPEC), count=400)
    assert found.accuracy > 0.6 and found.strings == 400
    assert "0" in "".join(taught.predict(data(texts=("0", "100", "007"), length=None)[:9].images))


def test_confidence_follows_truth(taught: Recogniser) -> None:
    batch = DigitSequences(TEST, SPEC)[:400]
    texts, sure = taught.predict(batch.images, confidences=True)
    right = np.array(texts) == np.array(batch.texts)
    assert sure.shape == (400,) and (sure >= 0).all() and (sure <= 1).all()
    assert sure[right].mean() > sure[~right].mean() + 0.1
    assert texts == taught.predict(list(batch.images)) == taught.predict(batch.images[..., None])


def test_width_and_company_change_little(taught: Recogniser) -> None:
    images = DigitSequences(TEST, SPEC)[:100].images
    alone = taught.predict(images)
    wider = [np.pad(image, ((0, 0), (0, 5 + 3 * (k % 20)))) for k, image in enumerate(images)]
    again = taught.predict(wider)
    assert np.mean([a == b for a, b in zip(alone, again, strict=True)]) > 0.9
    assert [taught.predict([image])[0] for image in wider[:10]] == again[:10]


def test_pictures_of_any_size_are_prepared(taught: Recogniser, tmp_path: Path) -> None:
    ds = DigitSequences(TEST, SPEC.replace(ink="black", num_samples=40))
    paths = []
    for k, sample in enumerate(ds[k] for k in range(40)):
        paths.append(tmp_path / f"{k}.png")
        picture = Image.fromarray(sample.image).resize((288, 96), Image.Resampling.BICUBIC)
        picture.convert("RGB").save(paths[-1])
    read = taught.predict(paths)
    assert np.mean([a == b for a, b in zip(read, ds[:].texts, strict=True)]) > 0.4
    strips = as_strips(paths, 32)
    assert {strip.shape[0] for looks in strips for strip in looks} == {32}
    assert [len(looks) for looks in strips] == [3] * 40
    assert len(as_strips(ds[:2].images, 32)[0]) == 1  # as high as what is read
    assert as_strips(np.full((1, 40, 90), 128, np.uint8), 32)[0][0].shape[0] == 32


def test_the_second_look_is_from_nearby() -> None:
    sample = DigitSequences(TEST, SPEC.replace(length=3, ink="black"))[0]
    page = np.full((400, 900), 255, np.uint8)
    page[250:282, 600:696] = sample.image
    cleaned, near, whole = looks_at(page, 32)
    assert np.array_equal(cleaned, prepare(page, 32))
    assert whole.shape == (32, 72) and (whole > 128).sum() < 20  # specks of three digits
    x0, y0, x1, y1 = ink_frame(near / np.float32(255))
    assert 0.6 * 32 < y1 - y0 < 32 and near.shape[1] - (x1 - x0) < 32
    tight = np.asarray(Image.fromarray(near[y0:y1, x0:x1]).resize((80, 40)), np.float64)
    x0, y0, x1, y1 = ink_frame(1 - sample.image / np.float32(255))
    there = 255 - np.asarray(Image.fromarray(sample.image[y0:y1, x0:x1]).resize((80, 40)), float)
    assert np.corrcoef(tight.ravel(), there.ravel())[0, 1] > 0.9


judgements = st.integers(1, 4).flatmap(
    lambda many: st.tuples(
        st.lists(digits, min_size=many, max_size=many),
        st.lists(st.lists(st.floats(0, 1e4), min_size=many, max_size=many), min_size=1, max_size=3),
    )
)


@given(judgements)
def test_the_surest_reading_is_the_cheapest_of_those_that_say_something(
    judged: tuple[list[str], list[list[float]]],
) -> None:
    texts, rows = judged
    k = surest(texts, np.array(rows))
    capped = [[min(cost, 20.0) for cost in column] for column in zip(*rows, strict=True)]
    shares = [sum(c) / len(c) / (len(t) + 1) for c, t in zip(capped, texts, strict=True)]
    rivals = [share for share, text in zip(shares, texts, strict=True) if text] or shares
    assert texts[k] or not any(texts)
    assert shares[k] == pytest.approx(min(rivals))


def test_no_look_has_a_veto() -> None:
    cut = [900.0, 0.2]  # by a look that lost the last digit, and has no room for it
    assert surest(["4711", "471"], np.array([[0.1, 15.0], [0.1, 14.0], cut])) == 0


def spelled(text: str, width: int, rng: np.random.Generator) -> np.ndarray:
    """Make logits that read as a text, without being quite sure of it."""
    logits = rng.normal(0, 1, (width, 11)).astype(np.float32)
    steps = np.zeros(width, int)
    steps[: 2 * len(text) : 2] = [int(digit) + 1 for digit in text]
    logits[np.arange(width), steps] += 6
    return logits


def test_readings_cost_what_they_cost_alone() -> None:
    rng = np.random.default_rng(0)
    seen = [spelled("".join(map(str, rng.integers(0, 10, 3))), w, rng) for w in (8, 12, 8, 20, 12)]
    readings = [(k, text) for k in (3, 0, 4, 2, 1, 0) for text in ("", "7", "123", "1234")]
    costs = reading_costs(seen, readings)
    alone = [text_losses(seen[k][None], [text])[0] for k, text in readings]
    assert np.allclose(costs, alone, rtol=1e-4, atol=1e-5)
    assert len(reading_costs(seen, [])) == 0


def test_each_picture_gets_the_reading_that_all_its_looks_find_likeliest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    said = [["12", "1", "12"], ["3"], ["", "4", "444"], ["5", "5", "5"], ["", "", ""], ["6", "8"]]
    seen = [spelled(text, 4 * (k + 3), rng) for own in said for k, text in enumerate(own)]
    monkeypatch.setattr(training, "as_strips", lambda images, height: [[0] * len(s) for s in said])
    flat = [text for own in said for text in own]
    monkeypatch.setattr(training, "read_strips", lambda reader, strips: (flat, seen))
    texts, sure = read_pictures(Recogniser(), said, confidences=True)
    assert read_pictures(Recogniser(), said) == texts
    start = 0
    for own, text, share in zip(said, texts, sure.tolist(), strict=True):
        looks = seen[start : start + len(own)]
        costs = {t: [text_losses(look[None], [t])[0] for look in looks] for t in own}
        rivals = [t for t in own if t] or own
        assert text == min(rivals, key=lambda t: np.minimum(costs[t], 20).mean() / (len(t) + 1))
        assert share == pytest.approx(np.exp(-min(costs[text])), rel=1e-3)
        start += len(own)
    assert texts[:2] == ["12", "3"] and texts[3:5] == ["5", ""]


def test_a_copy_reads_with_its_own_weights() -> None:
    reader, strip = Recogniser(seed=1), [np.full((32, 48), 90, np.uint8)]
    before = read_strips(reader, strip)[1][0]
    other = deepcopy(reader)
    other.model.set_weights([0 * weight for weight in other.model.get_weights()])
    assert (read_strips(other, strip)[1][0] == 0).all() and before.any()
    assert np.array_equal(read_strips(reader, strip)[1][0], before)
    other.model = reader.model
    assert np.array_equal(read_strips(other, strip)[1][0], before)


def test_who_saw_nothing_is_not_asked_for_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "as_strips", lambda images, height: [[0, 0], [0, 0]])
    nothing, seven = np.zeros((2, 4, CLASSES), np.float32)
    nothing[:, 0], seven[1:3, 8] = 5.0, 9.0  # other texts have their chance, too
    told = ["", "", "", "7"], [nothing, nothing, nothing, seven]
    monkeypatch.setattr(training, "read_strips", lambda reader, strips: told)
    assert read_pictures(Recogniser(), [None] * 2) == ["", "7"]


@pytest.mark.parametrize("seed", range(40))
def test_the_likeliest_texts_are_those_of_all_paths(seed: int) -> None:
    """Three answers, four columns: 81 paths are few enough to be added up one by one."""
    answers = [0, 3, 8]
    logits = np.full((4, CLASSES), -30, np.float32)
    logits[:, answers] = np.random.default_rng(seed).normal(0, 2, (4, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    chances = dict[str, float]()
    for path in product(answers, repeat=4):
        text = "".join(str(answer - 1) for answer, _ in groupby(path) if answer)
        chances[text] = chances.get(text, 0) + float(np.prod(shares[range(4), path]))
    wanted = sorted(chances, key=chances.__getitem__, reverse=True)[:LIKELY]
    assert likely_texts([logits, logits[:2], logits])[::2] == [wanted, wanted]


def test_pictures_are_learned_by_all_looks_in_turn() -> None:
    page = np.full((96, 300), 255, np.uint8)
    page[20:52, 40:136] = DigitSequences(TEST, SPEC.replace(length=3, ink="black"))[1].image
    looks = as_strips([page], 32)[0]
    lessons = picture_lessons([page], ["123"], 32, samples=6)
    widths = [lessons.make(np.array([k]))[0].shape[2] for k in range(6)]
    assert widths == 2 * [look.shape[1] for look in looks] and len(set(widths)) == 3


@pytest.mark.parametrize("paper", [0.3, 0.7])
def test_a_picture_too_faint_to_prepare_is_light_on_dark(paper: float) -> None:
    ink = np.zeros((40, 160), np.bool_)
    ink[8:32] = np.arange(160) % 24 < 4
    noise = np.random.default_rng(0).normal(0, 0.06, ink.shape)
    picture = np.clip(paper + noise - 0.09 * ink, 0, 1)  # dark on grey
    with pytest.raises(ValueError, match="image is blank"):
        prepare(picture, 32)
    ((strip,),) = as_strips([picture], 32)
    written = np.asarray(Image.fromarray(ink).resize(strip.shape[::-1]))
    assert strip[written].mean() > strip[~written].mean() + 10


@pytest.mark.parametrize("grey", [0.0, 0.3, 0.8, 1.0])
def test_a_picture_of_nothing_is_black(grey: float) -> None:
    assert as_strips([np.full((40, 90), grey, np.float32)], 32)[0][0].max() == 0


def test_fine_tuning_on_pictures(taught: Recogniser) -> None:
    start = taught.model.get_weights()
    batch = DigitSequences(TEST, SPEC.replace(augment="default", ink="white"))[:120]
    history = taught.fit(list(batch.images), batch.texts, epochs=2, progress=False)
    assert len(history) == 2 and history[0].validation is not None
    assert history[0].validation.strings == 12
    taught.model.set_weights(start)


def test_the_best_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Recogniser(seed=1)
    truths = iter([["1", "2", "3"], ["1", "2", "x"], ["x", "x", "x"], ["x", "x", "x"]])
    kept: list[Any] = []

    def judge(*_: Any, **__: Any) -> Any:
        kept.append([weight.copy() for weight in reader.model.get_weights()])
        return score(["1", "2", "3"], next(truths))

    monkeypatch.setattr(reader, "evaluate", judge)
    history = reader.fit(data(), epochs=9, samples=64, patience=2, progress=False)
    assert len(history) == 3  # the first was best, and two more were waited for
    for own, best in zip(reader.model.get_weights(), kept[0], strict=True):
        assert np.array_equal(own, best)
    assert any(not np.array_equal(a, b) for a, b in zip(kept[0], kept[2], strict=True))


def test_the_loss_is_that_of_its_epoch() -> None:
    reader, losses = Recogniser(seed=4), iter([8.0, 4.0, 1.0, 1.0])
    means: list[float] = []

    def learn(*_: Any) -> float:
        means.append(next(losses))
        return sum(means) / len(means)

    reader.model.train_on_batch, reader.model.reset_metrics = learn, means.clear
    history = reader.fit(data(), epochs=2, samples=32, validation=20, progress=False)
    assert [epoch.loss for epoch in history] == [6.0, 1.0]


def test_floats_are_prepared_as_floats() -> None:
    wishes: dict[str, Any] = {"page": "form", "spacing": None, "num_samples": 40}
    kinds = (data(dtype=dtype, **wishes) for dtype in ("uint8", "float32"))
    whole, floats = (source_lessons(kind, 1, None, 1.0).make(np.arange(40))[0] for kind in kinds)
    assert floats.dtype == np.float32 and floats.max() <= 1
    assert np.abs(floats * 255 - whole).mean() < 3


def strips(count: int) -> tuple[list[Any], list[str]]:
    rng = np.random.default_rng(count)
    images = [rng.integers(0, 255, (32, 40 + 4 * k % 24), np.uint8) for k in range(count)]
    return images, [f"{k:04d}" for k in range(count)]  # longer than those of `data`


def test_pictures_come_again_each_once_a_round() -> None:
    lessons = picture_lessons(*strips(7), 32)
    assert lessons.count == SHOWN and lessons.fresh
    assert picture_lessons(*strips(7), 32, samples=20).count == 20
    rounds = [lessons.make(np.arange(7 * k, 7 * k + 7))[1] for k in range(9)]
    assert all(sorted(each) == strips(7)[1] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 5  # in another order


def test_a_picture_is_shaken_by_its_number_alone() -> None:
    whole = np.stack([strips(1)[0][0]] * 12)
    moved = shaken(whole, 30)
    assert moved.dtype == np.uint8 and moved.shape == whole.shape
    assert len({image.tobytes() for image in moved}) == 12
    assert np.array_equal(moved[5:9], shaken(whole[:4], 35))
    assert np.array_equal(shaken(np.full((3, 32, 40), 77, np.uint8), 0), np.full((3, 32, 40), 77))


def test_shaken_strips_are_still_read(taught: Recogniser) -> None:
    batch = DigitSequences(TEST, SPEC)[:400]
    right = [
        np.mean([a == b for a, b in zip(taught.predict(images), batch.texts, strict=True)])
        for images in (batch.images, shaken(batch.images, 0))
    ]
    assert right[1] > right[0] - 0.12


@pytest.mark.parametrize("endless", [True, False])
def test_half_of_a_batch_comes_from_beside(endless: bool) -> None:
    others = data(unique=not endless, num_samples=50)
    own = picture_lessons(*strips(3), 32)
    mixed = mixed_lessons([own, source_lessons(others, 4, own.count)], own.count)
    texts = list[str]()
    for start in (0, 31, 6001):  # odd ones, and far ones, too
        images, told = mixed.make(np.arange(start, start + 31))
        assert images.dtype == np.uint8 and images.shape[:2] == (31, 32) and len(told) == 31
        texts += told
    mine = [text for text in texts if len(text) == 4]
    assert set(mine) == set(strips(3)[1]) and abs(len(mine) - 46) <= 2
    numbers = np.arange(15) if endless else np.arange(15) % 50
    assert [text for text in texts[:31] if len(text) < 4] == others.batch(numbers).texts


def test_data_sets_take_turns_and_bring_digits_of_their_own() -> None:
    short, long = data(length=2), data(length=5, width=160)
    lessons = several_lessons([short, long], epochs=3, samples=41)
    texts, images = list[str](), list[np.ndarray]()
    for epoch in range(3):
        for numbers in lessons.numbers(epoch, 8):
            made, told = lessons.make(numbers)
            width = 160 if any(len(text) == 5 for text in told) else 96
            assert made.shape == (len(told), 32, width)
            assert abs(sum(len(text) == 2 for text in told) - len(told) / 2) <= 0.5
            texts += told
            images += list(made)
    few, many = ([text for text in texts if len(text) == length] for length in (2, 5))
    assert len(few) + len(many) == 3 * 41
    assert few == short.replace(num_samples=63).batch(np.arange(len(few))).texts
    assert many == long.replace(num_samples=126).batch(np.arange(63, 63 + len(many))).texts
    narrow = [image for image, text in zip(images, texts, strict=True) if len(text) == 2]
    assert not np.stack(narrow[:5])[:, :, 96:].any()  # filled up with black


def test_finite_sets_that_take_turns_come_again() -> None:
    sets = [data(unique=True, num_samples=9, length=length) for length in (2, 3)]
    lessons = several_lessons(sets, epochs=2, samples=None)
    assert lessons.count == 18
    seen = [
        text
        for epoch in range(2)
        for batch in lessons.numbers(epoch, 6)
        for text in lessons.make(batch)[1]
    ]
    for one in sets:
        assert sorted(text for text in seen if len(text) == len(one[0].text)) == sorted(
            2 * one[:].texts
        )


def test_one_reader_learns_two_pages_and_is_judged_by_both() -> None:
    sets, reader = [data(length=2), data(length=3, width=128)], Recogniser(seed=3)
    history = reader.fit(sets, epochs=1, samples=64, validation=30, progress=False)
    assert history[0].validation is not None and history[0].validation.strings == 30
    held_out = [DigitSequences(TEST, one.spec) for one in sets]
    both = reader.evaluate(held_out, count=100)
    alone = [reader.evaluate(one, count=50) for one in held_out]
    assert both.strings == 100
    assert both.right == sum(one.right for one in alone)


def test_no_set_is_judged_by_glyphs_that_another_learns() -> None:
    first, second = (DigitSequences(half, SPEC) for half in TRAIN.train_test_split(0.5, seed=3))
    short: dict[str, Any] = {"samples": 8, "epochs": 1, "progress": False}
    with pytest.raises(ValueError, match=r"validation shares \d+ ids"):
        Recogniser().fit([first, data()], validation=second, **short)
    assert Recogniser().fit([first, first], validation=second.replace(num_samples=4), **short)
    few = [part.replace(num_samples=4) for part in (second, second.replace(seed=9))]
    for both in (few, tuple(few)):
        told = Recogniser().fit([first, first], validation=both, **short)[0].validation
        assert told is not None and told.strings == 8
    with pytest.raises(ValueError, match=r"validation shares \d+ ids"):
        Recogniser().fit(first, validation=[*few, data()], **short)

    taught, judges = judged_sources([first, second, data()], 9, leaky=False)
    assert [len(judge) for judge in judges] == [3, 3, 3]
    for one in taught:
        for judge in judges:
            assert not np.intersect1d(one.glyphs.ids, judge.glyphs.ids).size


def test_real_pictures_may_judge_what_is_made() -> None:
    pictures = [np.full((40, 90), 255, np.uint8) for _ in range(3)]
    short: dict[str, Any] = {"epochs": 1, "samples": 16, "progress": False}
    for what in ((data(),), (pictures, ["1", "2", "3"])):
        told = Recogniser().fit(*what, validation=(pictures, ["1", "2", "7"]), **short)
        assert told[0].validation is not None and told[0].validation.strings == 3
        with pytest.raises(ValueError, match="a text for each of 3 pictures"):
            Recogniser().fit(*what, validation=(pictures, ["7"]), **short)
        with pytest.raises(ValueError, match="validation must be .pictures, texts., got 3 things"):
            Recogniser().fit(*what, validation=(pictures, ["7"], 3), **short)
        with pytest.raises(ValueError, match="validation must be data sets, or pictures"):
            Recogniser().fit(*what, validation=[pictures, ["1", "2", "7"]], **short)
        with pytest.raises(ValueError, match="leaky"):
            judges = (pictures, ["1", "2", "7"])
            Recogniser().fit(*what, validation=judges, leaky=True, **short)


@pytest.mark.parametrize("wrong", [[], [np.zeros((32, 64), np.uint8)], "reader.keras"], ids=repr)
def test_what_is_no_data_set_is_refused(wrong: Any) -> None:
    for method in (Recogniser().fit, Recogniser().evaluate):
        with pytest.raises(
            ValueError, match="data must be data sets, or pictures with their texts"
        ):
            method(wrong)


def test_beside_keeps_what_was_learned(taught: Recogniser) -> None:
    start = taught.model.get_weights()
    images, texts = strips(10)  # noise, and texts that have nothing to do with it
    judge = DigitSequences(TEST, SPEC)
    before = taught.evaluate(judge, count=300).accuracy
    after = []
    for beside in (None, data()):
        wishes: dict[str, Any] = {"samples": 640, "epochs": 2, "beside": beside}
        taught.fit(images, texts, progress=False, **wishes)
        after.append(taught.evaluate(judge, count=300).accuracy)
        taught.model.set_weights(start)
    assert before > after[1] > after[0] + 0.05


def test_what_is_not_for_pictures_is_refused() -> None:
    image = np.zeros((32, 60), np.uint8)
    for wish in ({"leaky": True}, {"prepared": 0.5}):
        with pytest.raises(ValueError, match="leaky and prepared are of data sets"):
            Recogniser().fit([image], ["1"], progress=False, **wish)
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        Recogniser().fit([image], ["1"], progress=False, samples=0)
    with pytest.raises(ValueError, match="height must be 32, that of the recogniser, got 28"):
        Recogniser().fit([image], ["1"], progress=False, beside=data(height=28))
    with pytest.raises(ValueError, match="beside is what goes with pictures"):
        Recogniser().fit(data(), progress=False, beside=data())


# How it is kept


def test_a_file_holds_all_of_it(taught: Recogniser, tmp_path: Path) -> None:
    path = taught.save(tmp_path / "reader.keras")
    again = Recogniser.load(path)
    images = data()[:60].images
    texts, sure = taught.predict(images, confidences=True)
    other, surely = again.predict(images, confidences=True)
    assert texts == other and np.allclose(sure, surely, atol=1e-5)
    assert again.trained and again.height == 32
    assert os.listdir(tmp_path) == ["reader.keras"]


def test_what_is_no_recogniser_is_refused(taught: Recogniser, tmp_path: Path) -> None:
    import keras

    path = taught.save(tmp_path / "reader.keras")
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="reader.keras is no recogniser"):
            Recogniser.load(path)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="other.keras is no recogniser"):
        Recogniser.load(tmp_path / "other.keras")
    with pytest.raises(FileNotFoundError, match="there is no recogniser"):
        Recogniser.load(tmp_path / "none.keras")
    with pytest.raises(ValueError, match="path must end in .keras"):
        taught.save(tmp_path / "reader.h5")


def test_a_failed_save_leaves_the_old_file(
    taught: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = taught.save(tmp_path / "reader.keras")
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        taught.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["reader.keras"]


# On the command line


def test_train_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["--epochs", "1", "--samples", "128", "--page", "mnist", "--length", "1:2", "--quiet"]
    assert main(["train", "--width", "64", *few]) == 0
    said = capsys.readouterr().out
    assert re.search(r"reader.keras: [\d.]+% of \d+ strings right .*never seen", said)
    two = ["--page", "form", "--model", "two.keras"]
    assert main(["train", "--width", "64", *few, *two]) == 0
    said = capsys.readouterr().out
    told = re.findall(r"(?m)^two.keras, (\w+): [\d.]+% of 1000 strings right .*never seen$", said)
    assert told == ["mnist", "form"]
    assert main(["train", *few]) == 2
    assert "reader.keras exists" in capsys.readouterr().err
    sample = DigitSequences(TEST, SPEC.replace(ink="black"))[0]
    Image.fromarray(sample.image).resize((192, 64)).save("one.png")
    Path("two.png").write_bytes(b"no picture")
    assert main(["read", "one.png"]) == 0
    name, text, sure = capsys.readouterr().out.strip("\n").split("\t")
    assert name == "one.png" and re.fullmatch(r"\d*", text) and 0 <= float(sure) <= 1
    assert main(["read", "two.png", "one.png"]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("one.png\t") and told.err.startswith("error: ")
    assert main(["read", "one.png", "--model", "none.keras"]) == 2
    assert main(["train", "--model", "none/reader.keras", *few]) == 2
    assert main(["train", "--model", "reader.h5", *few]) == 2


def test_without_tensorflow_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'digitseq\[tf\]'"):
        Recogniser()
    assert main(["train", "--quiet"]) == 2
    assert "pip install 'digitseq[tf]'" in capsys.readouterr().err


# What can't be learned from, judged by or read


def test_what_was_saved_shows_its_glyphs(tmp_path: Path) -> None:
    live = data(num_samples=120)
    kept = load(save(live, tmp_path / "a", "npz", progress=False))
    other = load(save(data(num_samples=40, seed=9), tmp_path / "b", "npz", progress=False))
    apart = load(
        save(
            DigitSequences(TEST, SPEC.replace(num_samples=40)),
            tmp_path / "c",
            "npz",
            progress=False,
        )
    )
    ids = np.unique(live[:].sources)
    assert np.array_equal(used_ids(kept), ids[ids >= 0])
    for taught in (live, kept):
        with pytest.raises(ValueError, match="validation shares .* ids with what is trained on"):
            Recogniser().fit(taught, validation=other, epochs=1, samples=16, progress=False)
        Recogniser().fit(taught, validation=other, epochs=1, samples=16, leaky=True, progress=False)
        Recogniser().fit(taught, validation=apart, epochs=1, samples=16, progress=False)


def test_there_must_be_a_text_for_each_picture() -> None:
    batch = data()[:20]
    for texts in (batch.texts[:3], batch.texts * 2, []):
        with pytest.raises(ValueError, match="there must be a text for each of 20 pictures"):
            Recogniser().fit(batch.images, texts, epochs=1, samples=16, progress=False)
    with pytest.raises(ValueError, match="validation must be at most 19, got 20"):
        Recogniser().fit(batch.images, batch.texts, validation=20, progress=False)


def test_numbers_of_any_type_are_read_as_bytes_are(taught: Recogniser) -> None:
    images = data()[:6].images
    wanted = as_strips(images, 32)
    for other in ("int16", "uint16", "int64", "float32", "float64"):
        assert np.array_equal(as_strips(images.astype(other), 32), wanted)
    assert np.array_equal(as_strips(images / 255, 32), wanted)
    assert taught.predict(images.astype(np.float32)) == taught.predict(images)
    for wrong in (
        np.full((1, 32, 50), np.nan),
        np.full((1, 32, 50), -1),
        np.full((1, 32, 50), 1e6),
    ):
        with pytest.raises(ValueError, match="pixels must lie in"):
            taught.predict(wrong)
    with pytest.raises(ValueError, match="image must hold bool, integers or floats"):
        taught.predict([np.full((32, 20), "a", object)])


def test_one_picture_is_read_alone(taught: Recogniser) -> None:
    image = data()[:1].images[0]
    wanted = taught.predict(image[None])
    assert taught.predict(image) == wanted
    larger = Image.fromarray(image).resize((300, 100))
    assert taught.predict(larger) == taught.predict([larger])
    for wrong in (None, 5):
        with pytest.raises(ValueError, match="images must be an array .* or a list, got"):
            taught.predict(wrong)


def test_every_network_that_can_be_had_is_small() -> None:
    for height in (16, 32, 48, 64):
        assert make_network(height).count_params() <= 150_000
    for wrong in (0, 8, 40, 80, 128):
        with pytest.raises(ValueError, match="height must be"):
            Recogniser(wrong)


@pytest.mark.parametrize("seed", [2**31, 2**63, 2**64 - 1])
def test_seeds_are_as_large_as_anywhere(seed: int) -> None:
    assert Recogniser(16, seed).model.count_params() > 0
