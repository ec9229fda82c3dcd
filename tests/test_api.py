"""The original's interface: its example, its folders and files, and what can go wrong with them."""

import gzip
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_mnist import idx_bytes, little_arrays
from numpy.typing import NDArray
from PIL import Image

from digitseq import api, constants
from digitseq.api import (
    OWN_SPELLINGS,
    AugmentedSeqGen,
    SeqGen,
    generate_image,
    generate_random_sequence,
    label_mapping,
    load_digits,
    settings,
    shuffled_rounds,
    space_generator,
)
from digitseq.augmenting import Augment
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.spacing import gap_distribution
from digitseq.specifying import SequenceSpec

ROOT = Path(__file__).resolve().parents[1]
WIDE = {"min": 0, "max": 10}

# The example as its users have it. Only the line of the import is new.
SCRIPT = """
from digitseq.api import SeqGen, AugmentedSeqGen

driver = SeqGen()
driver.horizontal_seq_gen(
    input_sequence=[2, 4, 1, 7], space_range={'min': 0, 'max': 5}, image_width=200
)
driver.generate_random_sequence(
    num_samples=10, seq_len=10, space_range={'min': 0, 'max': 10}, image_width=200
)
driver.augment_dataset(
    num_of_data_to_save=10000, zca_whitening=False, rotation_range=10,
    width_shift_range=0.2, height_shift_range=0.2, shear_range=0.2,
)
augmented = AugmentedSeqGen()
augmented.visualize_generated_aug_dataset()
augmented.generate_random_sequence_with_keras_data(
    see_image=True, num_samples=10, seq_len=10, space_range={'min': 0, 'max': 10}, image_width=200
)

import sys
assert not {"keras", "tensorflow", "tkinter"} & set(sys.modules)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, hidden ones too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def arrays_of(path: str | Path) -> tuple[NDArray[Any], NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        assert sorted(archive) == ["arr_0", "arr_1"]
        return archive["arr_0"], archive["arr_1"]


def pixels_of(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def write_data(images: NDArray[Any], labels: NDArray[Any], folder: str = "data") -> None:
    """Write raw files under the names that the original had for them."""
    os.makedirs(folder, exist_ok=True)
    Path(folder, constants.IMAGE_FILE).write_bytes(idx_bytes(images))
    Path(folder, constants.LABEL_FILE).write_bytes(idx_bytes(labels))


@pytest.fixture
def little() -> dict[str, NDArray[Any]]:
    """Put an MNIST of 60 digits where the original looks for its ten thousand."""
    arrays = little_arrays()
    write_data(arrays["train-images"], arrays["train-labels"])
    return {"images": arrays["train-images"], "labels": arrays["train-labels"]}


@pytest.fixture
def blocks() -> None:
    """Put digits there that are full squares: of digit d all pixels are 100 + 10 d."""
    shades = np.arange(100, 200, 10, dtype=np.uint8)
    write_data(
        np.broadcast_to(shades[:, None, None], (10, 28, 28)).copy(), np.arange(10, dtype="u1")
    )


def gaps_between_blocks(row: NDArray[Any], digits: list[int], cell: int) -> list[int]:
    """Read the gaps off a row of pixels, without being told where anything is."""
    x, gaps = int(np.flatnonzero(row)[0]), []
    for j, digit in enumerate(digits):
        assert (row[x : x + cell] == 100 + 10 * digit).all()
        x += cell
        if j + 1 < len(digits):
            gaps.append(int(np.flatnonzero(row[x:])[0]))
            x += gaps[-1]
    assert not row[x:].any()
    return gaps


# The example


def python(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in a folder, with a cache of its own and nothing to show windows on."""
    settings = {"PYTHONPATH": str(ROOT), "DIGITSEQ_CACHE": str(folder.parent / "cache")}
    inherited = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=inherited | settings | environment,
    )


def test_the_script_and_the_module_write_the_same_bytes_and_print_nothing(tmp_path: Path) -> None:
    for name in ("script", "module", "function"):
        (tmp_path / name).mkdir()
    (tmp_path / "example.py").write_text(SCRIPT)
    script = python(str(tmp_path / "example.py"), folder=tmp_path / "script", MPLBACKEND="TkAgg")
    assert (script.returncode, script.stdout, script.stderr) == (0, "", "")
    module = python("-m", "digitseq.api", folder=tmp_path / "module")
    assert (module.returncode, module.stdout) == (0, "")
    assert "10000 images are in keras_data" in module.stderr
    os.chdir(tmp_path / "function")
    api.example()
    made = [contents(tmp_path / name) for name in ("script", "module", "function")]
    assert made[0] == made[1] == made[2]

    folders = {name.partition("/")[0] for name in made[0]}
    assert folders == {"aug_gen_data", "keras_data", "keras_hor_images"}
    assert {name for name in made[0] if name.endswith(".npz")} == {
        "aug_gen_data/augmented_data.npz",
        "keras_data/keras_augmented_data.npz",
        "keras_hor_images/augmented_data.npz",
    }
    assert {Path(name).suffix for name in made[0]} == {".npz", ".png"}


def test_another_seed_is_another_data_set() -> None:
    made = [SeqGen(seed, image_save_dir=f"{k}") for k, seed in enumerate((3, 3, 4))]
    labels = [driver.generate_random_sequence(4, 4, WIDE, 160).labels for driver in made]
    assert (labels[0] == labels[1]).all() and (labels[0] != labels[2]).any()


# What is in the files


@pytest.mark.parametrize(("see_image", "top"), [(True, 255), (False, 1)])
def test_archive_pictures_and_record_agree(see_image: bool, top: int) -> None:
    driver = SeqGen()
    driver.augment_dataset(300)
    for made in (
        driver.generate_random_sequence(12, 5, WIDE, 180, see_image),
        AugmentedSeqGen().generate_random_sequence_with_keras_data(see_image, 12, 5, WIDE, 180),
    ):
        images, labels = arrays_of(made.archive)
        assert images.dtype == np.float32 and images.shape == (12, 28, 180)
        assert labels.shape == (12, 5) and images.min() >= 0 and top / 2 < images.max() <= top
        assert (images == made.images).all() and (labels == made.labels).all()
        for image, digits, path in zip(images, labels, made.pictures, strict=True):
            assert path.stem == "".join(map(str, digits))
            assert (pixels_of(path) == np.rint(image * (255 / top))).all()


def test_a_call_is_a_data_set_of_the_package(little: dict[str, NDArray[Any]]) -> None:
    driver = SeqGen(seed=8)
    driver.horizontal_seq_gen("31", WIDE, 90)  # takes sample 0
    made = driver.generate_random_sequence(20, 6, {"min": 1, "max": 4}, 200)
    spec = SequenceSpec(21, 6, 200, spacing=(1, 4), overflow="shrink", seed=8)
    batch = DigitSequences(driver.glyphs, spec)[1:]
    assert (made.images == batch.images).all() and (made.labels == batch.digits).all()


def test_augmented_digits_are_the_digits_augmented(little: dict[str, NDArray[Any]]) -> None:
    made = SeqGen(seed=5).augment_dataset(150, rotation_range=30, zoom_range=0.2)
    order = shuffled_rounds(0, 150, 60, seed=5)
    aug = Augment(
        rotation_range=30, width_shift_range=0.2, height_shift_range=0.2, shear_range=0.2,
        zoom_range=0.2, rescale=1 / 255,
    )  # fmt: skip
    assert (made.images == aug(little["images"][order], seed=5)).all()
    assert (made.labels == little["labels"][order]).all()
    images, labels = arrays_of(constants.KERAS_SAVE_DIR + "/keras_augmented_data.npz")
    assert (images == made.images).all()
    assert labels.shape == (150, 1) and (labels[:, 0] == made.labels).all()
    assert images.dtype == np.float32 and 0 <= images.min() < images.max() <= 1
    assert [int(path.stem[0]) for path in made.pictures] == made.labels[:10].tolist()
    for path, image in zip(made.pictures, images, strict=False):
        error = pixels_of(path) - image * (255 / images[:10].max())
        assert abs(error).max() < 0.51


@pytest.mark.parametrize("own", ["f_center", "f_std_normalization", "zca_whitening"])
def test_statistics_are_those_of_all_digits(little: dict[str, NDArray[Any]], own: str) -> None:
    still = dict.fromkeys(("rotation_range", "width_shift_range", "height_shift_range"), 0)
    options = {own: True, "zca_epsilon": 1.0}
    made = SeqGen().augment_dataset(60, **still, shear_range=0, **options)
    aug = Augment(**{OWN_SPELLINGS.get(own, own): True}, rescale=1 / 255, zca_epsilon=1.0)
    wanted = aug.fit(little["images"]).standardize(little["images"][shuffled_rounds(0, 60, 60, 0)])
    assert np.allclose(made.images, wanted, atol=1e-5)
    assert abs(made.images.mean()) < 1e-4  # of all digits, each once


@pytest.mark.parametrize(
    ("length", "width", "cell"), [(1, 40, 28), (4, 200, 28), (5, 150, 28), (10, 200, 15)]
)
def test_every_image_has_its_width_and_every_gap_is_drawn(
    blocks: None, length: int, width: int, cell: int
) -> None:
    made = SeqGen().generate_random_sequence(300, length, WIDE, width)
    assert made.images.shape == (300, 28, width)
    middle = [pixels_of(path)[14] for path in made.pictures]
    rows = zip(middle, made.labels.tolist(), strict=True)
    gaps = np.array([gaps_between_blocks(row, digits, cell) for row, digits in rows])
    assert gaps.shape == (300, length - 1)
    if length > 1:
        chances = gap_distribution(length - 1, 0, 10, width - length * cell)
        mean = sum(float(chance) * gap for gap, chance in chances.items())
        variance = sum(float(chance) * (gap - mean) ** 2 for gap, chance in chances.items())
        assert gaps.min() == 0 and gaps.max() <= 10
        # Of 10,000 seeds, one would fail for each position: 4 standard deviations.
        assert (abs(gaps.mean(axis=0) - mean) < 4 * np.sqrt(variance / 300)).all()
        assert (gaps.max(axis=1) > gaps.min(axis=1)).mean() > 0.5
    begins = np.array([np.flatnonzero(row)[0] for row in middle])
    ends = np.array([np.flatnonzero(row)[-1] + 1 for row in middle])
    assert set((width - ends) - begins) <= {0, 1}  # centred


def test_the_width_is_kept_without_a_width_being_named(blocks: None) -> None:
    made = SeqGen().horizontal_seq_gen([2, 4, 1, 7])
    assert pixels_of(made.pictures[0]).shape == (28, 100) and made.images.shape == (1, 28, 100)
    gaps = gaps_between_blocks(made.images[0, 14], [2, 4, 1, 7], (200 - 30) // 8)
    assert min(gaps) >= 0 and max(gaps) <= 10


# Calls go on


def test_two_calls_give_what_one_would() -> None:
    parts, whole = SeqGen(image_save_dir="a"), SeqGen(image_save_dir="b")
    two = [parts.generate_random_sequence(10, 3, WIDE, 120) for _ in range(2)]
    one = whole.generate_random_sequence(20, 3, WIDE, 120)
    assert (np.concatenate([made.images for made in two]) == one.images).all()
    assert (np.concatenate([made.labels for made in two]) == one.labels).all()


def test_two_augmentations_give_what_one_would(little: dict[str, NDArray[Any]]) -> None:
    parts, whole = SeqGen(keras_save_dir="a"), SeqGen(keras_save_dir="b")
    two = [parts.augment_dataset(n, rotation_range=40) for n in (70, 1130)]
    parts.horizontal_seq_gen("1", WIDE, 60)
    one = whole.augment_dataset(1200, rotation_range=40)
    assert (np.concatenate([made.images for made in two]) == one.images).all()
    assert (np.concatenate([made.labels for made in two]) == one.labels).all()


def test_a_refused_call_takes_no_number() -> None:
    refused, other = SeqGen(image_save_dir="a"), SeqGen(image_save_dir="b")
    with pytest.raises(ValueError, match="image_width must be at least 1, got 0"):
        refused.generate_random_sequence(10, 3, WIDE, 0)
    with pytest.raises(ValueError, match="0 to 9, got 10"):
        refused.horizontal_seq_gen([10])
    labels = [one.generate_random_sequence(5, 3, WIDE, 120).labels for one in (refused, other)]
    assert (labels[0] == labels[1]).all()


@given(st.integers(0, 200), st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**64 - 1))
def test_rounds_are_shuffles_and_stay_where_they_are(
    start: int, many: int, size: int, seed: int
) -> None:
    row = shuffled_rounds(0, start + many, size, seed)
    assert (shuffled_rounds(start, many, size, seed) == row[start:]).all()
    for k in range(0, len(row) - size + 1, size):
        assert sorted(row[k : k + size]) == list(range(size))


# Nothing is overwritten


def test_older_files_keep_their_bytes(blocks: None) -> None:
    driver, seen = SeqGen(), list[bytes]()
    for _ in range(3):
        made = driver.generate_random_sequence(30, 1, WIDE, 40)
        seen.append(Path(made.archive).read_bytes())
        assert len({path.name for path in made.pictures}) == 30
    folder = Path(constants.IMAGE_SAVE_DIR)
    names = ("augmented_data_1", "augmented_data_2", "augmented_data")
    assert [(folder / f"{name}.npz").read_bytes() for name in names] == seen
    pictures = [path for path in folder.iterdir() if path.suffix == ".png"]
    assert len(pictures) == 90
    for path in pictures:
        digit = int(path.stem.partition("_")[0])
        assert pixels_of(path).max() == 100 + 10 * digit


def test_files_of_others_are_left_alone() -> None:
    folder = Path(constants.IMAGE_SAVE_DIR)
    folder.mkdir()
    for name in ("2417.png", "2417_7.png", "2417_x.png", "augmented_data_1.npz"):
        (folder / name).write_text(name)
    driver = SeqGen()
    assert driver.horizontal_seq_gen("2417", WIDE, 200).pictures[0].name == "2417_8.png"
    for _ in range(2):
        driver.generate_random_sequence(1, 4, WIDE, 200)
    for name in ("2417.png", "2417_7.png", "2417_x.png", "augmented_data_1.npz"):
        assert (folder / name).read_text() == name
    assert (folder / "augmented_data_2.npz").is_file()


def test_several_writers_take_turns() -> None:
    def work(seed: int) -> Any:
        return SeqGen(seed).generate_random_sequence(25, 1, WIDE, 40)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(work, range(4)))
    paths = {path for one in made for path in one.pictures}
    assert len(paths) == 100
    for one in made:
        for image, path in zip(one.images, one.pictures, strict=True):
            assert (pixels_of(path) == image).all()
    names = {path.name for path in Path(constants.IMAGE_SAVE_DIR).iterdir()}
    archives = {"augmented_data.npz", *(f"augmented_data_{k}.npz" for k in (1, 2, 3))}
    assert names == archives | {path.name for path in paths}


def test_a_full_disk_leaves_the_older_archive_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = SeqGen()
    path = driver.generate_random_sequence(2, 4, WIDE, 200).archive
    before, write = Path(path).read_bytes(), api.atomic_write

    def fail(path: Path, *data: Any, **options: Any) -> Any:
        if ".npz" in path.name:
            raise OSError(28, "No space left on device", str(path))
        return write(path, *data, **options)

    monkeypatch.setattr(api, "atomic_write", fail)
    with pytest.raises(OSError, match="No space left"):
        driver.generate_random_sequence(2, 4, WIDE, 200)
    assert Path(path).read_bytes() == before
    assert not list(Path(constants.IMAGE_SAVE_DIR).glob("*_1.npz"))
    assert not Path(constants.IMAGE_SAVE_DIR, ".lock").exists()


def test_names_are_cut_before_the_file_system_does(blocks: None) -> None:
    driver = SeqGen()
    made = [driver.horizontal_seq_gen("7" * 300, {"min": 0, "max": 0}, 2400) for _ in range(2)]
    names = [one.pictures[0].name for one in made]
    assert names == ["7" * 200 + ".png", "7" * 200 + "_1.png"]
    assert made[0].labels.shape == (1, 300)


# Where the digits come from


def test_raw_files_are_used_when_they_are_there(
    little: dict[str, NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlxtend.data import loadlocal_mnist

    asked = []
    monkeypatch.setattr(
        "mlxtend.data.loadlocal_mnist",
        lambda *paths: asked.append(paths) or loadlocal_mnist(*paths),
    )
    driver = SeqGen()
    assert asked == [(constants.IMAGE_PATH, constants.LABEL_PATH)]
    assert (driver.dataset_images == little["images"]).all()
    assert driver.dataset_images.dtype == np.float32
    assert (driver.labels == little["labels"]).all()
    pixels, labels = loadlocal_mnist(constants.IMAGE_PATH, constants.LABEL_PATH)
    assert (pixels.reshape(-1, 28, 28) == little["images"]).all()
    assert (labels == little["labels"]).all()
    image = driver.horizontal_seq_gen("3", WIDE, 28).images[0]
    assert any((image == glyph).all() for glyph in little["images"][little["labels"] == 3])


def test_without_files_the_sample_is_taken_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("WARNING", logger="digitseq"):  # whatever others have made of the root's
        driver = SeqGen()
    assert driver.glyphs.sha256 == load_sample().sha256
    assert any("the 5,000 digits of the sample" in line for line in caplog.messages)
    assert {record.name for record in caplog.records} == {"digitseq"}


DIGITS, LABELS = np.zeros((10, 28, 28), "u1"), np.arange(10, dtype="u1")


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (idx_bytes(DIGITS)[:-1], idx_bytes(LABELS), "must hold 7856 bytes .* found 7855"),
        (idx_bytes(DIGITS) + b"!", idx_bytes(LABELS), "must hold 7856 bytes .* found more"),
        (idx_bytes(DIGITS), idx_bytes(LABELS)[:-1], "must hold 18 bytes .* found 17"),
        (b"\x89PNG" + idx_bytes(DIGITS)[4:], idx_bytes(LABELS), "begins with the bytes '89 50"),
        (idx_bytes(LABELS), idx_bytes(DIGITS), "holds labels .* exchange them"),
        (idx_bytes(DIGITS), idx_bytes(LABELS + 1), "labels must be 0 to 9, got 10"),
        (idx_bytes(DIGITS), idx_bytes(LABELS[:9]), "one for each of the 10 images"),
        (idx_bytes(DIGITS.astype("f4")), idx_bytes(LABELS), "must be uint8, got float32"),
        (b"", idx_bytes(LABELS), "begins with the bytes ''"),
    ],
)
def test_a_corrupt_file_is_an_error_and_not_silently_replaced(
    here: Path, images: bytes, labels: bytes, reason: str
) -> None:
    Path("data").mkdir()
    Path(constants.IMAGE_PATH).write_bytes(images)
    Path(constants.LABEL_PATH).write_bytes(labels)
    before = contents(here)
    with pytest.raises(ValueError, match=reason):
        SeqGen()
    assert contents(here) == before


@pytest.mark.parametrize("name", [constants.IMAGE_PATH, constants.LABEL_PATH])
def test_a_file_without_its_companion_is_an_error(
    little: dict[str, NDArray[Any]], name: str
) -> None:
    os.remove(name)
    with pytest.raises(FileNotFoundError, match="beside its companion") as caught:
        SeqGen()
    assert name in str(caught.value)


def test_packed_files_are_read_as_they_are(little: dict[str, NDArray[Any]]) -> None:
    for name in (constants.IMAGE_PATH, constants.LABEL_PATH):
        Path(name).write_bytes(gzip.compress(Path(name).read_bytes()))
    assert (load_digits().images == little["images"]).all()


def test_digits_of_another_size_are_brought_to_that_of_the_constants() -> None:
    images = np.full((10, 20, 14), 255, "u1")
    write_data(images, LABELS)
    assert SeqGen().glyphs.images.shape == (10, 28, 28)
    made = SeqGen(image_height=20, image_width=14).generate_random_sequence(5, 3, WIDE, 70)
    assert made.images.shape == (5, 20, 70)
    one = SeqGen(image_height=20, image_width=14).horizontal_seq_gen("123", WIDE, 70)
    assert one.images.shape == (1, 20, 70) and (one.images > 0).sum() == 3 * 20 * 14


def test_height_and_width_of_digits_hold_for_augmented_ones(
    little: dict[str, NDArray[Any]],
) -> None:
    driver = SeqGen(image_height=32, image_width=24)
    assert driver.augment_dataset(100).images.shape == (100, 32, 24)
    augmented = AugmentedSeqGen(image_height=40, image_width=30)
    made = augmented.generate_random_sequence_with_keras_data(False, 3, 2, WIDE, 80)
    assert made.images.shape == (3, 40, 80)


# Constants


def test_each_constant_can_be_another_one(little: dict[str, NDArray[Any]]) -> None:
    os.rename("data", "mnist")
    driver = SeqGen(
        dataset_dir="mnist",
        image_save_dir=Path("deep/er"),
        spacing_range={"min": 3, "max": 3},
        gen_dataset_name="sequences",
        KERAS_SAVE_DIR="singles",
        augmented_keras_gen_data="digits",
    )
    assert (driver.glyphs.images == little["images"]).all()
    made = driver.generate_random_sequence(2, 3, image_width=100)
    assert made.archive == Path("deep/er/sequences.npz") and made.archive.is_file()
    assert driver.augment_dataset(60).archive == Path("singles/digits.npz")
    names = {"keras_save_dir": "singles", "augmented_keras_gen_data": "digits"}
    augmented = AugmentedSeqGen(**names, keras_aug_hor_images="lines")
    made = augmented.generate_random_sequence_with_keras_data(True, 2, 3, image_width=100)
    assert made.archive == Path("lines/augmented_data.npz")


def test_a_changed_constant_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "IMAGE_SAVE_DIR", "elsewhere")
    assert SeqGen().horizontal_seq_gen("1", WIDE, 60).pictures == (Path("elsewhere/1.png"),)


def test_a_path_is_made_of_folder_and_file() -> None:
    assert settings({"image_file": "a"}).image_path == os.path.join("data", "a")
    assert settings({"label_file": "b", "dataset_dir": "c"}).label_path == os.path.join("c", "b")
    assert settings({"dataset_dir": "c", "image_path": "d"}).image_path == "d"


@pytest.mark.parametrize(
    ("names", "error", "reason"),
    [
        ({"image_savedir": "x"}, TypeError, "did you mean 'image_save_dir'"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 2**64}, ValueError, "seed must be at most"),
        ({"seed": 1.0}, ValueError, "seed must be an integer, got 1.0"),
        ({"gen_dataset_name": "a/b"}, ValueError, "gen_dataset_name must be a short name"),
        ({"gen_dataset_name": "..\\b"}, ValueError, "gen_dataset_name must be a short name"),
        ({"augmented_keras_gen_data": ""}, ValueError, "augmented_keras_gen_data must be a short"),
        ({"image_save_dir": 3}, ValueError, "image_save_dir must be a path, got 3"),
        ({"image_height": 7}, ValueError, "image_height must be at least 8, got 7"),
        ({"image_width": "28"}, ValueError, "image_width must be an integer, got '28'"),
        ({"spacing_range": (0, 10)}, ValueError, r"range of gaps must be .* got \(0, 10\)"),
        ({"image_file": "a", "IMAGE_FILE": "b"}, TypeError, "it is given twice"),
    ],
)
def test_wrong_settings(
    here: Path, names: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        SeqGen(**names)
    assert contents(here) == {}


# Options


def test_both_spellings_mean_the_same(little: dict[str, NDArray[Any]]) -> None:
    values = dict.fromkeys(OWN_SPELLINGS, True) | {"c_val": 9.0}
    made = [
        SeqGen(keras_save_dir=f"{k}").augment_dataset(40, fill_mode="constant", **options)
        for k, options in enumerate(
            (values, {OWN_SPELLINGS[name]: value for name, value in values.items()})
        )
    ]
    assert (made[0].images == made[1].images).all()
    assert Path(made[0].archive).read_bytes() == Path(made[1].archive).read_bytes()
    plain = SeqGen(keras_save_dir="plain").augment_dataset(40)
    assert (plain.images != made[0].images).any()


def test_every_option_of_the_list_is_understood(little: dict[str, NDArray[Any]]) -> None:
    made = SeqGen().augment_dataset(
        num_of_data_to_save=30, f_center=False, s_center=False, f_std_normalization=False,
        s_std_normalization=False, zca_whitening=False, zca_epsilon=1e-6, rotation_range=10,
        width_shift_range=0.2, height_shift_range=0.2, brightness_range=None, shear_range=0.2,
        zoom_range=0, channel_shift_range=0.0, fill_mode="nearest", c_val=0.0,
        horizontal_flip=False, vertical_flip=False, rescale=0.0001, preprocessing_function=None,
        validation_split=0.0,
    )  # fmt: skip
    assert made.images.shape == (30, 28, 28) and 0.02 < made.images.max() < 0.0256


@pytest.mark.parametrize("own", OWN_SPELLINGS)
def test_one_option_in_two_spellings_is_an_error(here: Path, own: str) -> None:
    options = {own: 0.0, OWN_SPELLINGS[own]: 0.0}
    with pytest.raises(TypeError, match=f"{OWN_SPELLINGS[own]} and {own} are one option"):
        SeqGen().augment_dataset(10, **options)
    assert contents(here) == {}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("rotation", "rotation_range"),
        ("f_centre", "f_center"),
        ("fillmode", "fill_mode"),
        ("num_data_to_save", "num_of_data_to_save"),
        ("zoomrange", "zoom_range"),
    ],
)
def test_an_unknown_option_names_the_nearest(here: Path, wrong: str, right: str) -> None:
    with pytest.raises(TypeError, match=f"no option '{wrong}': did you mean '{right}'"):
        SeqGen().augment_dataset(10, **{wrong: 1})
    assert contents(here) == {}


# Wrong arguments: an error before any work, and nothing written

NAN = float("nan")
WRONG: list[tuple[str, str, Callable[[SeqGen], Any]]] = [
    ("no digit", "0 to 9, got 'x' at position 1", lambda d: d.horizontal_seq_gen("1x", WIDE, 90)),
    ("empty", "at least one digit, got none", lambda d: d.horizontal_seq_gen([], WIDE, 90)),
    ("a number", "got 2417: write", lambda d: d.horizontal_seq_gen(2417, WIDE, 200)),
    ("path", "got '.' at position 0", lambda d: d.horizontal_seq_gen("../12", WIDE, 200)),
    ("one key", "range of gaps", lambda d: d.horizontal_seq_gen("12", {"min": 0}, 90)),
    ("descending", "must ascend", lambda d: d.horizontal_seq_gen("1", {"min": 9, "max": 0}, 90)),
    ("float gap", "integer", lambda d: d.generate_random_sequence(1, 2, {"min": 0, "max": 1.5})),
    ("nan", "integer", lambda d: d.horizontal_seq_gen("1", {"min": 0, "max": NAN}, 90)),
    ("width", "image_width must be at least 1", lambda d: d.horizontal_seq_gen("1", WIDE, 0)),
    ("float width", "image_width must be an", lambda d: d.horizontal_seq_gen("1", WIDE, 90.0)),
    ("huge width", "image_width must be at most", lambda d: d.horizontal_seq_gen("1", WIDE, 10**9)),
    ("too narrow", "width must be at least 21", lambda d: d.horizontal_seq_gen("12", WIDE, 20)),
    ("none", "num_samples must be at least 1", lambda d: d.generate_random_sequence(0, 4, WIDE)),
    ("many", "at most .* make several", lambda d: d.generate_random_sequence(10**9, 4, WIDE)),
    ("length", "seq_len must be at least 1", lambda d: d.generate_random_sequence(3, 0, WIDE, 90)),
    ("bool", "seq_len must be an integer", lambda d: d.generate_random_sequence(3, True, WIDE, 90)),
    ("see", "see_image must be True", lambda d: d.generate_random_sequence(3, 3, WIDE, 90, "no")),
    ("no digits", "num_of_data_to_save must be", lambda d: d.augment_dataset(0)),
    ("text", "num_of_data_to_save must be", lambda d: d.augment_dataset("100")),
    ("too many", "at most .* make several", lambda d: d.augment_dataset(10**10)),
    ("fill mode", "fill_mode", lambda d: d.augment_dataset(10, fill_mode="middle")),
    ("zoom", "zoom_range", lambda d: d.augment_dataset(10, zoom_range=[1, 2, 3])),
    ("result", "finite", lambda d: d.augment_dataset(9, preprocessing_function=lambda x: x + NAN)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "call"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_wrong_arguments(
    here: Path, little: dict[str, NDArray[Any]], reason: str, call: Callable[[SeqGen], Any]
) -> None:
    before, driver = contents(here), SeqGen()
    with pytest.raises(ValueError, match=reason):
        call(driver)
    assert contents(here) == before
    assert driver.turns.next == 0


def test_a_digit_that_nobody_wrote(here: Path) -> None:
    write_data(DIGITS[:9], LABELS[:9])
    driver, before = SeqGen(), contents(here)
    with pytest.raises(ValueError, match="there is no image of 9: add some"):
        driver.horizontal_seq_gen("19", WIDE, 90)
    with pytest.raises(ValueError, match="there is no image of 9: add some"):
        driver.generate_random_sequence(3, 3, WIDE, 120)
    with pytest.raises(ValueError, match="there is no image of 9: add some"):
        generate_random_sequence(3, 3, DIGITS[:9], label_mapping(LABELS[:9]), WIDE)
    assert contents(here) == before
    assert driver.horizontal_seq_gen("18", WIDE, 90).pictures[0].name == "18.png"


def test_a_label_map_of_another_data_set(here: Path) -> None:
    places = [[k] for k in range(10)]
    for call in (
        lambda mapping: generate_image(DIGITS, mapping, [9], WIDE, 90),
        lambda mapping: generate_random_sequence(3, 3, DIGITS, mapping, WIDE),
    ):
        with pytest.raises(ValueError, match="must be ten lists, got 9"):
            call(places[:9])
        for wrong in (10, -1):
            with pytest.raises(ValueError, match=f"must hold positions 0 to 9, got {wrong}"):
                call([*places[:9], [wrong]])
    for wrong in (400.0, -200.0, np.nan):
        images = DIGITS.astype(np.float32)
        images[:, 0, 0] = wrong
        with pytest.raises(ValueError, match="must be bytes, or floats to 1 or to 255, got"):
            generate_image(images, places, [9], WIDE, 90)


def test_a_function_that_fails_takes_no_numbers(little: dict[str, NDArray[Any]]) -> None:
    calls = iter(range(10**6))

    def fails(image: NDArray[Any]) -> NDArray[Any]:
        return image if next(calls) < 5 else image[:5]

    driver = SeqGen()
    with pytest.raises(ValueError, match="must keep the shape"):
        driver.augment_dataset(10, preprocessing_function=fails)
    again, fresh = driver.augment_dataset(10), SeqGen().augment_dataset(10)
    assert np.array_equal(again.images, fresh.images)


def test_a_refused_seed_takes_no_number() -> None:
    before = api._turns.next
    with pytest.raises(ValueError, match="seed must be at least 0"):
        space_generator(3, 120, 28, WIDE, seed=-1)
    assert api._turns.next == before


def test_numbers_that_others_took_meanwhile_stay_taken() -> None:
    turns = api.Turns()
    with pytest.raises(KeyError), turns.lend(3) as first:
        assert first == 0 and turns.take(2) == 3
        raise KeyError
    with pytest.raises(KeyError), turns.lend(3) as first:
        assert first == 5
        raise KeyError
    assert turns.take(1) == 5


def test_an_archive_is_named_with_its_ending_or_without(little: dict[str, NDArray[Any]]) -> None:
    made = SeqGen(gen_dataset_name="mine.npz").generate_random_sequence(2, 3, WIDE, 120)
    assert made.archive == Path("aug_gen_data/mine.npz") and made.archive.is_file()


def test_a_file_in_the_place_of_a_folder_is_named(here: Path) -> None:
    write_data(DIGITS, LABELS)
    Path("aug_gen_data").write_text("mine")
    driver = SeqGen()
    with pytest.raises(FileExistsError, match="aug_gen_data can't be a folder, there is a file"):
        driver.horizontal_seq_gen("12", WIDE, 90)
    assert Path("aug_gen_data").read_text() == "mine" and driver.turns.next == 0


def test_a_folder_that_cant_be_written_to_is_named_before_any_work(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(DIGITS, LABELS)
    driver = SeqGen()

    def refused(dir: Path) -> None:
        raise PermissionError(13, "no", str(dir))

    monkeypatch.setattr(api, "TemporaryFile", refused)
    monkeypatch.setattr(DigitSequences, "batch", lambda *_: pytest.fail("work was done"))
    monkeypatch.setattr(Augment, "fit", lambda *_: pytest.fail("work was done"))
    calls: list[Callable[[], Any]] = [
        lambda: driver.horizontal_seq_gen("12", WIDE, 90),
        lambda: driver.generate_random_sequence(3, 2, WIDE, 90),
        lambda: driver.augment_dataset(9, zca_whitening=True),
    ]
    for call, folder in zip(calls, ("gen_data", "aug_gen_data", "keras_data"), strict=True):
        with pytest.raises(PermissionError, match=f"{folder} can't be written to: work in another"):
            call()
    assert driver.turns.next == 0 and driver.augmented.next == 0


def test_a_function_of_ones_own_gets_images_of_rank_three(here: Path) -> None:
    write_data(DIGITS, LABELS)
    shapes = set()

    def darker(image: NDArray[Any]) -> NDArray[Any]:
        shapes.add(image.shape)
        return image[:, :, 0:1] / 2

    plain, dark = (
        SeqGen().augment_dataset(20, preprocessing_function=function).images
        for function in (None, darker)
    )
    assert shapes == {(28, 28, 1)} and plain.shape == dark.shape == (20, 28, 28)
    assert np.allclose(dark, plain / 2, atol=1e-3)


def test_archives_go_into_the_functions(here: Path) -> None:
    write_data(DIGITS, LABELS)
    with np.load(SeqGen().augment_dataset(300).archive) as archive:
        images, labels = archive["arr_0"], archive["arr_1"]
    places = label_mapping(labels.reshape(-1, 1))
    assert places == label_mapping(labels.ravel())
    deep, flat = (images.reshape(-1, 28, 28, *end) for end in ((1,), ()))
    one, other = (generate_image(each, places, "2417", WIDE, 200, index=3) for each in (deep, flat))
    assert np.array_equal(one, other)
    for each in (deep, flat):
        made, digits = generate_random_sequence(3, 4, each, places, WIDE, index=0)
        assert made.shape[0] == 3 and digits.shape == (3, 4)
    with pytest.raises(
        ValueError, match=r"images must be .n, h, w. or .n, h, w, 1., got .300, 784"
    ):
        generate_image(flat.reshape(300, -1), places, "2417", WIDE, 200)


def test_the_module_explains_itself_and_does_nothing_else(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = python("-m", "digitseq.api", "--help", folder=empty)
    assert done.returncode == 0 and "three folders" in " ".join(done.stdout.split())
    assert list(empty.iterdir()) == []


# Augmented digits


def test_too_few_augmented_digits_say_how_to_get_more(little: dict[str, NDArray[Any]]) -> None:
    SeqGen().augment_dataset(3)
    augmented = AugmentedSeqGen()
    with pytest.raises(ValueError, match="no image of .*: make more of them, augment_dataset"):
        augmented.generate_random_sequence_with_keras_data(True, 2, 3)


def test_before_augment_dataset_the_error_says_what_to_do(here: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"keras_augmented_data.npz: SeqGen\(\).augment_dat"
    ):
        AugmentedSeqGen()
    assert contents(here) == {}


@pytest.mark.parametrize("scale", [0.0001, 1.0, 1 / 255])
def test_an_archive_of_the_original_is_read(little: dict[str, NDArray[Any]], scale: float) -> None:
    os.mkdir(constants.KERAS_SAVE_DIR)
    images = (little["images"] * np.float32(scale))[..., None]
    np.savez("keras_data/keras_augmented_data", images, little["labels"])
    augmented = AugmentedSeqGen()
    assert augmented.images.shape == (60, 28, 28)
    assert (augmented.glyphs.images == little["images"]).all()
    made = augmented.generate_random_sequence_with_keras_data(False, 5, 4, WIDE, 150)
    assert 0.9 < made.images.max() <= 1


GOOD = {"arr_0": np.zeros((10, 28, 28), np.float32), "arr_1": np.arange(10)}


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"images": GOOD["arr_0"]}, "must hold images"),
        (GOOD | {"arr_0": np.zeros((10, 784))}, r"must hold images .* got \(10, 784\)"),
        (GOOD | {"arr_0": np.zeros((0, 28, 28))}, "must hold images"),
        (GOOD | {"arr_0": np.full((10, 28, 28), np.nan)}, "must hold finite numbers"),
        (GOOD | {"arr_0": np.full((10, 28, 28), "a")}, "must hold images"),
        (GOOD | {"arr_1": np.arange(9)}, "one for each of the 10 images"),
        (GOOD | {"arr_1": np.arange(1, 11)}, "must be 0 to 9, got 10 at position 9"),
        (GOOD | {"arr_1": np.arange(10) / 2}, "must be integers"),
        (GOOD | {"arr_1": np.array([None] * 10)}, "no whole archive"),
    ],
)
def test_an_archive_of_something_else_is_an_error(
    arrays: dict[str, NDArray[Any]], reason: str
) -> None:
    os.mkdir(constants.KERAS_SAVE_DIR)
    path = os.path.join(constants.KERAS_SAVE_DIR, "keras_augmented_data.npz")
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=reason):
        AugmentedSeqGen()
    Path(path).write_bytes(Path(path).read_bytes()[:-40])
    with pytest.raises(ValueError, match="no whole archive"):
        AugmentedSeqGen()


def test_the_figure_is_returned_and_saved_and_opens_no_window(
    little: dict[str, NDArray[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure

    monkeypatch.setattr(plt, "show", lambda *a, **b: pytest.fail("a window was opened"))
    before = plt.get_fignums()
    made = SeqGen().augment_dataset(60)
    figure = AugmentedSeqGen().visualize_generated_aug_dataset()
    assert isinstance(figure, Figure) and plt.get_fignums() == before
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [f"Label: {label}" for label in made.labels[:10]]
    assert figure.path.stem == "".join(map(str, made.labels[:10]))
    with Image.open(figure.path) as picture:
        assert picture.size == (432, 180)
    again = AugmentedSeqGen().visualize_generated_aug_dataset()
    assert again.path.name == f"{figure.path.stem}_1.png"
    assert again.path.read_bytes() == figure.path.read_bytes()


def test_fewer_digits_than_places_are_drawn() -> None:
    write_data(DIGITS[:3], LABELS[:3])
    SeqGen().augment_dataset(3)
    figure = AugmentedSeqGen().visualize_generated_aug_dataset()
    assert len(figure.path.stem) == 3


def test_standardised_digits_can_be_looked_at(little: dict[str, NDArray[Any]]) -> None:
    made = SeqGen().augment_dataset(60, s_center=True, s_std_normalization=True)
    assert made.images.min() < -0.5
    augmented = AugmentedSeqGen()
    assert augmented.glyphs.images.min() == 0 and augmented.glyphs.images.max() == 255


# The functions


@given(st.data())
def test_label_mapping_lists_every_position_once(data: st.DataObject) -> None:
    labels = np.array(data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=60)))
    mapping = label_mapping(labels)
    assert sorted(place for places in mapping for place in places) == list(range(len(labels)))
    assert all((labels[places] == digit).all() for digit, places in enumerate(mapping))
    assert all(places == sorted(places) for places in mapping)


@given(
    st.integers(1, 12), st.integers(8, 60), st.integers(-5, 6), st.integers(0, 12),
    st.integers(1, 900), st.integers(0, 2**62 - 1),
)  # fmt: skip
def test_gaps_lie_in_their_range_and_fit(
    length: int, height: int, low: int, more: int, width: int, index: int
) -> None:
    limits = {"min": low, "max": low + more}
    try:
        gaps = space_generator(length, width, height, limits, index=index)
    except ValueError as error:
        assert "width must be at least" in str(error)
        return
    assert gaps.shape == (length - 1,)
    assert ((gaps >= low) & (gaps <= low + more)).all()
    if length * height + (length - 1) * low <= width:
        assert length * height + gaps.sum() <= width
    assert (gaps == space_generator(length, width, height, limits, index=index)).all()


@pytest.mark.parametrize(("length", "width"), [(1, 28), (4, 200), (5, 145), (7, 150), (10, 200)])
def test_functions_and_class_make_the_same_images(
    little: dict[str, NDArray[Any]], length: int, width: int
) -> None:
    driver = SeqGen(seed=6)
    made = driver.generate_random_sequence(8, length, WIDE, width)
    data = (driver.dataset_images, driver.label_maps)
    images, digits = generate_random_sequence(8, length, *data, WIDE, width, seed=6, index=0)
    assert (images == made.images).all() and (digits == made.labels).all()
    for k, row in enumerate(digits):
        alone = generate_image(*data, row, WIDE, width, seed=6, index=k)
        assert (alone == made.images[k]).all()
    one = SeqGen(seed=6).horizontal_seq_gen(digits[0], WIDE, width)
    assert (one.images[0] == made.images[0]).all()


@pytest.mark.parametrize("top", [1, 255])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_come_back_on_the_scale_of_the_data_set(
    little: dict[str, NDArray[Any]], top: int, dtype: Any
) -> None:
    images, mapping = little["images"], label_mapping(little["labels"])
    wanted = generate_image(images, mapping, "2417", WIDE, 200, index=3)
    scaled = images.astype(dtype) / (255 // top)
    found = generate_image(scaled, mapping, "2417", WIDE, 200, index=3)
    assert found.dtype == np.float32 and np.allclose(found * (255 / top), wanted, atol=1e-4)
    many, _ = generate_random_sequence(3, 4, scaled, mapping, WIDE, index=0)
    assert many.shape == (3, 28, 4 * 28 + 3 * 10) and top / 2 < many.max() <= top


def test_a_mapping_of_ones_own_is_kept_to() -> None:
    images = np.zeros((6, 28, 28), np.uint8)
    images[:] = np.arange(10, 70, 10, dtype=np.uint8)[:, None, None]
    mapping = [[5]] + [[2, 3]] * 9
    image = generate_image(images, mapping, "0" * 3, {"min": 2, "max": 2}, 88)
    assert set(np.unique(image)) == {0, 60}
    many, _ = generate_random_sequence(40, 3, images, mapping, {"min": 2, "max": 2}, 88)
    assert set(np.unique(many)) == {0, 30, 40, 60}


def test_an_image_of_another_height_has_digits_of_that_height() -> None:
    images = np.full((10, 28, 28), 255, np.uint8)
    mapping = label_mapping(np.arange(10))
    image = generate_image(images, mapping, "25", {"min": 4, "max": 4}, 120, image_height=42)
    assert image.shape == (42, 120) and (image == 255).sum() == 2 * 42 * 42


def test_functions_without_an_index_go_on() -> None:
    glyphs = load_sample()
    mapping = label_mapping(glyphs.labels)
    images = [generate_image(glyphs.images, mapping, "2417", WIDE, 200) for _ in range(5)]
    assert len({image.tobytes() for image in images}) == 5


@pytest.mark.parametrize(
    "call",
    [
        lambda: label_mapping([[1, 2]]),
        lambda: label_mapping(["7"]),
        lambda: label_mapping([-1]),
        lambda: space_generator(0, 200, 28, WIDE),
        lambda: space_generator(4, 200, 0, WIDE),
        lambda: space_generator(4, 200, 28, WIDE, seed=-1),
        lambda: space_generator(4, 200, 28, WIDE, index=-1),
        lambda: generate_image(DIGITS, [[0]] * 9, "1", WIDE, 60),
        lambda: generate_image(DIGITS - 0.5, [[0]] * 10, "1", WIDE, 60),
        lambda: generate_image(DIGITS.reshape(10, 784), [[0]] * 10, "1", WIDE, 60),
        lambda: generate_random_sequence(0, 4, DIGITS, [[0]] * 10, WIDE),
        lambda: generate_random_sequence(10**12, 4, DIGITS, [[0]] * 10, WIDE),
        lambda: generate_random_sequence(2, 4, DIGITS, [[0]] * 9 + [[]], WIDE),
    ],
)
def test_functions_refuse_nonsense(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        call()


def test_shrinking_is_logged_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", logger="digitseq"):
        SeqGen().generate_random_sequence(1, 10, WIDE, 200)
    levels = {record.levelno for record in caplog.records if "shrunk to 15 px" in record.message}
    assert levels == {logging.WARNING}
