"""IDX files: every type and shape comes back, and no file can make the reader guess or grow."""

import gzip
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from little_mnist import CODES, idx_bytes

from digitseq.loading import idx_array, inflate, load_idx, read_idx

patient = settings(deadline=None)  # a busy machine is no failure
ARRAYS = st.sampled_from(sorted(CODES)).flatmap(
    lambda code: hnp.arrays(
        np.dtype(code), hnp.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=6)
    )
)
DIGITS = idx_bytes(np.arange(2 * 3 * 4, dtype="u1").reshape(2, 3, 4))


def read(content: bytes):
    return idx_array(io.BytesIO(content), "file")


@patient
@given(ARRAYS, st.booleans())
def test_round_trip(array, packed):
    content = idx_bytes(array)
    found = read(gzip.compress(content) if packed else content)
    assert found.dtype == array.dtype and found.dtype.isnative
    assert found.shape == array.shape
    assert found.tobytes() == np.ascontiguousarray(array).tobytes()
    assert not found.flags.writeable


def test_sixty_four_dimensions_and_no_more():
    deep = b"\0\0\x08\x40" + struct.pack(">64I", *[1] * 64) + b"7"
    assert read(deep).shape == (1,) * 64
    with pytest.raises(ValueError, match="announces 65 dimensions, expected at most 64"):
        read(b"\0\0\x08\x41" + struct.pack(">65I", *[1] * 65) + b"7")


@patient
@given(ARRAYS, st.data(), st.booleans())
def test_every_truncation_is_refused(array, data, packed):
    content = idx_bytes(array)
    content = gzip.compress(content) if packed else content
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ValueError, match="^file "):
        read(content[:length])


@patient
@given(ARRAYS, st.binary(min_size=1, max_size=40), st.booleans())
def test_whatever_follows_is_refused(array, extra, packed):
    content = idx_bytes(array)
    content = gzip.compress(content + extra) if packed else content + extra
    with pytest.raises(ValueError, match="must hold .* bytes for its dimensions .*, found more"):
        read(content)


@settings(patient, max_examples=300)
@given(st.data(), st.booleans())
def test_a_changed_header_is_refused_or_means_the_same_length(data, packed):
    place = data.draw(st.integers(0, 15))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != DIGITS[place]))
    content = DIGITS[:place] + bytes([value]) + DIGITS[place + 1 :]
    content = gzip.compress(content, mtime=0) if packed else content
    tracemalloc.start()
    try:
        found = read(content)  # signed bytes, or the same number of them
        assert found.nbytes == 24 or place in (2, 3)
    except ValueError as error:
        assert str(error).startswith("file ")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000


@patient
@given(st.binary(max_size=200))
def test_noise_is_refused_or_exactly_an_array(noise):
    try:
        found = read(noise)
    except ValueError as error:
        assert str(error).startswith("file ")
    else:
        assert idx_bytes(found) == noise


@patient
@given(st.binary(max_size=200))
def test_noise_that_looks_like_gzip(noise):
    with pytest.raises(ValueError, match="^file "):
        read(b"\x1f\x8b\x08" + noise)


@pytest.mark.parametrize(
    "dimensions", [(2**32 - 1,) * 3, (2**31, 2**31), (2**32 - 1,) * 64, (2**31, 1, 1)]
)
@pytest.mark.parametrize("packed", [False, True])
def test_huge_dimensions_cost_nothing(dimensions, packed):
    n = len(dimensions)
    content = struct.pack(f">BBBB{n}I", 0, 0, 8, n, *dimensions) + bytes(100)
    content = gzip.compress(content) if packed else content
    tracemalloc.start()
    with pytest.raises(ValueError, match="announces [0-9]+ bytes .*raise the limit"):
        read(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("packed", [False, True])
def test_a_lie_within_the_limit_costs_nothing(tmp_path, packed):
    content = struct.pack(">BBBBI", 0, 0, 8, 1, 2**30) + bytes(100)
    content = gzip.compress(content) if packed else content
    (tmp_path / "lie").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match="must hold 1073741832 bytes .*, found 108 bytes"):
        read_idx(tmp_path / "lie")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_bomb_is_not_unfolded():
    bomb = gzip.compress(DIGITS + bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(ValueError, match="found more"):
        read(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_two_members_are_refused_even_if_they_fit_together():
    with pytest.raises(ValueError, match="goes on after its gzip stream"):
        read(gzip.compress(DIGITS[:20]) + gzip.compress(DIGITS[20:]))
    with pytest.raises(ValueError, match="goes on after its gzip stream"):
        read(gzip.compress(DIGITS) + b"\0")


def test_a_wrong_checksum_or_length_is_refused():
    packed = bytearray(gzip.compress(DIGITS))
    for place in (-8, -4):
        changed = packed.copy()
        changed[place] ^= 1
        with pytest.raises(ValueError, match="is a damaged gzip file"):
            read(bytes(changed))


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 300_000])
def test_inflate_over_piece_borders(size):
    content = np.random.default_rng(3).integers(0, 256, size, dtype=np.uint8).tobytes()
    packed = gzip.compress(content)
    for most in (size + 1, size, size // 2):
        assert inflate(io.BytesIO(packed), most, "file") == content[:most]


def test_a_zlib_stream_is_not_gzip():
    with pytest.raises(ValueError, match="begins with the bytes '78 9c"):
        read(zlib.compress(DIGITS))


def test_the_limit_can_be_moved(tmp_path):
    (tmp_path / "a").write_bytes(DIGITS)
    assert read_idx(tmp_path / "a", limit=len(DIGITS)).shape == (2, 3, 4)
    with pytest.raises(ValueError, match="announces 40 bytes .* expected at most 39"):
        read_idx(tmp_path / "a", limit=len(DIGITS) - 1)
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "b")


IMAGES = np.zeros((3, 9, 7), "u1")
PAIRS = {
    "exchange": (np.array([1, 2, 3], "u1"), IMAGES, "exchange them"),
    "twice labels": (np.array([1], "u1"), np.array([1], "u1"), "found 1 and 1"),
    "twice images": (IMAGES, IMAGES, "found 3 and 3"),
    "ten": (IMAGES, np.array([1, 10, 3], "u1"), "labels must be 0 to 9, got 10 at position 1"),
    "255": (IMAGES, np.array([1, 2, 255], "u1"), "labels must be 0 to 9, got 255 at position 2"),
    "counts": (IMAGES, np.array([1, 2], "u1"), "one for each of the 3 images"),
    "wide": (IMAGES.astype("i2"), np.array([1, 2, 3], "u1"), "images must be uint8, got int16"),
    "floats": (IMAGES, np.array([1, 2, 3], "f4"), "labels must be integers, got float32"),
}


@pytest.mark.parametrize("case", sorted(PAIRS))
def test_pairs_that_do_not_fit(tmp_path, case):
    images, labels, reason = PAIRS[case]
    (tmp_path / "images").write_bytes(idx_bytes(images))
    (tmp_path / "labels").write_bytes(gzip.compress(idx_bytes(labels)))
    with pytest.raises(ValueError, match=f"images.*labels.*{reason}"):
        load_idx(tmp_path / "images", tmp_path / "labels")


def test_a_pair_that_fits(tmp_path):
    images = np.arange(3 * 9 * 7, dtype="u1").reshape(3, 9, 7)
    (tmp_path / "images").write_bytes(idx_bytes(images))
    (tmp_path / "labels").write_bytes(idx_bytes(np.array([1, 2, 3], "i4")))
    pair = (tmp_path / "images", tmp_path / "labels")
    glyphs = load_idx(*pair, name="mine", split="test", transpose=True)
    assert (glyphs.images == images.transpose(0, 2, 1)).all()
    assert (glyphs.name, glyphs.split, glyphs.labels.tolist()) == ("mine", "test", [1, 2, 3])
