"""What workers do in the tests of working: a module that a new process imports in no time."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from digitseq.working import do_work


def die() -> None:
    """End this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def double(number: int) -> int:
    return 2 * number


def die_once(folder: Path, deadly: list[int], number: int) -> int:
    """Die at the first try of some pieces, and double the others."""
    note = folder / f"died-{number}"
    if number in deadly and not note.exists():
        note.touch()
        die()
    return 2 * number


def die_always(deadly: list[int], number: int) -> int:
    if number in deadly:
        die()
    return 2 * number


def await_go(folder: Path, number: int) -> int:
    """Say that a piece has begun and in which process, wait for a sign, say that it has ended."""
    (folder / f"begun-{number}").write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while not (folder / "go").exists():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody gave the sign")
        time.sleep(0.01)
    time.sleep(0.1)  # still at work for a moment after the sign
    (folder / f"ended-{number}").touch()
    return number


def noted(folder: Path, kind: str) -> set[str]:
    """Tell which pieces have begun, or ended."""
    return {path.name.partition("-")[2] for path in folder.glob(f"{kind}-*")}


class TwoPartError(Exception):
    """An error that pickle can't put together again."""

    def __init__(self, what: str, why: str):
        super().__init__(f"{what} because {why}")


def fail(how: str, number: int) -> Any:
    """Fail at the number 3, in one way or another."""
    if number == 3:
        if how == "disk":
            raise OSError(28, "No space left on device", "file")
        if how == "value":
            raise ValueError("three is no number")
        if how == "exit":
            raise SystemExit(3)
        if how == "two parts":
            raise TwoPartError("it rains", "it is April")
        return lambda: "no process can send this"
    return number


def keep_a_cluster() -> None:
    """Be a cluster of one thread, and say where."""
    from distributed import LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(processes=False, protocol="tcp", **options) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


def main(how: str, folder: Path) -> None:
    """Be a driver with two workers, to which SIGTERM is SystemExit if asked for; or a cluster."""
    if how == "SCHEDULER":
        return keep_a_cluster()
    if how == "TERM":
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    for _ in do_work(partial(await_go, folder), range(20), workers=2):
        pass


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
