"""PNG files: every pixel there and back, with any threads; nonsense is an error, no more."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from digitseq.cutting import reading
from digitseq.encoding import decode_png, encode_png, encode_pngs

small = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)


@given(hnp.arrays(np.uint8, small))
def test_a_png_holds_every_pixel(image: np.ndarray) -> None:
    data = encode_png(image)
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        assert (picture.format, picture.mode) == ("PNG", "L")
        assert np.array_equal(np.asarray(picture), image)
    assert np.array_equal(decode_png(data, image.shape), image)


@given(hnp.arrays(np.uint8, small))
def test_what_pillow_wrote_is_read(image: np.ndarray) -> None:
    Image.fromarray(image).save(buffer := io.BytesIO(), format="PNG")
    assert np.array_equal(decode_png(buffer.getvalue(), list(image.shape)), image)


@given(st.integers(0, 300), st.integers(1, 6), st.integers(0, 99))
def test_threads_change_nothing(count: int, threads: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (count, 3, 5), np.uint8)
    alone = [encode_png(image) for image in images]
    assert encode_pngs(images, threads) == encode_pngs(images) == alone


def test_a_worker_encodes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((200, 4, 4), np.uint8)
    wanted = encode_pngs(images)
    monkeypatch.setattr("digitseq.encoding.parent_process", lambda: "somebody")
    monkeypatch.setattr("digitseq.encoding.ThreadPoolExecutor", None)
    assert encode_pngs(images) == wanted


def test_views_of_any_order_are_encoded_alike() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5), np.uint8)
    turned = np.asfortranarray(images)
    assert encode_pngs(turned) == encode_pngs(images)
    assert encode_pngs(images[::-1, ::-1]) == encode_pngs(images[::-1, ::-1].copy())


IMAGE = np.random.default_rng(1).integers(0, 256, (9, 7), np.uint8)
DATA = encode_png(IMAGE)


def read(data: bytes) -> np.ndarray | None:
    """Read a picture as a chapter that knows its file's name does; None: it was nonsense."""
    try:
        with reading("a.png"), warnings.catch_warnings(action="error"):
            return decode_png(data, IMAGE.shape)
    except ValueError as error:
        assert str(error).startswith("a.png makes no sense")
        return None


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_nonsense_or_harmless(place: int, flip: int) -> None:
    forged = bytearray(DATA)
    forged[place] ^= flip
    found = read(bytes(forged))
    assert found is None or (found.shape, found.dtype) == (IMAGE.shape, IMAGE.dtype)


@given(st.integers(0, len(DATA) - 1))
def test_a_file_that_breaks_off_is_nonsense_or_has_every_pixel(size: int) -> None:
    found = read(DATA[:size])
    assert found is None or np.array_equal(found, IMAGE)


@pytest.mark.parametrize("size", [0, 8, 26, 33, 60, len(DATA) - 30])
def test_half_a_file_is_nonsense(size: int) -> None:
    assert read(DATA[:size]) is None


@pytest.mark.parametrize(
    "mode, shape", [("RGB", (9, 7)), ("RGBA", (9, 7)), ("1", (9, 7)), ("P", (9, 7)), ("L", (7, 9))]
)
def test_other_pictures_are_refused(mode: str, shape: tuple[int, int]) -> None:
    Image.new(mode, shape[::-1]).save(buffer := io.BytesIO(), format="PNG")
    with pytest.raises(ValueError, match=r"grey, of shape \(9, 7\)"):
        decode_png(buffer.getvalue(), (9, 7))


@pytest.mark.parametrize("format", ["GIF", "BMP", "JPEG", "TIFF"])
def test_other_formats_are_refused(format: str) -> None:
    Image.fromarray(IMAGE).save(buffer := io.BytesIO(), format=format)
    with pytest.raises(ValueError, match="it is no PNG picture"):
        decode_png(buffer.getvalue(), (9, 7))
