"""Folders: the same manners here and far away, and what happens when a place fails."""

import hashlib
import os
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from digitseq.core import Glyphs
from digitseq.generating import DigitSequences
from digitseq.keeping import Folder, LocalFolder, RemoteFolder, is_shared, open_folder
from digitseq.loading import load_sample
from digitseq.saving import load, save, verify
from digitseq.specifying import SequenceSpec

FORMATS = ("png", "npz", "webdataset")


@pytest.fixture(scope="module")
def ds() -> DigitSequences:
    return DigitSequences(load_sample("train"), SequenceSpec(num_samples=25, length=(1, 3)))


@pytest.fixture
def address() -> str:
    """Somewhere in memory where nobody has been."""
    return f"memory://{uuid.uuid4().hex}/deep/digits"


@pytest.fixture(params=["local", "memory", "local by fsspec"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, address: str) -> Folder:
    if request.param == "local":
        return open_folder(tmp_path / "out")
    if request.param == "memory":
        return open_folder(address)
    return RemoteFolder("x", fsspec.filesystem("file"), str(tmp_path / "out"))


NAMES = st.sampled_from(["a.txt", "b/a.txt", "b/c.txt", "b/c/d.txt", ".digitseq/x.json"])
WRITES = st.tuples(st.just("write"), NAMES, st.lists(st.binary(max_size=9), max_size=4))
REMOVES = st.tuples(st.just("remove"), NAMES, st.just([]))


@given(st.lists(st.one_of(WRITES, REMOVES), max_size=12))
def test_every_folder_is_a_dictionary_of_bytes(steps: list[tuple[str, str, list[bytes]]]) -> None:
    """Whatever is done to them, a place far away and a dictionary agree."""
    folder, held = open_folder(f"memory://{uuid.uuid4().hex}"), dict[str, bytes]()
    for what, name, pieces in steps:
        if what == "remove":
            folder.remove([name])
            held.pop(name, None)
        else:
            held[name] = b"".join(pieces)
            digest = hashlib.sha256(held[name]).hexdigest()
            written = folder.write(name, iter(pieces))
            assert written == {"size": len(held[name]), "sha256": digest}
    assert folder.files() == sorted(held)
    for name in ("a.txt", "b/a.txt", "b/c.txt", ".digitseq/x.json"):
        assert folder.size(name) == (len(held[name]) if name in held else None)
    for name, data in held.items():
        assert folder.read(name) == data
        assert folder.sha256(name) == hashlib.sha256(data).hexdigest()


def test_folders_behave_alike(folder: Folder) -> None:
    assert folder.files() == [] and folder.size("a.txt") is None
    assert folder.total() == 0
    entry = folder.write("b/a.txt", [b"sev", b"en"])
    assert entry == {"size": 5, "sha256": hashlib.sha256(b"seven").hexdigest()}
    assert folder.write("a.txt", b"1", sync=False)["size"] == 1
    assert folder.write("a.txt", b"12")["size"] == 2  # the newer one stays
    assert folder.files() == ["a.txt", "b/a.txt"] and folder.total() == 7
    assert folder.size("b") is None  # it is no file
    with folder.open("b/a.txt") as file:
        assert file.read(3) == b"sev"
    for read in (folder.read, folder.sha256, folder.open):
        with pytest.raises(FileNotFoundError):
            read("missing.txt")
    again = pickle.loads(pickle.dumps(folder))
    assert again == folder and hash(again) == hash(folder) and again.read("a.txt") == b"12"
    folder.remove(["a.txt", "missing.txt", "b/a.txt"])
    assert folder.files() == []


def failing() -> Iterator[bytes]:
    yield b"half"
    raise KeyboardInterrupt


def test_what_breaks_off_is_not_there(folder: Folder) -> None:
    folder.write("other.txt", b"1")
    with pytest.raises(KeyboardInterrupt):
        folder.write("a.txt", failing())
    assert folder.files() == ["other.txt"]


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_folder("digits") == LocalFolder(Path("digits"))
    assert open_folder(f"file://{tmp_path}/out") == LocalFolder(tmp_path / "out")
    assert open_folder(Path("s3://x")) == LocalFolder(Path("s3:/x"))
    away = open_folder("memory://a/b/")
    assert isinstance(away, RemoteFolder) and str(away) == "memory://a/b"
    assert open_folder(away) is away and away.absolute() is away
    monkeypatch.chdir(tmp_path)
    assert open_folder("digits").absolute() == LocalFolder(tmp_path / "digits")
    with pytest.raises(ValueError, match="there are no addresses like nowhere://"):
        open_folder("nowhere://a/b")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"pip install 'digitseq\[remote\]'"):
        open_folder("memory://a")


@pytest.mark.parametrize("format", FORMATS)
def test_far_away_is_like_here(
    tmp_path: Path, address: str, ds: DigitSequences, format: str
) -> None:
    here, there = save(ds, tmp_path / "out", format, 10, progress=False), address
    assert save(ds, there, format, 10, progress=False) == there
    local, remote = open_folder(here), open_folder(there)
    assert local.files() == remote.files()
    assert {name: local.read(name) for name in local.files()} == {
        name: remote.read(name) for name in remote.files()
    }
    report = verify(there, deep=True, glyphs=ds.glyphs)
    assert report.ok and there in str(report)
    data = load(there)
    assert data[:].sha256 == ds[:].sha256
    assert pickle.loads(pickle.dumps(data)).out == there


def test_far_away_is_mended_and_refused(address: str, ds: DigitSequences) -> None:
    save(ds, address, "npz", 10, progress=False)
    folder = open_folder(address)
    before = {name: folder.read(name) for name in folder.files()}
    folder.write("all-00001-of-00003.npz" if "all" in ds.split else "train-00001-of-00003.npz", b"")
    folder.write("notes.txt", b"mine")
    problems = verify(address).problems
    assert len(problems) == 2 and "notes.txt does not belong here" in problems
    save(ds, address, "npz", 10, progress=False)
    assert {name: folder.read(name) for name in before} == before
    with pytest.raises(FileExistsError, match="holds another data set"):
        save(ds.replace(seed=1), address, "npz", 10, progress=False)
    save(ds.replace(seed=1), address, "npz", 10, overwrite=True, progress=False)
    assert folder.read("notes.txt") == b"mine"
    assert load(address)[:].sha256 == ds.replace(seed=1)[:].sha256


def test_other_processes_cannot_reach_memory(address: str, ds: DigitSequences) -> None:
    assert not is_shared(open_folder(address))
    with pytest.raises(ValueError, match="workers can't reach memory://.* leave them out"):
        save(ds, address, workers=2, progress=False)


class Flaky(MemoryFileSystem):
    """A file system that fails now and then, as networks do."""

    protocol = "flaky"
    cachable = False
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    rng = np.random.default_rng(0)
    chance = 0.0
    failures = 0

    def _stumble(self) -> None:
        if self.rng.random() < self.chance:
            type(self).failures += 1
            raise OSError("the network is down")

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        self._stumble()
        file = super()._open(path, mode, **options)
        if "w" in mode:
            write = file.write

            def broken(data: bytes) -> int:
                self._stumble()
                return int(write(data))

            file.write = broken
        return file

    def info(self, path: str, **options: Any) -> Any:
        self._stumble()
        return super().info(path, **options)


@pytest.fixture
def flaky() -> Iterator[type[Flaky]]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    Flaky.store.clear()
    Flaky.rng, Flaky.failures = np.random.default_rng(7), 0
    yield Flaky
    Flaky.chance = 0.0


@pytest.mark.parametrize("format", FORMATS)
def test_a_network_that_fails_now_and_then(
    flaky: type[Flaky], tmp_path: Path, ds: DigitSequences, format: str
) -> None:
    """Each call ends well or with the network's own error, and the calls together end well."""
    expected = open_folder(save(ds, tmp_path / "out", format, 2, progress=False))
    flaky.chance, attempts = 0.02, 0
    while True:
        attempts += 1
        try:
            save(ds, "flaky://bucket/digits", format, 2, progress=False)
            break
        except OSError as error:
            assert "the network is down" in str(error)
            assert attempts < 100
    assert flaky.failures > 0
    flaky.chance = 0.0
    folder = open_folder("flaky://bucket/digits")
    assert {name: folder.read(name) for name in folder.files()} == {
        name: expected.read(name) for name in expected.files()
    }
    assert verify("flaky://bucket/digits", deep=True, glyphs=ds.glyphs).ok


def test_an_error_while_reading_is_said(flaky: type[Flaky], ds: DigitSequences) -> None:
    save(ds, "flaky://bucket/digits", "npz", 10, progress=False)
    data = load("flaky://bucket/digits")
    flaky.chance = 1.0
    with pytest.raises(OSError, match="the network is down"):
        data[3]
    flaky.chance = 0.0
    assert (data[3].image == ds[3].image).all()


def test_a_folder_that_cannot_be_written(tmp_path: Path, make_glyphs: Any) -> None:
    if os.geteuid() == 0:
        (tmp_path / "out").write_bytes(b"")  # root may write everywhere, but not into a file
        expected: type[OSError] = FileExistsError
    else:
        (tmp_path / "out").mkdir(mode=0o500)
        expected = PermissionError
    glyphs: Glyphs = make_glyphs(n=20, height=4, width=4)
    with pytest.raises(expected):
        save(DigitSequences(glyphs, SequenceSpec(3, 2, height=4)), tmp_path / "out", progress=False)
