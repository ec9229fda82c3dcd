"""Downloads: whatever a mirror does, the folder holds the right file or none."""

import gzip
import logging
import multiprocessing
import os
import stat
import sys
from pathlib import Path

import local_server as server
import numpy as np
import pytest
from little_mnist import little_arrays, little_files, little_tables

from digitseq import loading
from digitseq.loading import download_mnist, load_glyphs, load_mnist

FILES = little_files()
TRAIN_FILES = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"}


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Give every test a cache of its own, and keep proxies out of the way."""
    monkeypatch.setenv("DIGITSEQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")


def use_mirrors(monkeypatch, *mirrors):
    mnist, writers = little_tables(mirrors)
    monkeypatch.setattr(loading, "MNIST", mnist)
    monkeypatch.setattr(loading, "WRITERS", writers)


def put(folder: Path, unpack: bool = False, dots: bool = False, names=tuple(FILES)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        known = name.replace("-idx", ".idx") if dots else name
        data = gzip.decompress(FILES[name]) if unpack else FILES[name]
        (folder / (known.removesuffix(".gz") if unpack else known)).write_bytes(data)
    return folder


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def test_a_good_mirror(tmp_path, monkeypatch):
    with server.serving(FILES, {"/a/": server.good}) as (address, asked):
        use_mirrors(monkeypatch, f"{address}/a/")
        glyphs = load_mnist("train")
        assert len(asked) == 6
        load_mnist("all")
        assert len(asked) == 6  # everything was there
    arrays = little_arrays()
    assert (glyphs.images == arrays["train-images"]).all()
    assert (glyphs.writers == arrays["train-writers"][:, 2]).all()
    assert listing(tmp_path / "cache" / "mnist") == FILES


def test_a_mirror_that_would_have_the_file_unpacked(tmp_path, monkeypatch):
    with server.serving(FILES, {"/a/": server.helpful}) as (address, _):
        use_mirrors(monkeypatch, f"{address}/a/")
        download_mnist(tmp_path / "mine")
    assert listing(tmp_path / "mine") == FILES


BAD = {
    server.forbidden: "403",
    server.missing: "404",
    server.web_page: "sent 24 bytes .*it seems to be a web page",
    server.wrong: "bytes with SHA-256 [0-9a-f]{64}, expected [0-9]+ bytes with [0-9a-f]{64}",
    server.cut: "IncompleteRead|sent [0-9]+ bytes",
    server.cut_silently: "sent [0-9]+ bytes with SHA-256",
    server.endless: "sent more than the [0-9]+ bytes",
    server.stalled: "timed out",
    server.closed: "Connection aborted|closed",
}


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: answer.__name__)
def test_a_bad_mirror_leaves_nothing_behind(tmp_path, monkeypatch, answer):
    monkeypatch.setattr(loading, "TIMEOUT", 0.3 if answer is server.stalled else 30.0)
    with server.serving(FILES, {"/a/": answer, "/b/": answer}) as (address, _):
        use_mirrors(monkeypatch, f"{address}/a/", f"{address}/b/")
        with pytest.raises(ConnectionError, match=BAD[answer]) as caught:
            load_mnist("test")
    message = str(caught.value)
    assert f"{address}/a/train-images" in message and f"{address}/b/train-images" in message
    assert f"into {tmp_path / 'cache' / 'mnist'}" in message and "by hand" in message
    assert listing(tmp_path / "cache" / "mnist") == {}


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: answer.__name__)
def test_the_second_mirror_helps(tmp_path, monkeypatch, answer):
    monkeypatch.setattr(loading, "TIMEOUT", 0.3 if answer is server.stalled else 30.0)
    with server.serving(FILES, {"/a/": answer, "/b/": server.good}) as (address, asked):
        use_mirrors(monkeypatch, f"{address}/a/", f"{address}/b/")
        assert len(load_mnist("test", root=tmp_path / "mine")) == 5
        assert [path[:3] for path in asked] == ["/a/", "/b/"] * 6
    assert listing(tmp_path / "mine") == FILES


def test_a_drip_runs_out_of_time(tmp_path, monkeypatch):
    clock = iter(range(0, 10**9, 20))  # every look at the clock finds 20 seconds gone
    monkeypatch.setattr(loading, "monotonic", lambda: next(clock))
    with server.serving(FILES, {"/a/": server.good}) as (address, _):
        use_mirrors(monkeypatch, f"{address}/a/")
        with pytest.raises(ConnectionError, match="too slow: [0-9]+ of [0-9]+ bytes"):
            load_mnist("train")
    assert listing(tmp_path / "cache" / "mnist") == {}


def test_a_break_in_the_middle_keeps_what_is_whole(tmp_path, monkeypatch):
    def interrupted(url, known, progress):
        if "labels" in url:
            raise KeyboardInterrupt
        return FILES[f"{known.name}.gz"]

    use_mirrors(monkeypatch, "http://mirror/")
    monkeypatch.setattr(loading, "fetch_from", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download_mnist()
    name = "train-images-idx3-ubyte.gz"
    assert listing(tmp_path / "cache" / "mnist") == {name: FILES[name]}


def test_writers_are_a_bonus(tmp_path, monkeypatch, caplog):
    only_mnist = {name: data for name, data in FILES.items() if "qmnist" not in name}
    with server.serving(only_mnist, {"/a/": server.good}) as (address, _):
        use_mirrors(monkeypatch, f"{address}/a/")
        assert load_mnist("train").writers is None
    assert caplog.text.count("the writers of the digits stay unknown") == 2
    assert listing(tmp_path / "cache" / "mnist") == only_mnist


def test_writers_of_other_digits_are_refused(tmp_path, monkeypatch):
    use_mirrors(monkeypatch)
    swapped = dict(loading.WRITERS)
    swapped["train"] = loading.WRITERS["t10k"]
    monkeypatch.setattr(loading, "WRITERS", swapped)
    with pytest.raises(ValueError, match="qmnist-test-labels-idx2-int must have shape"):
        load_mnist("train", put(tmp_path / "mine"), download=False)


def test_a_writer_table_with_another_class_is_refused():
    people = little_arrays()["train-writers"]
    labels = people[:, 0].astype("u1")
    labels[7] = (labels[7] + 1) % 10
    assert loading.writer_column(people, labels[:7]).tolist() == people[:7, 2].tolist()
    with pytest.raises(ValueError, match="in row 7, MNIST says .*: they are not of the same"):
        loading.writer_column(people, labels)


@pytest.mark.parametrize("unpack", [False, True])
@pytest.mark.parametrize("dots", [False, True])
def test_all_usual_names(tmp_path, monkeypatch, unpack, dots):
    use_mirrors(monkeypatch)
    root = put(tmp_path / "mine", unpack, dots)
    before = listing(root)
    glyphs = load_mnist("all", root=str(root))
    arrays = little_arrays()
    assert glyphs.ids.tolist() == [*range(60), *range(60_000, 60_005)]
    assert glyphs.labels.tolist() == [*arrays["train-labels"], *arrays["t10k-labels"]]
    assert glyphs.writers.tolist()[-5:] == arrays["t10k-writers"][:5, 2].tolist()
    assert (glyphs.name, glyphs.split) == ("mnist", "all")
    assert listing(root) == before


def test_only_the_files_of_the_split_are_needed(tmp_path, monkeypatch):
    use_mirrors(monkeypatch)
    root = put(tmp_path / "mine", names=TRAIN_FILES)
    assert load_mnist("train", root).writers is None
    with pytest.raises(FileNotFoundError, match="no t10k-images-idx3-ubyte.gz or .* in .*mine"):
        use_mirrors(monkeypatch, "http://mirror/")
        load_mnist("test", root, download=False)


def test_a_changed_file_in_the_cache_is_fetched_anew(tmp_path, monkeypatch, caplog):
    cache = put(tmp_path / "cache" / "mnist")
    changed = cache / "t10k-images-idx3-ubyte.gz"
    changed.write_bytes(changed.read_bytes()[:-1])
    with server.serving(FILES, {"/a/": server.good}) as (address, asked):
        use_mirrors(monkeypatch, f"{address}/a/")
        with pytest.raises(ValueError, match="has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
            load_mnist("test", download=False)
        assert asked == []
        assert len(load_mnist("test")) == 5
        assert asked == ["/a/t10k-images-idx3-ubyte.gz"]
    assert "t10k-images-idx3-ubyte.gz has SHA-256" in caplog.text
    assert listing(cache) == FILES


def test_a_changed_file_stays_if_nothing_better_comes(tmp_path, monkeypatch):
    cache = put(tmp_path / "cache" / "mnist")
    (cache / "t10k-labels-idx1-ubyte.gz").write_bytes(b"mine")
    with server.serving(FILES, {"/a/": server.wrong}) as (address, _):
        use_mirrors(monkeypatch, f"{address}/a/")
        with pytest.raises(ConnectionError, match="t10k-labels"):
            load_mnist("test")
    assert listing(cache) == FILES | {"t10k-labels-idx1-ubyte.gz": b"mine"}


def test_a_changed_file_of_yours_is_never_overwritten(tmp_path, monkeypatch):
    root = put(tmp_path / "mine")
    (root / "train-labels-idx1-ubyte.gz").write_bytes(b"mine")
    before = listing(root)
    with server.serving(FILES, {"/a/": server.good}) as (address, asked):
        use_mirrors(monkeypatch, f"{address}/a/")
        for attempt in (load_mnist, lambda *_: download_mnist(root)):
            with pytest.raises(ValueError, match="train-labels.* has SHA-256 .*, expected "):
                attempt("train", root)
        assert asked == []
    assert listing(root) == before


def test_a_good_copy_beside_a_bad_one_is_taken(tmp_path, monkeypatch, caplog):
    use_mirrors(monkeypatch)
    root = put(tmp_path / "mine", unpack=True)
    (root / "train-labels-idx1-ubyte.gz").write_bytes(b"bad")
    assert len(load_mnist("train", root)) == 60
    assert "train-labels-idx1-ubyte.gz has SHA-256" in caplog.text


def fetch_in_process(cache: str, address: str, gate, results) -> None:
    """Load as a program of its own would, at the same moment as another."""
    os.environ |= {"DIGITSEQ_CACHE": cache, "NO_PROXY": "*"}
    mnist, writers = little_tables((address,))
    loading.MNIST.update(mnist)
    loading.WRITERS.update(writers)
    gate.wait()
    results.put(load_mnist("all").sha256)


def test_two_processes_at_once(tmp_path, monkeypatch):
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(2), context.Queue()
    with server.serving(FILES, {"/a/": server.good}) as (address, _):
        arguments = (str(tmp_path / "cache"), f"{address}/a/", gate, results)
        workers = [context.Process(target=fetch_in_process, args=arguments) for _ in range(2)]
        for worker in workers:
            worker.start()
        found = [results.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join()
    use_mirrors(monkeypatch)
    assert found == [load_mnist("all", download=False).sha256] * 2
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert listing(tmp_path / "cache" / "mnist") == FILES


def test_a_second_writer_who_finds_the_file_is_content(tmp_path, monkeypatch):
    def taken(path, data):
        raise PermissionError("another process has it open")

    monkeypatch.setattr(loading, "atomic_write", taken)
    (tmp_path / "there").write_bytes(b"right")
    loading.keep_file(tmp_path / "there", b"right")
    with pytest.raises(OSError, match="cannot be written .*another process.*: pass a root"):
        loading.keep_file(tmp_path / "there", b"other")


def test_a_cache_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "cache").write_bytes(b"a file is in the way")
    with server.serving(FILES, {"/a/": server.good}) as (address, _):
        use_mirrors(monkeypatch, f"{address}/a/")
        with pytest.raises(OSError, match="cannot be written .*set DIGITSEQ_CACHE"):
            load_mnist("train")


def test_nothing_is_printed(tmp_path, monkeypatch, capfd):
    with server.serving(FILES, {"/a/": server.wrong, "/b/": server.good}) as (address, _):
        use_mirrors(monkeypatch, f"{address}/a/", f"{address}/b/")
        load_mnist("all")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "progress, terminal, drawn",
    [(True, False, True), (None, True, True), (None, False, False), (False, True, False)],
)
def test_a_progress_bar_for_those_who_see_it(monkeypatch, capfd, progress, terminal, drawn):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with server.serving(FILES, {"/a/": server.good}) as (address, _):
        use_mirrors(monkeypatch, f"{address}/a/")
        download_mnist(progress=progress)
    assert ("100%" in capfd.readouterr().err) == drawn


def test_the_logger_is_the_project_s(monkeypatch, caplog):
    with server.serving(FILES, {"/a/": server.wrong, "/b/": server.good}) as (address, _):
        use_mirrors(monkeypatch, f"{address}/a/", f"{address}/b/")
        with caplog.at_level(logging.INFO, "digitseq"):
            load_mnist("test")
    ours = [record for record in caplog.records if record.name == "digitseq"]
    assert len(ours) == 6 and all("/a/" in record.getMessage() for record in ours)


def test_commands_for_different_splits_share_no_digit(tmp_path, monkeypatch):
    use_mirrors(monkeypatch)
    root = put(tmp_path / "mine")
    parts = {split: load_glyphs("mnist", split, root) for split in loading.SPLITS}
    assert [part.split for part in parts.values()] == list(parts)
    ids = [set(parts[split].ids.tolist()) for split in ("train", "validation", "test")]
    assert sum(map(len, ids)) == len(set.union(*ids)) == len(parts["all"]) == 65
    assert not set(parts["train"].writers) & set(parts["validation"].writers)


@pytest.mark.parametrize("split", ["validation", "TEST", "", None, 3])
def test_splits_that_mnist_has_not(split):
    with pytest.raises(ValueError, match="split must be one of train, test, all, got "):
        load_mnist(split)


needs_mnist = pytest.mark.skipif(
    "DIGITSEQ_MNIST" not in os.environ, reason="DIGITSEQ_MNIST does not name a folder with MNIST"
)


@needs_mnist
def test_the_real_mnist():
    root = os.environ["DIGITSEQ_MNIST"]
    before = {path: stat.S_IMODE(path.stat().st_mode) for path in Path(root).iterdir()}
    everything = load_mnist("all", root, download=False)
    assert everything.images.shape == (70_000, 28, 28)
    assert np.bincount(everything.labels).tolist() == [
        *(6903, 7877, 6990, 7141, 6824),
        *(6313, 6876, 7293, 6825, 6958),
    ]
    assert (everything.ids == np.arange(70_000)).all()
    if everything.writers is not None:
        train, test = everything.writers[:60_000], everything.writers[60_000:]
        assert len(np.unique(train)) == 539 and len(np.unique(test)) == 297
        assert not np.intersect1d(train, test).size
    assert {path: stat.S_IMODE(path.stat().st_mode) for path in Path(root).iterdir()} == before


@needs_mnist
def test_the_sample_is_in_the_real_mnist():
    mnist = load_mnist("train", os.environ["DIGITSEQ_MNIST"], download=False)
    sample = loading.load_sample()
    assert (mnist.images[sample.ids] == sample.images).all()
    first = [np.flatnonzero(mnist.labels == digit)[:500] for digit in range(10)]
    assert (sample.ids == np.concatenate(first)).all()
