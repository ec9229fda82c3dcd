"""save, verify and load when things go wrong: crashes, full disks, dead processes, forged files."""

import errno
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digitseq import encoding, picturing, recording, saving
from digitseq.core import Glyphs
from digitseq.generating import DigitSequences
from digitseq.keeping import LocalFolder
from digitseq.loading import load_sample
from digitseq.saving import load, read_manifest, save, verify
from digitseq.specifying import SequenceSpec

ROOT = Path(__file__).resolve().parents[1]
MakeGlyphs = Callable[..., Glyphs]
FORMATS = pytest.mark.parametrize("format", ["png", "npz"])
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX")
AS_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk takes root on Linux"
)


def make_sets(make_glyphs: MakeGlyphs) -> list[DigitSequences]:
    train, test = (
        make_glyphs(seed=1, split="train"),
        make_glyphs(seed=2, split="test", ids=np.arange(30) + 30),
    )
    spec = SequenceSpec(num_samples=5, length=(1, 2), height=8)
    return [DigitSequences(train, spec), DigitSequences(test, spec.replace(num_samples=2))]


@pytest.fixture(scope="module")
def sets(make_glyphs: MakeGlyphs) -> list[DigitSequences]:
    """Make two tiny splits."""
    return make_sets(make_glyphs)


def write(sets: Any, out: Path, format: str = "png", **options: Any) -> Path:
    """Save in shards of two."""
    return save(sets, out, format, 2, progress=False, **options)


def contents(out: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def half_written(out: Path) -> list[str]:
    """List what must not be there after an interruption."""
    return [name for name in contents(out) if name.endswith((".tmp", "manifest.json"))]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Poll until something is so; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


# Interrupted at every single file


class Stop(BaseException):
    """Stand in for Ctrl-C."""


def stop() -> None:
    raise Stop


def after(count: int, happens: Callable[[], object]) -> Callable[[Any, Any], None]:
    """Make an os.replace in whose count-th call something happens instead."""
    replace, calls = os.replace, itertools.count(1)

    def replacing(source: Any, target: Any) -> None:
        if next(calls) == count:
            happens()
        replace(source, target)

    return replacing


@FORMATS
def test_an_interruption_at_any_file_leaves_nothing_half_written(
    tmp_path: Path, sets: list[DigitSequences], format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(write(sets, tmp_path / "whole", format))
    out, count = tmp_path / "out", 0
    while True:
        count += 1
        try:
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", after(count, stop))
                write(sets, out, format)
        except Stop:
            assert half_written(out) == []
            with pytest.raises(FileNotFoundError):
                load(out, "train")
            assert not verify(out).ok
            shutil.rmtree(out) if count % 2 else None  # go on from nothing, and from what there is
        else:
            break
    assert count > 5
    assert contents(out) == whole


@POSIX
@FORMATS
def test_a_crash_at_any_file_is_recovered_from(
    tmp_path: Path, sets: list[DigitSequences], format: str
) -> None:
    whole = contents(write(sets, tmp_path / "whole", format))
    out, count, crashed = tmp_path / "out", 0, True
    while crashed:
        count += 1
        child = os.fork()
        if child == 0:  # dies without a word, with a half-written file, in the middle of it all
            os.replace = after(count, lambda: os._exit(9))
            write(sets, out, format)
            os._exit(0)
        crashed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        if crashed:
            assert not (out / "manifest.json").exists()
            shutil.rmtree(out) if count % 3 == 0 else None
    assert count > 5
    assert contents(out) == whole


def test_what_dead_writers_left_is_cleared_away(tmp_path: Path, sets: list[DigitSequences]) -> None:
    out = write(sets, tmp_path / "out")
    whole = contents(out)
    name = next(name for name in whole if name.startswith("train/0"))
    ours = [f"{name}.0123abcd.tmp", ".digitseq/lock", f".digitseq/glyphs-{'0' * 64}.npz"]
    ours += ["train/000000001_9999.png", "train-00000-of-00002.npz", "manifest.json.01234567.tmp"]
    for stray in [*ours, "mine.tmp"]:
        (out / stray).write_bytes(b"x")
    (out / name).unlink()
    write(sets, out)
    assert contents(out) == whole | {"mine.tmp": b"x"}


# Disks and folders


READ_ONLY = """
import os, sys
from pathlib import Path
import digitseq.saving as saving
import filelock, tqdm.auto, numba
from digitseq.generating import DigitSequences
from digitseq.specifying import SequenceSpec
from digitseq.loading import load_sample
ds = DigitSequences(load_sample("test"), SequenceSpec(num_samples=3))
ds[:]
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for out in sys.argv[1:]:
    try:
        saving.save(ds, out, progress=False)
    except PermissionError as error:
        print(error)
"""


@POSIX
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o555)
    for place in (tmp_path, *tmp_path.parents):
        if "pytest-of-" in str(place):  # made by pytest, for its user alone
            place.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, folder, folder / "new" / "deeper"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    refusal = f"{folder} can't be written to: name a folder that can"
    assert (done.stdout.splitlines(), done.stderr) == ([refusal, refusal], "")
    assert list(folder.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk can't be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@AS_ROOT
@FORMATS
def test_a_disk_that_is_too_small_is_noticed_before(
    small_disk: Path, sets: list[DigitSequences], format: str
) -> None:
    with pytest.raises(OSError, match=r"needs about .* MB and has room for 3.1 MB") as caught:
        save(sets[0].replace(num_samples=60_000), small_disk / "out", format, progress=False)
    assert caught.value.errno == errno.ENOSPC
    assert list(small_disk.iterdir()) == []


@AS_ROOT
@FORMATS
@pytest.mark.parametrize("workers", [None, 1])
def test_a_disk_that_fills_up_meanwhile_holds_only_whole_files(
    small_disk: Path,
    sets: list[DigitSequences],
    format: str,
    workers: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ds, out = sets[0].replace(num_samples=400 if format == "png" else 1000), small_disk / "out"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3_000_000 - (200_000 if format == "npz" else 800_000)))
    monkeypatch.setattr(LocalFolder, "check_room", lambda folder, needed: None)
    with pytest.raises(OSError) as caught:
        save(ds, out, format, 50, workers=workers, progress=False)
    assert caught.value.errno == errno.ENOSPC
    assert half_written(out) == []
    assert any(name.startswith("train") for name in contents(out))
    ballast.unlink()
    assert verify(save(ds, out, format, 50, progress=False), True, ds.glyphs).ok


def test_a_full_disk_is_noticed_without_root_too(
    tmp_path: Path, sets: list[DigitSequences], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(9, 9, 1000))
    with pytest.raises(OSError, match="needs about .* room for 0.0 MB: ask for fewer samples"):
        write(sets, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# Processes


DRIVER = """
import os, signal, sys
from multiprocessing import active_children
import digitseq.saving as saving
from digitseq.cli import main

class Bar:
    def __init__(self, total, done, progress): self.left = int(os.environ["AFTER"])
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def update(self, samples):
        self.left -= 1
        if self.left == 0:
            print(*[child.pid for child in active_children()], flush=True)
            how = os.environ["HOW"]
            if how == "wait":
                sys.stdin.readline()
            else:
                os.kill(os.getpid(), getattr(signal, how))

if __name__ == "__main__":
    saving._bar = Bar
    sys.exit(main(sys.argv[1:]))
"""
LINE = "--num-samples 60 --length 2 --shard-size 4 --seed 7"


@pytest.fixture
def driver(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Give a command line that does something to itself in the middle of the work."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)

    def start(how: str, *arguments: object, after: int = 3) -> subprocess.Popen[str]:
        cache = {"DIGITSEQ_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, script, "generate", tmp_path / "out", *LINE.split()]
            + [str(argument) for argument in arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **cache, "HOW": how, "AFTER": str(after)},
            start_new_session=True,
        )

    return start


def finish(out: Path) -> Path:
    """Save what LINE saves."""
    ds = DigitSequences(load_sample("train"), SequenceSpec(60, 2, split="train", seed=7))
    return save(ds, out, shard_size=4, progress=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Make what LINE makes, undisturbed."""
    out = finish(tmp_path_factory.mktemp("whole") / "out")
    assert verify(out, deep=True, glyphs=load_sample("train")).ok
    return contents(out)


@POSIX
@pytest.mark.parametrize(
    ("how", "code", "workers"),
    [("SIGINT", 130, ()), ("SIGINT", 130, ("--workers", 2)), ("SIGTERM", 143, ("--workers", 2))],
)
def test_an_interrupted_command_goes_on(
    tmp_path: Path,
    driver: Callable[..., subprocess.Popen[str]],
    whole: dict[str, bytes],
    how: str,
    code: int,
    workers: tuple[object, ...],
) -> None:
    first = driver(how, *workers)
    _, said = first.communicate(timeout=60)
    assert first.returncode == code
    expected = "interrupted: the same command goes on where it stopped\n" if code == 130 else ""
    assert said == expected
    assert half_written(tmp_path / "out") == []
    assert 3 <= len(list((tmp_path / "out" / ".digitseq").glob("*.json"))) < 15
    assert contents(finish(tmp_path / "out")) == whole


@POSIX
def test_ctrl_c_in_a_terminal_reaches_all_and_disturbs_only_one(
    tmp_path: Path, driver: Callable[..., subprocess.Popen[str]]
) -> None:
    process = driver("wait", "--workers", 2, after=1)
    assert process.stdout is not None and process.stdout.readline().split()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (130, 1)
    assert half_written(tmp_path / "out") == []


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended, buried or not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


@POSIX
def test_workers_leave_with_a_killed_driver(
    tmp_path: Path, driver: Callable[..., subprocess.Popen[str]], whole: dict[str, bytes]
) -> None:
    killed = driver("SIGKILL", "--workers", 2)
    assert killed.stdout is not None
    workers = [int(pid) for pid in killed.stdout.readline().split()]
    assert len(workers) == 2
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    wait_until(lambda: all(map(is_gone, workers)), "the workers are gone")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert contents(finish(tmp_path / "out")) == whole


@POSIX
def test_a_second_writer_fails_fast_and_a_dead_one_does_not_matter(
    tmp_path: Path, driver: Callable[..., subprocess.Popen[str]], whole: dict[str, bytes]
) -> None:
    first = driver("wait")
    assert first.stdout is not None and first.stdout.readline()
    with pytest.raises(RuntimeError, match="another process is writing to .*: wait for it"):
        finish(tmp_path / "out")
    first.kill()
    first.communicate(timeout=60)
    assert (tmp_path / "out" / ".digitseq" / "lock").exists()
    assert contents(finish(tmp_path / "out")) == whole


@POSIX
def test_a_killed_worker_is_replaced(
    tmp_path: Path, sets: list[DigitSequences], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = []

    class Bar:
        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *error: object) -> None: ...

        def update(self, samples: int) -> None:
            if not killed:
                killed.extend(active_children()[:1])
                killed[0].kill()

    ds = sets[0].replace(num_samples=40)
    monkeypatch.setattr(saving, "_bar", lambda *_: Bar())
    out = write(ds, tmp_path / "out", workers=2)
    assert len(killed) == 1 and not killed[0].is_alive()
    assert contents(out) == contents(write(ds, tmp_path / "serial"))


def test_an_error_in_a_worker_is_the_error(tmp_path: Path, sets: list[DigitSequences]) -> None:
    out = tmp_path / "out"
    (out / "train").mkdir(parents=True)
    (out / "train" / picturing.picture_name(0, sets[0][0].text, 5)).mkdir()
    with pytest.raises(OSError):
        write(sets, out, workers=1)
    assert half_written(out) == []


# What verify sees


@pytest.fixture(scope="module", params=["png", "npz"])
def finished(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    sets: list[DigitSequences],
) -> Path:
    """Make a data set that tests damage and put right again."""
    return write(sets, tmp_path_factory.mktemp("finished") / "out", request.param)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "changed": lambda path: path.write_bytes(path.read_bytes()[:-9] + b"123456789"),
    "renamed": lambda path: path.rename(path.with_name("x" + path.name)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_every_damaged_file_and_save_mends_it(
    finished: Path, sets: list[DigitSequences], damage: str
) -> None:
    whole = contents(finished)
    format = read_manifest(finished).format
    for name in whole:
        DAMAGES[damage](finished / name)
        problems = verify(finished).problems
        assert any(name.split("/")[-1] in problem for problem in problems), (name, problems)
        if damage == "renamed" and name != "manifest.json":
            assert any(f"x{Path(name).name} does not belong here" in one for one in problems)
        elif name != "manifest.json":
            assert len(problems) == 1
        (finished / name).with_name("x" + Path(name).name).unlink(missing_ok=True)
        if damage == "a folder":
            (finished / name).rmdir()
        write(sets, finished, format)
        assert contents(finished) == whole


@pytest.mark.parametrize("name", ["x", "train/x", ".digitseq/x", "new/x", "train/000000000_1.png"])
def test_verify_names_what_does_not_belong(finished: Path, name: str) -> None:
    (finished / name).parent.mkdir(exist_ok=True)
    (finished / name).write_bytes(b"")
    problems = verify(finished).problems
    (finished / name).unlink()
    if not any((finished / name).parent.iterdir()):
        (finished / name).parent.rmdir()
    assert problems == (f"{name} does not belong here",)
    assert verify(finished).ok


@settings(max_examples=80)
@given(data=st.data())
def test_one_flipped_bit_anywhere_is_found(finished: Path, data: st.DataObject) -> None:
    files = contents(finished)
    name = data.draw(st.sampled_from(sorted(files)))
    bit = data.draw(st.integers(0, 8 * len(files[name]) - 1))
    flipped = bytearray(files[name])
    flipped[bit // 8] ^= 1 << bit % 8
    (finished / name).write_bytes(flipped)
    try:
        problems = verify(finished).problems
    finally:
        (finished / name).write_bytes(files[name])
    assert len(problems) == 1 and name in problems[0]


def test_every_flipped_bit_of_a_manifest_is_found(finished: Path) -> None:
    path = finished / "manifest.json"
    right = path.read_bytes()
    step = max(1, 8 * len(right) // 300)
    for bit in range(0, 8 * len(right), step | 1):
        flipped = bytearray(right)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"manifest.json makes no sense"):
            read_manifest(finished)
    path.write_bytes(right)


@given(share=st.floats(0, 0.999))
@settings(max_examples=30)
def test_a_torn_manifest_is_no_manifest(finished: Path, share: float) -> None:
    path = finished / "manifest.json"
    right = path.read_bytes()
    path.write_bytes(right[: int(share * len(right))])
    try:
        assert not verify(finished).ok
        with pytest.raises(ValueError, match=r"manifest.json makes no sense"):
            load(finished, "train")
    finally:
        path.write_bytes(right)


def test_deep_compares_what_is_made_with_what_is_there(
    tmp_path: Path, finished: Path, sets: list[DigitSequences]
) -> None:
    glyphs = [ds.glyphs for ds in sets]
    manifest = read_manifest(finished)
    for shard, record in manifest.shards:
        ds = next(ds for ds in sets if ds.split == shard.split)
        numbers = range(shard.start, shard.stop)
        assert record["content_sha256"] == ds.batch(numbers).sha256
        assert record["content_sha256"] == load(finished, shard.split).batch(numbers).sha256
    assert verify(finished, deep=True, glyphs=glyphs).ok
    other = [DigitSequences(ds.glyphs, ds.spec.replace(seed=1)) for ds in sets]
    forged = write(other, tmp_path / "forged", manifest.format)
    assert verify(forged, deep=True, glyphs=glyphs).ok
    data = json.loads((forged / "manifest.json").read_bytes())
    data["splits"]["train"]["spec"]["seed"] = 0
    forge(forged, data)
    assert verify(forged).ok
    problems = verify(forged, deep=True, glyphs=glyphs).problems
    assert len([one for one in problems if "manifest promises other samples" in one]) == 3
    assert len([one for one in problems if "files hold other samples" in one]) == 3


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere is no folder"):
        verify(tmp_path / "nowhere")
    assert verify(tmp_path).problems == (
        f"{tmp_path} has no manifest.json, it is no data set of digitseq",
    )


# Forged files


def forge(out: Path, data: dict[str, Any]) -> None:
    """Write a manifest that agrees with itself and with its recipe, whatever it says."""
    data = {name: value for name, value in data.items() if name != "sha256"}
    data["recipe_sha256"] = recording.recipe_sha256(data)
    if "versions" in data:
        recipe = {name: data.get(name) for name in (*recording.MADE_OF, "versions")}
        (out / "recipe.json").write_bytes(recording.pretty_json(recipe))
    forged = data | {"sha256": recording.manifest_sha256(data)}
    (out / "manifest.json").write_bytes(recording.pretty_json(forged))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List the way to every value in a JSON value."""
    if path:
        yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Copy a JSON value with one value replaced, or one key renamed."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if new is KEY and isinstance(inner, dict):
        inner["../../evil"] = inner.pop(path[-1])
    else:
        inner[path[-1]] = "../../evil" if new is KEY else new
    return copy


KEY = object()
NONSENSE = [
    *("../../evil", "/etc/passwd", "", "9" * 5000, "\0", "O", "all"),
    *(2**45, 2**62, -1, 0, 1.5, 1e400, True, None, [], {}, [[]], [2**45, 2**45], {"a": []}, KEY),
]


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Record every path that is looked at or opened."""
    seen: list[Path] = []
    for module, name in ((os, "stat"), (os, "lstat"), (os, "scandir"), (io, "open")):
        real = getattr(module, name)

        def recorded(path: Any, *rest: Any, _real: Any = real, **options: Any) -> Any:
            if isinstance(path, (str, os.PathLike)):
                seen.append(Path(path))
            return _real(path, *rest, **options)

        monkeypatch.setattr(module, name, recorded)
    monkeypatch.setattr("builtins.open", io.open)
    return seen


def strayed(touched: list[Path], out: Path) -> list[Path]:
    """Find the paths that lead out of a folder, whether the files are there or not."""
    bait = {"..", "evil", "etc", "passwd"}
    near = [path for path in touched if out.parent in path.parents and path != out]
    return [path for path in touched if bait & {*path.parts}] + [
        path for path in near if out not in path.parents
    ]


def try_to_load(out: Path) -> None:
    """Load whatever can be loaded."""
    with suppress(ValueError, FileNotFoundError):
        for split in read_manifest(out).specs:
            load(out, split)[:]


@settings(max_examples=120)
@given(data=st.data())
def test_a_forged_manifest_harms_nobody(
    finished: Path, touched: list[Path], sets: list[DigitSequences], data: st.DataObject
) -> None:
    keep = {name: (finished / name).read_bytes() for name in ("manifest.json", "recipe.json")}
    right = json.loads(keep["manifest.json"])
    path = data.draw(st.sampled_from(list(places(right))))
    forge(finished, changed(right, path, data.draw(st.sampled_from(NONSENSE))))
    glyphs = [ds.glyphs for ds in sets]
    touched.clear()
    try:
        assert isinstance(verify(finished).problems, tuple)
        try_to_load(finished)
        assert strayed(touched, finished) == []
        try:
            assert isinstance(verify(finished, True, glyphs).problems, tuple)
        except LookupError as error:
            assert "are not here: pass them" in str(error)
    finally:
        for name, content in keep.items():
            (finished / name).write_bytes(content)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, sets: list[DigitSequences]) -> Path:
    """Make a data set of pictures whose lists are forged."""
    return write(sets[0], tmp_path_factory.mktemp("pictures") / "out")


@settings(max_examples=80)
@given(data=st.data())
def test_a_forged_list_harms_nobody(
    pictures: Path, touched: list[Path], sets: list[DigitSequences], data: st.DataObject
) -> None:
    names = ("manifest.json", "recipe.json", ".digitseq/train-00000-of-00003.jsonl")
    keep = {name: (pictures / name).read_bytes() for name in names}
    rows = [json.loads(line) for line in keep[names[2]].splitlines()]
    path = data.draw(st.sampled_from(list(places(rows))))
    forged = changed(rows, path, data.draw(st.sampled_from(NONSENSE)))
    listed = "".join(json.dumps(row) + "\n" for row in forged).encode()
    (pictures / names[2]).write_bytes(listed)
    manifest = json.loads(keep["manifest.json"])
    entry = {"size": len(listed), "sha256": sha256(listed).hexdigest()}
    manifest["shards"]["train"][0] |= entry
    forge(pictures, manifest)
    touched.clear()
    try:
        verify(pictures)
        try_to_load(pictures)
        assert strayed(touched, pictures) == []
        assert isinstance(verify(pictures, True, sets[0].glyphs).problems, tuple)
    finally:
        for name, content in keep.items():
            (pictures / name).write_bytes(content)


def archive(**members: bytes) -> bytes:
    """Pack .npy files that may be anything."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(header: str) -> bytes:
    """Begin an .npy file with a header of one's own."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def packed(array: np.ndarray) -> bytes:
    """Pack an array as NumPy does, objects too."""
    np.save(buffer := io.BytesIO(), array, allow_pickle=True)
    return buffer.getvalue()


BOMBS = {
    "a claim of 2^45": npy(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (35184372088832,), }"
    ),
    "a negative claim": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 22), }"),
    "objects": packed(np.array([{}, []], dtype=object)),
    "text": packed(np.array(["a", "b"])),
    "code": npy("__import__('os').abort()"),
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_forged_archive_is_a_value_error(
    tmp_path: Path, sets: list[DigitSequences], name: str
) -> None:
    out = write(sets[0], tmp_path, "npz")
    path = out / "train-00001-of-00003.npz"
    with np.load(path) as arrays:
        members = {key: packed(array) for key, array in arrays.items()}
    data = archive(**members | {"images": BOMBS[name]})
    path.write_bytes(data)
    manifest = json.loads((out / "manifest.json").read_bytes())
    entry = {"size": len(data), "sha256": sha256(data).hexdigest()}
    manifest["shards"]["train"][1] |= entry
    forge(out, manifest)
    assert verify(out).ok
    assert load(out)[0].text == sets[0][0].text
    with pytest.raises(ValueError, match=r"train-00001-of-00003.npz makes no sense"):
        load(out)[2]
    problems = verify(out, deep=True, glyphs=sets[0].glyphs).problems
    assert len(problems) == 1 and "train-00001-of-00003 can't be read" in problems[0]


@pytest.mark.parametrize(("width", "height"), [(70_000, 70_000), (15_000, 15_000), (23, 8)])
def test_a_picture_of_another_size_is_a_value_error(
    tmp_path: Path, sets: list[DigitSequences], width: int, height: int
) -> None:
    out = write(sets[0], tmp_path)
    path = next((out / "train").glob("000000002_*.png"))
    picture = path.read_bytes()
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big") + picture[24:29]
    path.write_bytes(picture[:8] + encoding._chunk(b"IHDR", size) + picture[33:])
    with pytest.raises(ValueError, match=r"000000002_\d+.png makes no sense"):
        load(out)[2]
