"""The command line: every option, every exit code, every error in one line, nothing left behind."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digitseq.cli import half_blocks, main
from digitseq.generating import DigitSequences
from digitseq.loading import load_sample
from digitseq.saving import load, read_manifest, verify
from digitseq.specifying import SequenceSpec

ROOT = Path(__file__).resolve().parents[1]
MNIST = os.environ.get("DIGITSEQ_MNIST")
needs_mnist = pytest.mark.skipif(
    not MNIST, reason="the MNIST files are not here: set DIGITSEQ_MNIST to their folder"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def run(line: str) -> int:
    """Type a line."""
    return main(shlex.split(line))


def in_process(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Type a line in a process of its own, as the installed command does."""
    code = "import sys; from digitseq.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **environment},
    )


def test_the_command_of_the_readme_makes_a_data_set_and_says_so(here: Path) -> None:
    done = in_process("generate", "digits", "--num-samples", 1000)
    assert done.returncode == 0
    assert "1.00k/1.00k" in done.stderr
    first, look, read, check, use = done.stdout.splitlines()
    assert read == f"read    {Path('digits') / 'README.md'}"
    assert first.startswith("1,000 sequences (train 1,000) are in digits, ")
    assert Path(look.split()[1].rstrip(",")).is_file()
    assert main(shlex.split(check)[2:]) == 0
    assert "dsq.load('digits', split='train')" in use
    assert len(list((here / "digits" / "train").glob("*.png"))) == 1000


OPTIONS: dict[str, dict[str, Any]] = {
    "--num-samples 7": {"num_samples": 7},
    "--length 3": {"length": 3},
    "--length 2:4": {"length": (2, 4)},
    "--text 007 --text 42": {"texts": ("007", "42"), "length": None},
    "--width 300": {"width": 300},
    "--height 40": {"height": 40},
    "--spacing 2:5": {"spacing": (2, 5)},
    "--spacing -3:5": {"spacing": (-3, 5)},
    "--width 170 --fill justify": {"width": 170, "fill": "justify"},
    "--width 200 --align random": {"width": 200, "align": "random"},
    "--measure ink": {"measure": "ink"},
    "--width 100 --overflow shrink": {"width": 100, "overflow": "shrink"},
    "--length 2 --unique": {"length": 2, "unique": True},
    "--ink black": {"ink": "black"},
    "--dtype float32": {"dtype": "float32"},
    "--seed 18446744073709551615": {"seed": 2**64 - 1},
    "--seed 0": {"seed": 0},
}


@pytest.mark.parametrize("line", OPTIONS)
def test_every_option_of_a_spec_does_what_the_field_does(line: str) -> None:
    few = "" if "num-samples" in line else " --num-samples 3"
    assert run(f"generate out --format npz --quiet {line}{few}") == 0
    spec = SequenceSpec(**{"num_samples": 3, "split": "train", **OPTIONS[line]})
    data = load("out")
    assert data.spec == spec
    assert data[:].sha256 == DigitSequences(load_sample("train"), spec)[:].sha256


def test_the_other_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate a --num-samples 5 --split test --shard-size 2 --quiet") == 0
    assert capsys.readouterr().err == ""
    manifest = read_manifest("a")
    assert (manifest.format, len(manifest.shards), [*manifest.specs]) == ("png", 3, ["test"])
    assert load("a")[:].sha256 == DigitSequences(load_sample("test"), SequenceSpec(5))[:].sha256
    assert run("generate a --num-samples 4 --overwrite --format npz --workers 1") == 0
    assert "4.00/4.00" in capsys.readouterr().err
    assert read_manifest("a").format == "npz"
    assert verify("a", deep=True).ok


def test_a_spec_in_a_file_and_options_beside_it(here: Path) -> None:
    spec = SequenceSpec(num_samples=3, length=2, width=90, seed=5, split="test")
    Path("spec.json").write_text(spec.to_json())
    assert run("generate a --spec spec.json --quiet") == 0
    assert load("a").spec == spec
    assert run("generate b --spec spec.json --seed 6 --split train --quiet") == 0
    assert load("b").spec == spec.replace(seed=6, split="train")


def test_splits_are_disjoint() -> None:
    assert run("generate out --splits train=8,validation=3,test=2 --length 2:6 --quiet") == 0
    sources = {}
    for split, count in (("train", 8), ("validation", 3), ("test", 2)):
        batch = load("out", split)[:]
        assert len(batch) == count
        sources[split] = set(batch.sources[batch.sources >= 0].tolist())
        assert sources[split] <= set(load_sample(split).ids.tolist())
    assert not sources["train"] & sources["test"] and not sources["validation"] & sources["test"]


def test_a_recipe_is_made_again_and_proved_the_same(here: Path) -> None:
    assert run("generate a --splits train=8,test=3 --shard-size 5 --format npz --quiet") == 0
    Path("post.json").write_bytes(Path("a/recipe.json").read_bytes())
    assert run("generate b --recipe post.json --quiet") == 0
    assert run("verify b --deep") == 0
    names = sorted(path.name for path in Path("a").iterdir())
    assert names == sorted(path.name for path in Path("b").iterdir())
    assert all(
        (here / "a" / name).read_bytes() == (here / "b" / name).read_bytes() for name in names
    )


BAD = {
    "generate out --width 20": "width must be at least 140 for 5 digits",
    "generate out --width 0": "width must be at least 1",
    "generate out --num-samples 0": "num_samples must be at least 1, got 0",
    "generate out --num-samples many": "--num-samples",
    "generate out --spacing 9:1": "spacing must ascend",
    "generate out --spacing 5": "spacing must be two integers",
    "generate out --spacing 1:2:3": "--spacing takes one integer or two",
    "generate out --length five": "--length takes integers, got 'five'",
    "generate out --length ''": "--length takes integers, got ''",
    "generate out --length 6:2": "swap them",
    "generate out --text 12a4": "text 0",
    "generate out --text ''": "text 0",
    "generate out --text 12 --length 3": "length follows from the texts",
    "generate out --seed -1": "seed must be at least 0",
    "generate out --seed 18446744073709551616": "seed must be at most",
    "generate out --fill juztify": "did you mean 'justify'",
    "generate out --width 500 --fill justify": "width must be",
    "generate out --length 1 --unique --num-samples 11": "at most 10 for unique texts",
    "generate out --writer same": "writer",
    "generate out --format jpg": "webdataset, got 'jpg': did you mean 'png'?",
    "generate out --source mnits": "source must be sample or mnist",
    "generate out --split trian": "did you mean 'train'",
    "generate out --splits train": "--splits takes NAME=COUNT",
    "generate out --splits train=0": "the size of train must be at least 1",
    "generate out --splits train=5,all=5": "share",
    "generate out --splits train=5 --num-samples 5": "--splits and --num-samples exclude",
    "generate out --splits train=5 --split test": "--splits and --split exclude each other",
    "generate out --root .": "--root is where MNIST lies",
    "generate out --shard-size 0": "shard_size must be at least 1",
    "generate out --workers 0": "workers must be at least 1",
    "generate out --spec nowhere.json": "No such file or directory: nowhere.json",
    "generate out --spec broken.json": "--spec broken.json is no JSON",
    "generate out --spec deep.json": "--spec deep.json is no JSON",
    "generate out --spec list.json": "--spec list.json must hold an object",
    "generate out --spec typo.json": "did you mean 'width'",
    "generate out --spec newer.json": "version 99",
    "generate out --recipe list.json": "--recipe list.json must hold an object",
    "generate out --recipe typo.json": "recipe.json makes no sense",
    "generate out --recipe typo.json --seed 1": "--recipe and --seed exclude each other",
    "generate out --recipe typo.json --format png": "--recipe and --format exclude each other",
    "generate out --lenght 3": "No such option: --lenght",
    "generate": "Missing argument",
    "generate out another": "unexpected extra argument",
    "generate broken.json": "broken.json is a file: name a folder",
    "generate .": "holds other files (broken.json",
    "genrate out": "No such command",
    "verify nowhere": "nowhere is no folder",
    "verify . --root .": "--root is where --deep finds MNIST",
    "show nowhere": "nowhere has no manifest.json",
    "show . --count 0": "--count",
}  # fmt: skip


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    here: Path, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"broken": "{", "deep": "[" * 10**5, "list": "[1]", "typo": '{"widht": 9}'}
    for name, text in (files | {"newer": '{"spec_version": 99}'}).items():
        (here / f"{name}.json").write_text(text)
    before = sorted(here.rglob("*"))
    assert run(line) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1
    assert BAD[line] in shown.err
    assert sorted(here.rglob("*")) == before


def test_another_data_set_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("generate out --num-samples 2 --quiet") == 0
    assert run("generate out --num-samples 2 --quiet") == 0
    assert run("generate out --num-samples 3 --quiet") == 2
    assert "holds another data set" in capsys.readouterr().err


def test_verify_says_what_is_wrong_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    run("generate out --num-samples 3 --quiet")
    capsys.readouterr()
    assert run("verify out") == run("verify out --deep") == 0
    assert capsys.readouterr().out.splitlines() == [
        "out: 3 samples read and compared, all as they should be",
        "out: 3 samples made again and compared, all as they should be",
    ]
    Path("out/labels.csv").unlink()
    assert run("verify out") == 1
    assert capsys.readouterr().out == "out: 1 problem\nlabels.csv is missing\n"
    Path("out/manifest.json").unlink()
    assert run("verify out") == 1
    assert "it is unfinished: save it again to go on" in capsys.readouterr().out


@pytest.mark.parametrize("ink", ["white", "black"])
def test_show_draws_ink_and_texts(ink: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(f"generate out --num-samples 2 --text 007 --ink {ink} --quiet")
    capsys.readouterr()
    assert run("show out") == 0
    shown = capsys.readouterr().out
    assert shown.count(": 007\n") == 2
    image = load("out")[0].image
    assert half_blocks(255 - image if ink == "black" else image, 99) in shown
    assert "digitseq verify out --deep" in shown


def test_a_terminal_without_blocks_gets_letters() -> None:
    assert run("generate out --num-samples 1 --quiet") == 0
    done = in_process("show", "out", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "#" in done.stdout and "█" not in done.stdout


def test_half_blocks_thin_wide_pictures() -> None:
    wide = np.zeros((28, 1000), np.uint8)
    wide[:, 500] = 255
    lines = half_blocks(wide, 100).split("\n")
    assert len(lines) == 2 and {len(line) for line in lines} == {51}


def test_help_is_there_for_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    usage = capsys.readouterr().out
    for command in ("generate", "verify", "show", "download"):
        assert command in usage
        assert run(f"{command} --help") == 0
        assert f"Usage: digitseq {command}" in capsys.readouterr().out


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys; from digitseq.cli import main;"
        "code = main(['generate', 'out', '--num-samples', '2']);"
        "heavy = {'matplotlib', 'ipywidgets', 'IPython', 'tensorflow', 'pandas', 'click'};"
        "print(code, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    heavy = done.stdout.splitlines()[-1]
    assert heavy in ("0 []", "0 ['click']")  # older typers stand on click
    assert "2.00/2.00" in done.stderr


@needs_mnist
def test_mnist_from_a_folder() -> None:
    assert run(f"generate out --source mnist --root {MNIST} --splits train=4,test=3 --quiet") == 0
    assert run(f"verify out --deep --root {MNIST}") == 0
    assert load("out", "test")[:].sources.max() >= 60_000
    recipe = json.loads(Path("out/recipe.json").read_bytes())
    assert recipe["splits"]["test"]["glyphs"]["count"] == 10_000


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    import digitseq

    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == f"digitseq {digitseq.__version__}"


def test_a_reader_who_has_seen_enough_is_no_error(here: Path) -> None:
    assert run("generate set --num-samples 40 --quiet") == 0
    code = "import sys; from digitseq.cli import main; sys.exit(main())"
    shown = subprocess.Popen(
        [sys.executable, "-c", code, "show", "set", "--count", "40"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    assert shown.stdout is not None and shown.stderr is not None
    shown.stdout.close()
    assert (shown.wait(timeout=120), shown.stderr.read()) == (0, b"")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--width 65536 --height 65536", "at most 16777216 pixels, got 65536 x 65536"),
        ("--width 4000 --height 4000", "shard_size must be at most 134 for images of 4000 x 4000"),
    ],
)
def test_what_would_fill_the_memory_is_refused(
    line: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"generate large {line}") == 2
    assert message in capsys.readouterr().err and not list(here.iterdir())


def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    words = ["generate", str(tmp_path / "digits"), "--num-samples", "4", "--format", "parquet"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        "error: pyarrow is missing: pip install 'digitseq[parquet]'\n"
    )
    assert not (tmp_path / "digits").exists()
