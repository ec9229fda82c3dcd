"""An MNIST of a few digits: files of the same names and formats, with hashes of their own."""

import gzip
import hashlib
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digitseq import loading
from digitseq.loading import KnownFile

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array: NDArray[Any]) -> bytes:
    """Write an array as IDX, independently of the reader."""
    code = CODES[array.dtype.str[1:]]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def little_arrays() -> dict[str, NDArray[Any]]:
    """Make the six arrays: 60 digits to train on, 5 for testing, and their writers."""
    rng = np.random.default_rng(5)
    arrays: dict[str, NDArray[Any]] = {}
    for part, count, extra in (("train", 60, 0), ("t10k", 5, 3)):
        labels = (np.arange(count) * 3 % 10).astype("u1")
        people = rng.integers(0, 99, (count + extra, 8)).astype("i4")
        people[:count, 0] = labels
        people[:count, 2] = np.arange(count) // 2 + 1000 * (part != "train")
        arrays[f"{part}-images"] = rng.integers(0, 256, (count, 28, 28)).astype("u1")
        arrays[f"{part}-labels"] = labels
        arrays[f"{part}-writers"] = people
    return arrays


def little_files() -> dict[str, bytes]:
    """Make the six gzipped files, by name."""
    arrays = little_arrays()
    names = {key: known.name for key, known in loading.MNIST.items()}
    names |= {f"{part}-writers": known.name for part, known in loading.WRITERS.items()}
    return {
        f"{name}.gz": gzip.compress(idx_bytes(arrays[key]), mtime=0) for key, name in names.items()
    }


def table(
    known: KnownFile, files: dict[str, bytes], mirrors: tuple[str, ...]
) -> KnownFile:  # the same file, of the little MNIST
    packed = files[f"{known.name}.gz"]
    digests = [hashlib.sha256(data).hexdigest() for data in (packed, gzip.decompress(packed))]
    return KnownFile(known.name, len(packed), digests[0], digests[1], mirrors)


def little_tables(
    mirrors: tuple[str, ...],
) -> tuple[dict[str, KnownFile], dict[str, KnownFile]]:  # for MNIST and WRITERS
    files = little_files()
    return (
        {key: table(known, files, mirrors) for key, known in loading.MNIST.items()},
        {key: table(known, files, mirrors) for key, known in loading.WRITERS.items()},
    )
