"""Many hands: nothing is lost, nothing is done after the end, and only the guilty are named."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from itertools import count, islice
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hands import await_go, die_always, die_once, double, fail, noted
from hypothesis import given
from hypothesis import strategies as st

from digitseq import working
from digitseq.core import Glyphs
from digitseq.generating import DigitSequences
from digitseq.saving import save, verify
from digitseq.specifying import SequenceSpec
from digitseq.working import do_work

TESTS = Path(__file__).resolve().parent
POSIX = pytest.mark.skipif(os.name != "posix", reason="Ctrl-C and kill -9 are POSIX here")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Poll until something is so; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


# Pools that are played: every order, every death


class Played(Executor):
    """A pool whose workers take pieces as a real one does, and finish them or die as drawn."""

    def __init__(self, workers: int, data: st.DataObject, lives: Callable[[Any], bool]):
        self.workers, self.data, self.lives, self.broken = workers, data, lives, False
        self.queue: dict[Future[Any], tuple[Any, ...]] = {}
        self.most = 0

    def submit(self, function: Any, *arguments: Any, **_: Any) -> Future[Any]:
        if self.broken:
            raise BrokenProcessPool
        future = Future[Any]()
        if function is int:  # asked whether it starts
            future.set_result(0)
        else:
            self.queue[future] = (function, *arguments)
            self.most = max(self.most, len(self.queue))
        return future

    def step(self) -> None:
        """Let one worker finish, with a result or with a bang."""
        self.queue = {one: call for one, call in self.queue.items() if not one.cancelled()}
        taken = list(self.queue)[: self.workers]
        for future in taken:
            if not future.running():
                future.set_running_or_notify_cancel()
        chosen = self.data.draw(st.sampled_from(taken))
        function, *arguments = self.queue[chosen]
        if self.lives(arguments[-1]):
            chosen.set_result(function(*arguments))
            del self.queue[chosen]
        else:
            self.broken = True
            for future in self.queue:
                future.set_exception(BrokenProcessPool())
            self.queue = {}

    def wait(self, futures: Any, **options: Any) -> Any:
        """Stand in for the wait of concurrent.futures."""
        futures = [*futures]
        enough = any if options else all  # the first, or every one
        while self.queue and not enough(one.done() for one in futures):
            self.step()
        return wait(futures, **options)


windows = st.integers(1, 7)
ALWAYS = 10**6


@given(st.lists(st.integers(0, 50), max_size=30), windows, st.integers(1, 4), st.data())
def test_any_order_through_any_window_gives_what_a_loop_gives(
    pieces: list[int], window: int, workers: int, data: st.DataObject
) -> None:
    read = [0]

    def reading() -> Iterator[int]:
        for piece in pieces:
            read[0] += 1
            yield piece

    pool = Played(workers, data, lambda piece: True)
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working, "wait", pool.wait)
        send = partial(pool.submit, double)
        with closing(working._outcomes(send, reading(), window)) as outcomes:
            for piece, future in outcomes:
                found.append((piece, future.result()))
                assert read[0] <= len(found) + window - 1
    assert Counter(found) == Counter(do_work(double, pieces))
    assert pool.most <= window


@given(
    st.lists(st.sampled_from([0, 0, 0, 0, 1, 2, ALWAYS]), max_size=25),
    st.integers(1, 5),
    st.data(),
)
def test_only_the_guilty_are_named_and_nothing_is_lost(
    deaths: list[int], workers: int, data: st.DataObject
) -> None:
    """Each piece kills so many workers before it gets done: two by accident, or all."""
    left = dict(enumerate(deaths))
    guilty = {piece for piece, kills in left.items() if kills == ALWAYS}
    pools: list[Played] = []

    def lives(letter: bytes) -> bool:
        piece = working.pickle.loads(letter)[1]
        left[piece] -= 1
        return left[piece] < 0

    def start(size: int) -> Played:
        pools.append(Played(size, data, lives))
        return pools[-1]

    found, named = [], ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(working, "_pool", start)
        patch.setattr(working, "wait", lambda futures, **how: pools[-1].wait(futures, **how))
        patch.setattr(working, "_TOO_MANY", 26)
        try:
            work = do_work(double, range(len(deaths)), workers, name="[{}]".format)
            with closing(work) as results:
                for one in results:
                    found.append(one)
        except RuntimeError as error:
            named = str(error)
    assert {piece for piece in left if f"[{piece}]" in named} == guilty
    assert sorted(found) == [(piece, 2 * piece) for piece in left if piece not in guilty]
    assert [pool for pool in pools if pool.queue] == []


def test_when_all_are_deadly_it_is_not_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[Played] = []

    class First:
        def draw(self, choices: Any) -> Any:
            return choices.elements[0]

    def start(size: int) -> Played:
        pools.append(Played(size, First(), lambda piece: False))  # type: ignore[arg-type]
        return pools[-1]

    monkeypatch.setattr(working, "_pool", start)
    monkeypatch.setattr(working, "wait", lambda futures, **how: pools[-1].wait(futures, **how))
    with pytest.raises(RuntimeError, match="takes 0, 1, 2, 3, 4, 5, 6, 7 dies, hardly anything"):
        list(do_work(double, count(), workers=2))
    assert len(pools) < 40


# Processes


def test_accidents_leave_no_trace(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="digitseq"):  # whatever others have made of the root's
        results = list(do_work(partial(die_once, tmp_path, [0, 9]), range(16), workers=2))
    assert sorted(results) == [(number, 2 * number) for number in range(16)]
    assert noted(tmp_path, "died") == {"0", "9"}
    told = "a worker process died, pieces to be tried one at a time: "
    counts = [int(said.removeprefix(told)) for said in caplog.messages if said.startswith(told)]
    assert counts and all(1 <= count <= 3 for count in counts)  # those in hand, and one waiting


def test_pieces_that_kill_every_worker_are_named_at_the_end() -> None:
    found = {}
    with pytest.raises(RuntimeError) as caught:
        for piece, result in do_work(
            partial(die_always, [1, 7]), iter(range(12)), workers=3, name="piece {}".format
        ):
            found[piece] = result
    assert found == {number: 2 * number for number in range(12) if number not in (1, 7)}
    assert "takes piece " in str(caught.value) and "is there enough memory" in str(caught.value)
    named = str(caught.value).partition(" dies, all the rest is done")[0]
    assert sorted(named.partition("takes ")[2].split(", ")) == ["piece 1", "piece 7"]
    assert caught.value.__cause__ is None


UNGUARDED = """
from hands import double
from digitseq.working import do_work
print(dict(do_work(double, range(100), workers=2)))
"""


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_a_script_without_a_guard_ends_with_a_clear_error(tmp_path: Path, way: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, "-" if way == "stdin" else script],
        input=UNGUARDED if way == "stdin" else None,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    said = "RuntimeError: worker processes die as they start: is your script a file"
    lines = [line for line in done.stderr.splitlines() if line.startswith(said)]
    assert len(lines) == 1, done.stderr  # dying workers may have their say after it
    assert 'under if __name__ == "__main__"?' in lines[0]


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize(
    ("how", "expected"),
    [("disk", OSError), ("value", ValueError), ("exit", SystemExit)],
)
def test_an_error_stops_the_work_and_is_the_error(
    how: str, expected: type[BaseException], workers: int | None
) -> None:
    pieces = iter(range(1000))
    with pytest.raises(expected) as caught:
        list(do_work(partial(fail, how), pieces, workers=workers))
    assert how != "disk" or caught.value.errno == errno.ENOSPC  # type: ignore[attr-defined]
    assert next(pieces) < 500


def test_what_can_not_travel_is_an_error_and_no_death(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError, match="TwoPartError: it rains because it is April"):
        list(do_work(partial(fail, "two parts"), range(5), workers=1))
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        list(do_work(partial(fail, "lambda"), range(5), workers=1))
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        list(do_work(lambda number: number, range(5), workers=1))
    assert caplog.messages == []


def test_who_stops_listening_finds_nobody_at_work(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    supply = count()
    with closing(do_work(partial(await_go, tmp_path), supply, workers=2)) as results:
        assert len(list(islice(results, 3))) == 3
    assert noted(tmp_path, "begun") == noted(tmp_path, "ended")
    assert 3 <= len(noted(tmp_path, "ended")) < next(supply) + 1 <= 3 + 2 * 2 + 1


def drive(how: str, folder: Path) -> subprocess.Popen[str]:
    """Start a driver in a terminal of its own, with two workers that wait for a sign."""
    process = subprocess.Popen(
        [sys.executable, TESTS / "hands.py", how, folder],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        start_new_session=True,
    )
    wait_until(lambda: len(noted(folder, "begun")) == 2, "two workers have begun")
    return process


@POSIX
@pytest.mark.parametrize(("how", "code"), [("INT", -signal.SIGINT), ("TERM", 143)])
def test_an_interrupted_driver_waits_for_its_workers(tmp_path: Path, how: str, code: int) -> None:
    driver = drive(how, tmp_path)
    if how == "INT":
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
    else:
        driver.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        driver.wait(0.3)  # its workers are at work
    (tmp_path / "go").touch()
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == code
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == (how == "INT")
    assert noted(tmp_path, "begun") == noted(tmp_path, "ended")
    assert len(noted(tmp_path, "begun")) < 6  # of twenty


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, buried or not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@POSIX
def test_workers_leave_when_their_driver_is_killed(tmp_path: Path) -> None:
    driver = drive("KILL", tmp_path)
    wait_until(
        lambda: all(path.read_text() for path in tmp_path.glob("begun-*")), "they say who they are"
    )
    workers = [int(path.read_text()) for path in tmp_path.glob("begun-*")]
    driver.kill()
    driver.communicate(timeout=60)
    wait_until(lambda: all(map(is_gone, workers)), "the workers are gone")
    assert noted(tmp_path, "ended") == set()


# Other people's executors


def test_an_executor_is_given_so_many_and_stays_open() -> None:
    supply = count()
    with ThreadPoolExecutor(3) as threads:
        for executed in range(2):
            with closing(do_work(double, supply, executor=threads)) as results:
                found = list(islice(results, 500))
            assert all(result == 2 * number for number, result in found), executed
        assert threads.submit(double, 4).result() == 8
    assert next(supply) <= 2 * (500 + working._AHEAD)


def test_who_stops_listening_to_threads_finds_none_at_work(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with ThreadPoolExecutor(2) as threads:
        work = do_work(partial(await_go, tmp_path), count(), executor=threads)
        with closing(work) as results:
            assert len(list(islice(results, 3))) == 3
        assert noted(tmp_path, "begun") == noted(tmp_path, "ended")
        assert len(noted(tmp_path, "begun")) < 9


def test_a_pool_of_the_users_that_breaks_is_reported() -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert sorted(do_work(double, range(9), executor=pool)) == list(do_work(double, range(9)))
        with pytest.raises(RuntimeError, match="pass a new one, or workers instead") as caught:
            list(do_work(partial(die_always, [4]), range(9), executor=pool))
        assert isinstance(caught.value.__cause__, BrokenProcessPool)
        with pytest.raises(RuntimeError, match="broke or was shut down after 0 pieces"):
            list(do_work(double, range(9), executor=pool))


def test_arguments_are_checked_before_anyone_listens() -> None:
    for workers in (0, 62, 1.0, True):
        with pytest.raises(ValueError, match="workers must be"):
            do_work(double, [], workers=workers)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as threads, pytest.raises(ValueError, match="exclude each other"):
        do_work(double, [], 1, threads)


# A cluster


@pytest.fixture(scope="module")
def dask() -> ModuleType:
    return pytest.importorskip("distributed", reason="distributed is not installed")


@pytest.fixture(scope="module")
def client(dask: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start a cluster of two processes that allows each task one dead worker."""
    from dask import config  # type: ignore[attr-defined]

    settings = {"scheduler.allowed-failures": 1, "deploy.lost-worker-timeout": "1 hour"}
    with (
        config.set({f"distributed.{name}": value for name, value in settings.items()}),
        dask.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=":0",
            local_directory=str(tmp_path_factory.mktemp("dask")),
            silence_logs=50,
        ) as cluster,
        dask.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def cluster(client: Any) -> Any:
    """Give the executor of a cluster that is complete."""
    client.wait_for_workers(2, timeout=30)
    return client.get_executor(pure=False)


class Killed(Exception):
    """Stands in for the error with which a cluster gives a task up."""


def test_only_who_is_given_up_alone_is_guilty(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = Counter[int]()

    def work(number: int) -> int:
        tried[number] += 1
        if number == 3 or (number in (2, 4) and tried[number] == 1):
            raise Killed
        return 2 * number

    monkeypatch.setattr(working, "_killed", lambda: Killed)
    found = {}
    with ThreadPoolExecutor(2) as threads:
        with pytest.raises(RuntimeError, match="that takes 3 dies, all the rest is done"):
            for piece, result in do_work(work, range(9), executor=threads):
                found[piece] = result
        assert found == {number: 2 * number for number in range(9) if number != 3}
        tried.clear()
        with pytest.raises(RuntimeError, match="dies, hardly anything else gets done"):
            list(do_work(work, iter(lambda: 3, 0), executor=threads))
    assert tried[3] <= working._TOO_MANY + working._AHEAD


def test_dask_replaces_a_killed_worker(cluster: Any, tmp_path: Path) -> None:
    results = list(do_work(partial(die_once, tmp_path, [3]), range(30), executor=cluster))
    assert sorted(results) == [(number, 2 * number) for number in range(30)]
    assert noted(tmp_path, "died") == {"3"}


def test_dask_gives_up_on_one_piece_and_finishes_the_others(cluster: Any) -> None:
    found = {}
    with pytest.raises(RuntimeError, match="takes piece 3 dies, all the rest is done"):
        for piece, result in do_work(
            partial(die_always, [3]), range(30), executor=cluster, name="piece {}".format
        ):
            found[piece] = result
    assert found == {number: 2 * number for number in range(30) if number != 3}


def test_dask_passes_errors_on(cluster: Any) -> None:
    with pytest.raises(OSError) as caught:
        list(do_work(partial(fail, "disk"), range(1000), executor=cluster))
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(ValueError, match=r"got a Client: of a Dask client, pass client.get_exec"):
        do_work(double, [], executor=cluster._client)


def test_a_stopped_run_is_over_on_the_cluster_too(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with closing(do_work(partial(await_go, tmp_path), count(), executor=cluster)) as results:
        assert len(list(islice(results, 3))) == 3
    assert noted(tmp_path, "begun") == noted(tmp_path, "ended")
    assert len(noted(tmp_path, "begun")) < 30
    assert dict(do_work(double, range(5), executor=cluster)) == dict(do_work(double, range(5)))


def test_a_cluster_that_goes_away_is_reported(client: Any) -> None:
    """Its scheduler runs in a process of its own, and that is killed."""
    scheduler = subprocess.Popen(
        [sys.executable, TESTS / "hands.py", "SCHEDULER", "."],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
    )
    assert scheduler.stdout is not None
    with type(client)(scheduler.stdout.readline().strip(), set_as_default=False) as lost:
        results = do_work(double, count(), executor=lost.get_executor(pure=False))
        assert len(list(islice(results, 9))) == 9
        scheduler.kill()
        with pytest.raises(
            RuntimeError, match=r"broke or was shut down after \d+ pieces"
        ) as caught:
            list(results)
        assert isinstance(caught.value.__cause__, CancelledError)
    scheduler.communicate(timeout=60)


def test_a_data_set_is_the_same_from_workers_that_live_elsewhere(
    cluster: Any, client: Any, tmp_path: Path, make_glyphs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    glyphs: Glyphs = make_glyphs(split="test")
    ds = DigitSequences(glyphs, SequenceSpec(num_samples=20, length=(1, 3), height=8))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    client.run(os.chdir, tmp_path / "elsewhere")
    save(ds, "here", shard_size=3, executor=cluster, progress=False)
    save(ds, "there", shard_size=3, progress=False)
    assert verify("here", deep=True, glyphs=glyphs).ok
    here, there = (
        {path.relative_to(out).as_posix(): path.read_bytes() for path in files if path.is_file()}
        for out, files in ((Path(one), sorted(Path(one).rglob("*"))) for one in ("here", "there"))
    )
    assert here == there and list((tmp_path / "elsewhere").iterdir()) == []
