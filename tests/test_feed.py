"""Into training: each framework gets what the source gives, in an order that can be taken up."""

import json
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from digitseq.core import Glyphs, permute
from digitseq.feeding import SHUFFLE, Feed, Order, epoch_order, feed, to_tf
from digitseq.generating import DigitSequences
from digitseq.saving import load, save
from digitseq.specifying import SequenceSpec

FALSE_ALARM = 1e-6  # of the statistical test, were its seeds not fixed
ZEROS = ("007", "0", "70", "000", "1234", "90210")
Sources = dict[str, Any]


@pytest.fixture(scope="module")
def ds(make_glyphs: Callable[..., Glyphs]) -> DigitSequences:
    """Fifty samples of one to five digits, most of which hold a zero."""
    spec = SequenceSpec(num_samples=50, width=40, height=12, texts=ZEROS, spacing=(0, 2))
    return DigitSequences(make_glyphs(split="test"), spec)


@pytest.fixture(scope="module")
def sources(ds: DigitSequences, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """The same samples from memory, from arrays and from pictures."""
    folder = tmp_path_factory.mktemp("saved")
    for format in ("npz", "png"):
        save(ds, folder / format, format=format, shard_size=20, progress=False)
    return {"made": ds, "npz": load(folder / "npz"), "png": load(folder / "png")}


every_source = pytest.mark.parametrize("name", ["made", "npz", "png"])


def library(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed")


class Numbers:
    """Stands in for a source where only the numbers of the samples matter."""

    def __init__(self, size: int):
        self.size, self.calls = size, 0

    def __len__(self) -> int:
        return self.size

    def batch(self, indices: Any) -> Any:
        self.calls += 1
        return indices.tolist()


# Orders

sizes = st.integers(1, 300)
seeds = st.integers(0, 2**64 - 1)
epochs = st.integers(0, 2**62)


@given(sizes, st.integers(1, 320), seeds, epochs)
def test_an_epoch_is_a_permutation_and_batches_only_cut_it(
    size: int, batch_size: int, seed: int, epoch: int
) -> None:
    order = Order(size, batch_size, True, seed)
    batches = [order.indices(epoch, start) for start in range(0, size, batch_size)]
    found = np.concatenate(batches)
    assert len(batches) == len(order) and {batch.dtype for batch in batches} == {np.dtype(np.int64)}
    assert sorted(found) == list(range(size))
    key = np.uint64(int(SHUFFLE) ^ epoch)
    assert found.tolist() == [permute(k, size, np.uint64(seed), key) for k in range(size)]


@pytest.mark.parametrize("varied", ["epoch", "seed"])
def test_the_order_of_four_is_any_of_24(varied: str) -> None:
    orders = Counter(tuple(epoch_order(4, 0, 4, **{"seed": 0} | {varied: k})) for k in range(4800))
    statistic = sum((count - 200) ** 2 / 200 for count in orders.values())
    assert len(orders) == 24 and chi2.sf(statistic, 23) > FALSE_ALARM


def test_seeds_and_epochs_do_not_repeat_each_other() -> None:
    pairs = [(seed, epoch) for seed in (0, 1, 2, 2**63, 2**64 - 1) for epoch in range(20)]
    orders = {epoch_order(500, 0, 20, epoch, seed).tobytes() for seed, epoch in pairs}
    assert len(orders) == len(pairs)


def test_a_huge_order_is_entered_anywhere() -> None:
    order = Order(2**62, 4, shuffle=True)
    found = [order.indices(10**15, start) for start in (0, 2**61, 2**62 - 4)]
    assert len({*np.concatenate(found).tolist()}) == 12
    assert order.indices(10**15, 2**62 - 3).tolist() == found[2][1:].tolist()
    assert Order(2**62, 4).indices(0, 2**62 - 1).tolist() == [2**62 - 1]


WITHOUT_NUMBA = """
import sys
if sys.argv[1] == "hide":
    sys.modules["numba"] = None
from digitseq import feeding
assert hasattr(feeding._permute_each, "py_func") == (sys.argv[1] == "show")
for size in (1, 61, 1000, 2**40):
    for epoch, seed in ((0, 0), (3, 2**64 - 1), (2**62, 7)):
        print(feeding.epoch_order(size, 0, 61, epoch, seed).tolist())
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


def test_without_numba_the_order_is_the_same() -> None:
    shown, hidden = (python("-W", "error", "-c", WITHOUT_NUMBA, mode) for mode in ("show", "hide"))
    assert (shown.returncode, hidden.returncode) == (0, 0), shown.stderr + hidden.stderr
    assert shown.stdout == hidden.stdout and shown.stdout.count("\n") == 12


# Feeds


def go_on(one: Feed, batches: int) -> list[tuple[tuple[int, int], Any]]:
    """Take batches over the ends of epochs, each with the state that it was taken in."""
    taken = []
    while len(taken) < batches:
        before = one.state
        for batch in islice(one, batches - len(taken)):
            taken.append((before, batch))
            before = one.state
    return taken


@given(sizes, st.integers(1, 120), st.booleans(), st.booleans(), st.booleans(), seeds, st.data())
def test_a_feed_that_is_taken_up_goes_on_as_if_nothing_had_been(
    size: int, batch_size: int, shuffle: bool, repeat: bool, drop: bool, seed: int, data: Any
) -> None:
    batch_size = min(batch_size, size)
    settings = (batch_size, shuffle, seed, repeat, drop)
    per_epoch = len(feed(Numbers(size), *settings))
    whole = go_on(feed(Numbers(size), *settings), 3 * per_epoch)
    assert [state for state, _ in whole] == [
        (epoch, k * batch_size) for epoch in range(3) for k in range(per_epoch)
    ]
    cut = data.draw(st.integers(0, len(whole) - 1))
    again = feed(Numbers(size), *settings)
    again.state = json.loads(json.dumps(whole[cut][0]))
    assert go_on(again, len(whole) - cut) == whole[cut:]
    assert again.source.calls == len(whole) - cut  # no batch is made to get there


@pytest.mark.parametrize("drop", [False, True])
def test_every_state_of_two_epochs_restores(ds: DigitSequences, drop: bool) -> None:
    settings: Any = dict(batch_size=7, shuffle=True, seed=3, drop_remainder=drop)
    whole = go_on(ds.feed(**settings), 2 * (7 if drop else 8))
    for cut, (state, _) in enumerate(whole):
        again = ds.feed(**settings)
        again.state = state
        rest = go_on(again, len(whole) - cut)
        assert [batch.sha256 for _, batch in rest] == [batch.sha256 for _, batch in whole[cut:]]


def test_another_batch_size_goes_on_at_the_same_sample() -> None:
    whole = [number for batch in feed(Numbers(100), 8, True, seed=4) for number in batch]
    other = feed(Numbers(100), 3, True, seed=4)
    other.state = (0, 40)
    assert [number for batch in other for number in batch] == whole[40:]
    short = feed(Numbers(100), 64, True, drop_remainder=True)
    short.state = (5, 40)  # 60 are left, too few for a batch
    assert short.state == (6, 0)
    assert [short.state for _ in short] == [(7, 0)]
    short.state = np.array([2, 100])
    assert short.state == (3, 0)


def test_loops_end_with_the_epoch_unless_they_repeat() -> None:
    one = feed(Numbers(10), 4)
    assert len(one) == 3 and next(iter(one)) == [0, 1, 2, 3]
    assert list(one) == [[4, 5, 6, 7], [8, 9]] and one.state == (1, 0)
    assert list(one) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    endless = feed(Numbers(10), 4, repeat=True, drop_remainder=True)
    assert list(islice(endless, 5)) == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2 + [[0, 1, 2, 3]]
    assert pickle.loads(pickle.dumps(endless)).state == (2, 4)


def test_a_batch_that_fails_is_not_counted() -> None:
    class Failing(Numbers):
        def batch(self, indices: Any) -> Any:
            if self.calls == 1:
                self.calls += 1
                raise OSError("the disk is gone")
            return super().batch(indices)

    one = feed(Failing(10), 4)
    with pytest.raises(OSError, match="the disk is gone"):
        list(one)
    assert one.state == (0, 4) and list(one) == [[4, 5, 6, 7], [8, 9]]


# What is refused, before anything is made

METHODS = ("feed", "to_tf", "to_keras")
WRONG: list[tuple[str, Any, str]] = [
    ("batch_size", 0, "batch_size must be at least 1, got 0"),
    ("batch_size", 2.0, r"batch_size must be an integer, got 2.0 \(float\)"),
    ("batch_size", 2**31, "batch_size must be at most 2147483647"),
    ("shuffle", 1000, "shuffle must be True or False, got 1000"),
    ("seed", -1, "seed must be at least 0, got -1"),
    ("seed", 2**64, "seed must be at most 18446744073709551615, got 18446744073709551616"),
    ("drop_remainder", None, "drop_remainder must be True or False, got None"),
    ("drop_remainder", True, "batch_size must be at most 5, .* got 32: make it smaller"),
    ("repeat", "yes", "repeat must be True or False, got 'yes'"),
    ("labels", "one-hot", "labels must be one of ctc, int, onehot, got 'one-hot': did you mean"),
    ("labels", None, "labels must be one of ctc, int, onehot, got None"),
    ("channels", 3, "channels must be True or False, got 3"),
    ("prefetch", 2, "prefetch must be True or False, got 2"),
]
TAKEN = {
    "feed": {"batch_size", "shuffle", "seed", "drop_remainder", "repeat"},
    "to_keras": {"batch_size", "shuffle", "seed", "drop_remainder", "labels", "channels"},
    "to_tf": {name for name, _, _ in WRONG},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_what_cannot_be_is_said_before_any_work(
    method: str, name: str, value: Any, message: str
) -> None:
    from digitseq import feeding

    source = Numbers(5)
    if name in TAKEN[method]:
        with pytest.raises(ValueError, match=message):
            getattr(feeding, method)(source, **{name: value})
    else:
        with pytest.raises(TypeError, match=name):
            getattr(feeding, method)(source, **{name: value})
    assert source.calls == 0


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (3, "state must be .epoch, next index., as a feed gives it, got 3"),
        ((1, 2, 3), "state must be .epoch, next index."),
        ("02", "state must be .epoch, next index."),
        ((0, 11), "next index of a state must be at most 10, got 11"),
        ((0, -1), "next index of a state must be at least 0"),
        ((-1, 0), "epoch of a state must be at least 0, got -1"),
        ((0.0, 1), "epoch of a state must be an integer"),
        ((True, 1), "epoch of a state must be an integer"),
    ],
)
def test_a_state_that_is_none_is_refused_and_changes_nothing(state: Any, message: str) -> None:
    one = feed(Numbers(10), 4)
    one.state = (0, 4)
    with pytest.raises(ValueError, match=message):
        one.state = state
    assert one.state == (0, 4)


def test_an_empty_source_and_odd_flags_are_refused(ds: DigitSequences) -> None:
    with pytest.raises(ValueError, match="number of samples must be at least 1, got 0"):
        feed(Numbers(0))
    with pytest.raises(ValueError, match="images must be True or False, got 'yes'"):
        ds.to_dataframe(images="yes")
    with pytest.raises(ValueError, match="streaming must be True or False, got 1"):
        ds.to_hf(streaming=1)


MISSING = """
import sys
sys.modules[sys.argv[1]] = None
import numpy as np
from digitseq import DigitSequences, SequenceSpec
from digitseq.core import Glyphs

glyphs = Glyphs(np.full((10, 4, 4), 9, np.uint8), np.arange(10), np.arange(10))
ds = DigitSequences(glyphs, SequenceSpec(length=2, num_samples=40))
try:
    getattr(ds, sys.argv[2])()
except ImportError as error:
    print(error)
ds.feed()
"""


@pytest.mark.parametrize(
    ("module", "method", "extra"),
    [
        ("tensorflow", "to_tf", "tf"),
        ("keras", "to_keras", "tf"),
        ("datasets", "to_hf", "hf"),
        ("pandas", "to_dataframe", "hf"),
    ],
)
def test_a_missing_extra_names_the_line_that_installs_it(
    module: str, method: str, extra: str
) -> None:
    done = python("-c", MISSING, module, method)
    assert done.stdout == f"{module} is missing: pip install 'digitseq[{extra}]'\n", done.stderr


def test_a_broken_library_speaks_for_itself(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("import no_such_part")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + MISSING.replace(
        "sys.modules[sys.argv[1]] = None", ""
    )
    done = python("-c", code, "pandas", "to_dataframe")
    assert done.stdout == "No module named 'no_such_part'\n", done.stderr


# TensorFlow


@pytest.fixture(scope="module")
def tf() -> ModuleType:
    module: ModuleType = library("tensorflow")
    return module


def answers(batch: Any, labels: str) -> Any:
    """What each kind of labels shall be, spelled out."""
    longest = batch.digits.shape[1]
    rows = [[int(digit) for digit in text] for text in batch.texts]
    if labels == "ctc":
        return [[digit + 1 for digit in row] + [0] * (longest - len(row)) for row in rows]
    if labels == "int":
        return [row + [-1] * (longest - len(row)) for row in rows]
    hot = [[[float(digit == k) for k in range(10)] for digit in row] for row in rows]
    return [row + [[0.0] * 10] * (longest - len(row)) for row in hot]


@every_source
@pytest.mark.parametrize("labels", ["ctc", "int", "onehot"])
def test_tensorflow_gets_what_the_source_gives(
    tf: Any, sources: Sources, name: str, labels: str
) -> None:
    source = sources[name]
    flowing = source.to_tf(batch_size=16, labels=labels)
    images, labelled = flowing.element_spec
    assert images == tf.TensorSpec((None, 12, 40, 1), tf.float32)
    kind = tf.float32 if labels == "onehot" else tf.int32
    assert labelled == tf.TensorSpec((None, 5, 10) if labels == "onehot" else (None, 5), kind)
    found = list(flowing)
    assert [len(x) for x, _ in found] == [16, 16, 16, 2] and len(flowing) == 4
    for (x, y), batch in zip(found, source.batches(16), strict=True):
        pixels = batch.images[..., None].astype(np.float32) / np.float32(255)
        assert x.dtype == tf.float32 and np.array_equal(x, pixels)
        assert y.dtype == kind and y.numpy().tolist() == answers(batch, labels)


def test_tensorflow_shapes_are_static(tf: Any, ds: DigitSequences) -> None:
    flowing = ds.to_tf(batch_size=16, channels=False, drop_remainder=True, prefetch=False)
    images, labels = flowing.element_spec
    assert (images.shape, labels.shape) == ((16, 12, 40), (16, 5))
    assert len(list(flowing)) == len(flowing) == 3
    endless = ds.to_tf(batch_size=16, repeat=True)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY


def test_floats_and_transforms_are_taken_as_they_are(ds: DigitSequences, tf: Any) -> None:
    bytes_, floats = ds.to_tf(), ds.replace(dtype="float32").to_tf()
    for (a, _), (b, _) in zip(bytes_, floats, strict=True):
        assert np.array_equal(a, b)

    def turn(images: Any) -> Any:
        return images[:, None].astype(np.float64) * 4 - 2

    turned = DigitSequences(ds.glyphs, ds.spec, transform=turn).to_tf(batch_size=50)
    assert turned.element_spec[0] == tf.TensorSpec((None, 1, 12, 40), tf.float32)
    assert np.array_equal(next(iter(turned))[0], turn(ds[:].images).astype(np.float32))


@every_source
def test_each_pass_of_tensorflow_is_an_epoch(tf: Any, sources: Sources, name: str) -> None:
    source = sources[name]
    flowing = source.to_tf(batch_size=16, labels="int", shuffle=True, seed=5)
    assert len(flowing) == 4
    endless = iter(source.to_tf(16, "int", shuffle=True, seed=5, repeat=True))
    for epoch in range(3):
        wanted = source.batch(epoch_order(50, 0, 50, epoch, seed=5)).digits
        assert np.array_equal(np.concatenate([y for _, y in flowing]), wanted)
        assert np.array_equal(np.concatenate([next(endless)[1] for _ in range(4)]), wanted)
    fixed = source.to_tf(batch_size=16, labels="int")
    assert all(
        np.array_equal(np.concatenate([y for _, y in fixed]), source[:].digits) for _ in "12"
    )


def test_repeat_and_drop_remainder_go_together(ds: DigitSequences, tf: Any) -> None:
    endless = iter(to_tf(ds, 16, "int", repeat=True, drop_remainder=True, shuffle=True))
    for epoch in range(2):
        wanted = ds.batch(epoch_order(50, 0, 48, epoch, seed=0)).digits
        assert np.array_equal(np.concatenate([next(endless)[1] for _ in range(3)]), wanted)


# Keras


@pytest.fixture
def reader(tf: ModuleType) -> Any:
    """A small model that reads a picture column by column."""
    keras = library("keras")
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((12, 40, 1)),
        keras.layers.Permute((2, 1, 3)),
        keras.layers.Reshape((40, 12)),
        keras.layers.Dense(11),
    ]
    model = keras.Sequential(layers)
    model.compile("sgd", keras.losses.CTC())
    return model


@every_source
@pytest.mark.parametrize("method", ["to_tf", "to_keras"])
def test_keras_fits_a_batch(reader: Any, sources: Sources, name: str, method: str) -> None:
    one = getattr(sources[name], method)(batch_size=50)
    before = reader.get_weights()[0].copy()
    history = reader.fit(one, verbose=0, shuffle=False).history
    assert np.isfinite(history["loss"]).all()
    assert not np.array_equal(reader.get_weights()[0], before)


@every_source
def test_keras_gets_what_the_source_gives(tf: Any, sources: Sources, name: str) -> None:
    source = sources[name]
    for labels in ("ctc", "int", "onehot"):
        lessons = source.to_keras(batch_size=16, labels=labels, channels=labels == "int")
        assert isinstance(lessons, library("keras").utils.PyDataset) and len(lessons) == 4
        for (x, y), batch in zip(lessons, source.batches(16), strict=True):
            pixels = batch.images.astype(np.float32) / np.float32(255)
            assert np.array_equal(x.squeeze(-1) if labels == "int" else x, pixels)
            assert y.tolist() == answers(batch, labels)
    with pytest.raises(IndexError):
        lessons[4]


@pytest.mark.parametrize("workers", [1, 3])
def test_keras_epochs_are_epochs(reader: Any, ds: DigitSequences, workers: int) -> None:
    seen: list[Any] = []

    class Watched(DigitSequences):
        def batch(self, indices: Any, *rest: Any) -> Any:
            seen.append(np.asarray(indices).tolist())
            return super().batch(indices, *rest)

    lessons = Watched(ds.glyphs, ds.spec).to_keras(16, shuffle=True, seed=9, workers=workers)
    orders: list[int] = []
    note = library("keras").callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: orders.append(lessons.epoch)
    )
    reader.fit(lessons, epochs=3, shuffle=False, verbose=0, callbacks=[note])
    assert orders == [orders[0], orders[0] + 1, orders[0] + 2] and lessons.workers == workers
    for epoch in orders:
        batches = [Order(50, 16, True, 9).indices(epoch, k).tolist() for k in (0, 16, 32, 48)]
        assert all(batch in seen for batch in batches)
    if workers == 1:
        trained = [
            Order(50, 16, True, 9).indices(e, k).tolist() for e in orders for k in (0, 16, 32, 48)
        ]
        assert seen[-12:] == trained


def test_a_keras_feed_travels_to_other_processes(tf: Any, ds: DigitSequences) -> None:
    lessons = ds.to_keras(16, shuffle=True, workers=2, use_multiprocessing=True)
    lessons.epoch = 5
    again = pickle.loads(pickle.dumps(lessons))
    assert (again.epoch, again.workers, again.use_multiprocessing) == (5, 2, True)
    for (x, y), (other_x, other_y) in zip(lessons, again, strict=True):
        assert np.array_equal(x, other_x) and np.array_equal(y, other_y)


def test_a_fit_that_is_taken_up_ends_where_one_fit_ends(reader: Any, ds: DigitSequences) -> None:
    start, ends = reader.get_weights(), []
    for parts in ([(0, 3)], [(0, 1), (1, 3)]):
        reader.set_weights(start)
        for first, last in parts:
            lessons = ds.to_keras(16, shuffle=True)
            lessons.epoch = first
            reader.fit(lessons, initial_epoch=first, epochs=last, shuffle=False, verbose=0)
        ends.append(reader.get_weights()[0])
    assert np.array_equal(*ends) and not np.array_equal(ends[0], start[0])


# CTC


def ctc_loss(log_chances: Any, labels: list[int], blank: int) -> float:
    """Give minus the log of the chance of a text: summed over all its alignments, in float64."""
    states = [blank, *(state for label in labels for state in (label, blank))]
    ways = np.full(len(states), -np.inf)
    ways[:2] = log_chances[0][states[:2]]
    for frame in log_chances[1:]:
        before, ways = ways, np.full(len(states), -np.inf)
        for k, state in enumerate(states):
            skips = k > 1 and state != blank and state != states[k - 2]
            paths = before[max(0, k - 1 - skips) : k + 1]
            ways[k] = np.logaddexp.reduce(paths) + frame[state]
    return float(-np.logaddexp.reduce(ways[-2:]))


@pytest.fixture(scope="module")
def ctc(ds: DigitSequences) -> tuple[Any, Any, dict[str, list[float]]]:
    """A batch that holds zeros, scores for 20 frames, and the losses as they should be."""
    batch = ds[:12]
    assert sum("0" in text for text in batch.texts) == 10
    scores = np.random.default_rng(1).normal(0, 2, (12, 20, 11)).astype(np.float32)
    exact = scores.astype(np.float64)
    chances = exact - np.logaddexp.reduce(exact, axis=2, keepdims=True)
    rows = [[int(digit) for digit in text] for text in batch.texts]
    return (
        batch,
        scores,
        {
            "first": [
                ctc_loss(c, [d + 1 for d in row], 0) for c, row in zip(chances, rows, strict=True)
            ],
            "last": [ctc_loss(c, row, 10) for c, row in zip(chances, rows, strict=True)],
        },
    )


def test_keras_ctc_loss_hears_zeros(tf: Any, ctc: Any) -> None:
    keras = library("keras")
    batch, scores, losses = ctc
    loss = keras.losses.CTC(reduction=None)
    found = loss(batch.labels(blank="first"), scores)
    assert np.allclose(found, losses["first"], rtol=1e-4)
    # With digits coded as themselves Keras takes a zero for padding: "70" is "7".
    pair = scores[:1].repeat(2, axis=0)
    seventy, seven = np.asarray(loss(np.array([[7, 0], [7, 0]]), pair))
    assert seventy == seven == pytest.approx(float(loss(np.array([[7]]), pair[:1])[0]), rel=1e-5)
    ours, other = np.asarray(loss(np.array([[8, 1], [8, 0]]), pair))
    assert ours != pytest.approx(other, rel=1e-2)


@pytest.mark.parametrize(("blank", "index"), [("first", 0), ("last", 10)])
def test_tensorflow_and_torch_ctc_losses_hear_zeros(
    tf: Any, ctc: Any, blank: str, index: int
) -> None:
    batch, scores, losses = ctc
    labels, lengths = batch.labels(blank=blank), batch.lengths
    frames = np.full(12, 20, np.int32)
    found = tf.nn.ctc_loss(
        labels, scores, lengths, frames, logits_time_major=False, blank_index=index
    )
    assert np.allclose(found, losses[blank], rtol=1e-4)
    torch = library("torch")
    loss = torch.nn.CTCLoss(blank=index, reduction="none")
    spread = torch.from_numpy(scores).log_softmax(2).transpose(0, 1)
    sizes = (torch.from_numpy(frames), torch.from_numpy(lengths))
    found = loss(spread, torch.from_numpy(labels), *sizes)
    assert np.allclose(found, losses[blank], rtol=1e-4)


# Torch and grain, which take a source as it is


@pytest.mark.parametrize(
    ("name", "workers"), [("made", 0), ("npz", 0), ("png", 0), ("made", 2), ("npz", 2)]
)
def test_torch_takes_every_source(sources: Sources, name: str, workers: int) -> None:
    torch = library("torch")
    source, everything = sources[name], sources["made"][:]
    options: Any = dict(multiprocessing_context="spawn") if workers else {}
    draw = torch.Generator().manual_seed(2)
    loader = torch.utils.data.DataLoader(
        source, batch_size=16, shuffle=True, generator=draw, num_workers=workers, **options
    )
    found = list(loader)
    texts = [text for batch in found for text in batch.text]
    assert Counter(texts) == Counter(everything.texts) and texts != everything.texts
    where = {image.tobytes(): k for k, image in enumerate(everything.images)}
    for batch in found:
        assert batch.image.dtype == torch.uint8 and batch.image.shape[1:] == (12, 40)
        rows = [where[image.numpy().tobytes()] for image in batch.image]
        assert (batch.digits.numpy() == everything.digits[rows]).all()
        assert (batch.boxes.numpy() == everything.boxes[rows]).all()


def test_torch_fetches_a_batch_with_one_call(ds: DigitSequences) -> None:
    torch, calls = library("torch"), []

    class Watched(DigitSequences):
        def batch(self, indices: Any, *rest: Any) -> Any:
            calls.append(len(indices))
            return super().batch(indices, *rest)

    list(torch.utils.data.DataLoader(Watched(ds.glyphs, ds.spec), batch_size=16))
    assert calls == [16, 16, 16, 2]


@every_source
def test_grain_takes_every_source(sources: Sources, name: str) -> None:
    grain = library("grain")
    source, everything = sources[name], sources["made"][:]
    plain = grain.MapDataset.source(source)
    assert len(plain) == 50 and plain[7].text == everything.texts[7]
    shuffled = plain.shuffle(seed=3)
    assert sorted(shuffled[k].text for k in range(50)) == sorted(everything.texts)
    batches = list(plain.batch(16))
    assert [len(batch.image) for batch in batches] == [16, 16, 16, 2]
    for field, values in {"image": everything.images, "digits": everything.digits}.items():
        assert np.array_equal(np.concatenate([getattr(b, field) for b in batches]), values)
    assert [str(text) for batch in batches for text in batch.text] == everything.texts


# Tables


@every_source
def test_pandas_gets_a_row_for_each_sample(sources: Sources, name: str) -> None:
    library("pandas")
    source, everything = sources[name], sources["made"][:]
    table = source.to_dataframe()
    assert len(table) == 50 and "image" not in table
    assert table.text.tolist() == everything.texts and table.text[0] == "007"
    assert table.digits[0] == [0, 0, 7] and table.length[0] == 3
    for k, sample in enumerate(sources["made"]):
        row, n = table.loc[k], sample.length
        assert (row.length, row.width) == (n, sample.width)
        assert row.sources == sample.sources[:n].tolist()
        assert row.boxes == sample.boxes[:n].tolist() and row.cells == sample.cells[:n].tolist()
        assert row.gaps == sample.gaps[: n - 1].tolist()
        assert row.left == sample.factors["left"]
    pictures = source.to_dataframe(images=True).image
    assert all(np.array_equal(a, b) for a, b in zip(pictures, everything.images, strict=True))


@every_source
@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_gets_a_row_for_each_sample(
    sources: Sources, name: str, streaming: bool, tmp_path: Path
) -> None:
    datasets = library("datasets")
    options: Any = {"streaming": True} if streaming else {"cache_dir": str(tmp_path)}
    table = sources[name].to_hf(**options)
    assert isinstance(table, datasets.IterableDataset if streaming else datasets.Dataset)
    assert isinstance(table.features["image"], datasets.Image)
    assert table.features["text"] == datasets.Value("string") and str(table.split) == "test"
    for row, sample in zip(table, sources["made"], strict=True):
        n = sample.length
        assert row["image"].mode == "L" and np.array_equal(row["image"], sample.image)
        assert (row["text"], row["length"], row["width"]) == (sample.text, n, sample.width)
        assert row["digits"] == [int(digit) for digit in sample.text]
        assert row["sources"] == sample.sources[:n].tolist()
        assert row["boxes"] == sample.boxes[:n].tolist()
        assert row["cells"] == sample.cells[:n].tolist()
        assert row["gaps"] == sample.gaps[: n - 1].tolist()


def test_hugging_face_tables_travel(ds: DigitSequences, tmp_path: Path) -> None:
    """Written to parquet, as push_to_hub does, and read by their own loader."""
    datasets = library("datasets")
    cache = str(tmp_path / "cache")
    table = ds.to_hf(cache_dir=cache)
    path = str(tmp_path / "table.parquet")
    table.to_parquet(path)
    again = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=cache)
    assert again.features == table.features
    assert again["text"][:3] == ["007", "0", "70"] and again[0]["text"] == "007"
    assert np.array_equal(again[2]["image"], ds[2].image)


def test_the_same_recipe_is_found_again(ds: DigitSequences, tmp_path: Path) -> None:
    library("datasets")
    cache = str(tmp_path)
    table = ds.to_hf(cache_dir=cache)
    copied = pickle.loads(pickle.dumps(ds)).to_hf(cache_dir=cache)
    other = ds.replace(seed=1).to_hf(cache_dir=cache)
    assert copied.cache_files == table.cache_files != other.cache_files


@pytest.mark.parametrize(
    ("split", "name"), [("all", "train"), ("hard-ones", "hard_ones"), ("validation", "validation")]
)
def test_hugging_face_names_every_split(
    make_glyphs: Any, tmp_path: Path, split: str, name: str
) -> None:
    library("datasets")
    spec = SequenceSpec(num_samples=2, length=2, dtype="float32")
    ds = DigitSequences(make_glyphs(split=split), spec)
    table = ds.to_hf(cache_dir=str(tmp_path))
    assert str(table.split) == name
    assert np.array_equal(table[1]["image"], ds.replace(dtype="uint8")[1].image)


def test_what_is_no_grey_picture_is_refused(ds: DigitSequences, tmp_path: Path) -> None:
    library("datasets")
    colored = DigitSequences(ds.glyphs, ds.spec, transform=lambda x: np.stack([x] * 3, axis=-1))
    with pytest.raises(ValueError, match=r"only grey pictures .* gives \(1, 12, 40, 3\)"):
        colored.to_hf(cache_dir=str(tmp_path))
