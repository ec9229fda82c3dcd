"""Every format, however it is made: the same samples, whole or not at all."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitseq import saving
from digitseq.core import SequenceBatch
from digitseq.generating import DigitSequences
from digitseq.loading import cache_glyphs, load_sample
from digitseq.recording import FORMATS
from digitseq.saving import load, recipe_sets, save, verify
from digitseq.specifying import SequenceSpec

ROOT = Path(__file__).resolve().parents[1]
ALL = pytest.mark.parametrize("format", FORMATS)
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX")
LIGHT = ["npz", "parquet", "webdataset"]  # those whose libraries start in no time
FIELDS = ("images", "digits", "lengths", "sources", "boxes", "cells", "gaps", "widths")
AUGMENT = {"rotation_range": 30, "zoom_range": 0.3, "horizontal_flip": True}


@pytest.fixture(scope="module")
def sets() -> list[DigitSequences]:
    """Two splits of the sample, with everything that a sample can carry."""
    train, test = load_sample().train_test_split(test=0.3)
    spec = SequenceSpec(
        num_samples=11,
        length=(1, 4),
        width=140,
        measure="ink",
        spacing=(-2, 4),
        align="random",
        augment=AUGMENT,
    )
    black = spec.replace(num_samples=5, ink="black", dtype="float32", seed=3)
    return [DigitSequences(train, spec), DigitSequences(test, black)]


def contents(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def assert_same(one: SequenceBatch, other: SequenceBatch) -> None:
    """Compare everything, types and factors too."""
    for name in FIELDS:
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype and np.array_equal(a, b), name
    assert list(one.factors) == list(other.factors)
    for name, values in one.factors.items():
        assert values.dtype == other.factors[name].dtype, name
        assert np.array_equal(values, other.factors[name]), name


@ALL
def test_what_goes_in_comes_out(tmp_path: Path, sets: list[DigitSequences], format: str) -> None:
    out = save(sets, tmp_path / "out", format, 4, progress=False)
    report = verify(out, deep=True, glyphs=[ds.glyphs for ds in sets])
    assert report.ok and report.samples == 16, report
    for ds in sets:
        data = load(out, ds.split)
        assert_same(data[:], ds[:])
        assert_same(data.batch([9 % len(ds), 0, -1]), ds.batch([9 % len(ds), 0, -1]))
        assert data[2].text == ds[2].text and (data[2].image == ds[2].image).all()


@ALL
def test_two_runs_are_byte_equal_and_the_third_does_nothing(
    tmp_path: Path, sets: list[DigitSequences], format: str
) -> None:
    one = save(sets, tmp_path / "one", format, 4, progress=False)
    two = save(sets, tmp_path / "two", format, 4, progress=False)
    assert contents(one) == contents(two)
    times = {path: path.stat().st_mtime_ns for path in one.rglob("*") if path.is_file()}
    save(sets, one, format, 4, progress=False)
    assert times == {path: path.stat().st_mtime_ns for path in one.rglob("*") if path.is_file()}


@ALL
def test_a_recipe_is_enough(
    tmp_path: Path, sets: list[DigitSequences], format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kilobyte travels to another machine, and the same folder grows there."""
    from digitseq.cli import main

    monkeypatch.setenv("DIGITSEQ_CACHE", str(tmp_path / "cache"))
    here = save(sets, tmp_path / "here", format, 4, progress=False)
    recipe = (here / "recipe.json").read_bytes()
    assert len(recipe) < 3000
    (tmp_path / "sent.json").write_bytes(recipe)
    with pytest.raises(LookupError, match="pass them as"):
        recipe_sets(json.loads(recipe))
    for ds in sets:
        cache_glyphs(ds.glyphs)
    there = tmp_path / "there"
    assert main(["generate", str(there), "--recipe", str(tmp_path / "sent.json"), "--quiet"]) == 0
    assert contents(there) == contents(here)
    assert main(["verify", str(there), "--deep"]) == 0


# Whoever makes it


class Late(Executor):
    """An executor that runs its work in an order of its own, in this very thread."""

    def __init__(self, seed: int) -> None:
        self.rng, self.waiting = np.random.default_rng(seed), list[Any]()

    def submit(self, work: Any, /, *args: Any, **options: Any) -> Future[Any]:
        future = Future[Any]()
        self.waiting.append((future, work, args, options))
        self.rng.shuffle(self.waiting)  # type: ignore[arg-type]
        while len(self.waiting) > 2:
            self._run()
        return future

    def _run(self) -> None:
        future, work, args, options = self.waiting.pop()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(work(*args, **options))
            except Exception as error:
                future.set_exception(error)


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    """Two Dask workers, each a process of its own.

    A worker that was killed and is not back after fifteen seconds would be given up for good, and
    on a busy machine some need longer.
    """
    distributed = pytest.importorskip("distributed")
    with (
        pytest.importorskip("dask").config.set(
            {"distributed.deploy.lost-worker-timeout": "1 hour"}
        ),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize("format", ["png", *LIGHT])
def test_serial_threads_processes_and_dask_make_the_same(
    tmp_path: Path, sets: list[DigitSequences], format: str, dask: Any
) -> None:
    expected = contents(save(sets, tmp_path / "serial", format, 2, progress=False))
    with ThreadPoolExecutor(3) as threads:
        made = {
            "threads": save(sets, tmp_path / "a", format, 2, executor=threads, progress=False),
            "processes": save(sets, tmp_path / "b", format, 2, workers=2, progress=False),
        }
    cluster = dask.get_executor(pure=False)
    made["dask"] = save(sets, tmp_path / "c", format, 2, executor=cluster, progress=False)
    for out in made.values():
        assert contents(out) == expected


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(1, 13),
    format=st.sampled_from(["png", *LIGHT]),
    hands=st.sampled_from(["one", "threads"]),
    count=st.integers(1, 13),
)
def test_any_shard_size_and_any_hands_hold_the_same(
    tmp_path_factory: pytest.TempPathFactory, size: int, format: str, hands: str, count: int
) -> None:
    glyphs = load_sample("train")
    ds = DigitSequences(glyphs, SequenceSpec(count, (1, 3), augment="default"))
    out = tmp_path_factory.mktemp("any") / "out"
    with ThreadPoolExecutor(3) as threads:
        executor = threads if hands == "threads" else None
        save(ds, out, format, size, executor=executor, progress=False)
    assert_same(load(out)[:], ds[:])
    numbers = np.random.default_rng(size).permutation(count)
    assert_same(load(out).batch(numbers), ds.batch(numbers))


# Killed


DEADLY = """
import os, signal
from digitseq import saving

def work(folder, format, digest, shard):
    if shard.number == 1 and shard.split == "train":
        os.kill(os.getpid(), signal.SIGKILL)
    return saving._finish(saving._worker_set(folder, shard.split, digest), folder, shard, format)
"""


@POSIX
@pytest.mark.parametrize("hands", ["processes", "dask"])
def test_a_shard_that_always_kills_is_reported_alone(
    tmp_path: Path,
    sets: list[DigitSequences],
    hands: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    (tmp_path / "deadly.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    import deadly  # type: ignore[import-not-found]

    options: dict[str, Any] = {"workers": 2}
    if hands == "dask":
        client = request.getfixturevalue("dask")
        client.upload_file(str(tmp_path / "deadly.py"))
        options = {"executor": client.get_executor(pure=False)}
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(saving, "_work", deadly.work)
        with pytest.raises(RuntimeError) as caught:
            save(sets, out, "npz", 2, progress=False, **options)
    assert "train-00001-of-00006" in str(caught.value)
    assert str(caught.value).count("-of-") == 1
    names = {path.name for path in out.glob("*.npz")}
    assert len(names) == 6 + 3 - 1 and "train-00001-of-00006.npz" not in names
    assert not (out / "manifest.json").exists()
    monkeypatch.delitem(sys.modules, "deadly")
    expected = contents(save(sets, tmp_path / "expected", "npz", 2, progress=False))
    assert contents(save(sets, out, "npz", 2, progress=False)) == expected


class Once:
    """Stand in for the progress bar, and do something when the first shard is there."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self.happens: list[Callable[[], object]] = [happens]

    def __enter__(self) -> "Once":
        return self

    def __exit__(self, *error: object) -> None: ...

    def update(self, samples: int) -> None:
        if self.happens:
            self.happens.pop()()


@POSIX
def test_a_killed_dask_worker_is_replaced(
    tmp_path: Path, sets: list[DigitSequences], dask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_one() -> None:
        os.kill(next(iter(dask.run(os.getpid).values())), signal.SIGKILL)

    many = sets[0].replace(num_samples=120)
    monkeypatch.setattr(saving, "_bar", lambda *_: Once(kill_one))
    executor = dask.get_executor(pure=False)
    out = save(many, tmp_path / "out", "npz", 2, executor=executor, progress=False)
    monkeypatch.undo()
    expected = save(many, tmp_path / "expected", "npz", 2, progress=False)
    assert contents(out) == contents(expected)


DRIVER = """
import os, signal, sys
from multiprocessing import active_children
from pathlib import Path
from digitseq import saving
from digitseq.generating import DigitSequences
from digitseq.specifying import SequenceSpec
from digitseq.loading import load_sample

class Bar:
    left = int(sys.argv[3])
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def update(self, samples):
        self.left -= 1
        if self.left == 0:
            print(*[child.pid for child in active_children()], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    saving._bar = lambda *_: Bar()
    ds = DigitSequences(load_sample("train"), SequenceSpec(42, 2, split="train", seed=7))
    saving.save(ds, sys.argv[1], sys.argv[2], 2, workers=2)
"""


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, buried or not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@POSIX
@pytest.mark.parametrize("format", ["png", "parquet"])
def test_a_driver_that_is_killed_again_and_again_gets_there(tmp_path: Path, format: str) -> None:
    """Each time a shard or two further, with two workers at work: never an orphan, nothing torn."""
    (tmp_path / "driver.py").write_text(DRIVER)
    out, kills = tmp_path / "out", 0
    command = [sys.executable, tmp_path / "driver.py", out, format]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    while True:
        after = str(kills % 3 + 1)
        done = subprocess.run(
            [*command, after], capture_output=True, text=True, env=environment, timeout=60
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
        assert not (out / "manifest.json").exists()
        orphans, deadline = [int(pid) for pid in done.stdout.split()], time.monotonic() + 30
        while not all(map(is_gone, orphans)):
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.01)
    assert 3 <= kills <= 21
    ds = DigitSequences(load_sample("train"), SequenceSpec(42, 2, split="train", seed=7))
    assert verify(out, deep=True, glyphs=ds.glyphs).ok
    assert not [name for name in contents(out) if name.endswith(".tmp")]
    expected = save(ds, tmp_path / "expected", format, 2, progress=False)
    assert contents(out) == contents(expected)


def test_a_worker_may_stand_elsewhere(
    tmp_path: Path, sets: list[DigitSequences], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn, os.chdir, (tmp_path / "elsewhere",)) as pool:
        save(sets, "out", "npz", 2, executor=pool, progress=False)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert verify("out", deep=True, glyphs=[ds.glyphs for ds in sets]).ok


# What is damaged


@ALL
@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "gone", "renamed", "extra"])
def test_damage_is_named_and_mended(
    tmp_path: Path, sets: list[DigitSequences], format: str, damage: str
) -> None:
    out = save(sets[0], tmp_path / "out", format, 4, progress=False)
    whole = contents(out)
    names = [name for name in whole if "train" in name or ".digitseq" in name]
    victim = names[len(names) // 2]
    path = out / victim
    if damage == "bit":
        data = bytearray(whole[victim])
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(whole[victim][:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "gone":
        path.unlink()
    elif damage == "renamed":
        path.rename(path.with_name("holiday"))
    else:
        (path.parent / "holiday").write_bytes(whole[victim])
    problems = verify(out).problems
    assert problems and len(problems) <= 2
    assert any(victim in one or "holiday does not belong here" in one for one in problems)
    if damage in ("bit", "cut", "empty") and not victim.endswith((".jsonl", ".json", ".txt")):
        deep = verify(out, deep=True, glyphs=sets[0].glyphs)
        assert not deep.ok
    stray = path.parent / "holiday"
    if stray.exists():
        stray.unlink()
    save(sets[0], out, format, 4, progress=False)
    assert contents(out) == whole
