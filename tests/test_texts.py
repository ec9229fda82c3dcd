"""Texts by name: disjoint between splits, and with every pair of digits equally often."""

import json
from collections import Counter
from itertools import combinations, product
from math import gcd
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from digitseq.cli import main
from digitseq.core import Glyphs
from digitseq.generating import DigitSequences
from digitseq.mapping import balanced_round, texts_part
from digitseq.saving import load, recipe_sets, save, verify
from digitseq.specifying import SequenceSpec

FALSE_ALARM = 1e-6  # of every chi-square test, were its seed not fixed
SPLITS = ("train", "validation", "test", "all")


@pytest.fixture(scope="module")
def splits(make_glyphs: Any) -> dict[str, Glyphs]:
    names = (*SPLITS, "holdout")
    return {
        name: make_glyphs(n=20, height=4, width=4, seed=k, split=name, ids=np.arange(20) + 20 * k)
        for k, name in enumerate(names)
    }


def texts_of(glyphs: Glyphs, count: int, **wishes: Any) -> list[str]:
    spec = SequenceSpec(num_samples=count, height=4, spacing=(0, 0), **wishes)
    return DigitSequences(glyphs, spec)[:].texts


# Disjoint


@pytest.mark.parametrize("length", [2, 3, (2, 3), (1, 4)])
@pytest.mark.parametrize("seed", [0, 2**64 - 1])
def test_no_text_is_in_two_splits_nor_twice_in_one(
    splits: dict[str, Glyphs], length: Any, seed: int
) -> None:
    found = {}
    for name in SPLITS:
        capacity = _capacity(splits[name], length)
        drawn = texts_of(splits[name], capacity, length=length, texts="disjoint", seed=seed)
        assert len(set(drawn)) == capacity
        found[name] = set(drawn)
    for one, other in combinations(found.values(), 2):
        assert not one & other
    low, high = length if isinstance(length, tuple) else (length, length)
    assert set().union(*found.values()) <= {
        "".join(word)
        for size in range(low, high + 1)
        for word in product("0123456789", repeat=size)
    }


def _capacity(glyphs: Glyphs, length: Any) -> int:
    """Ask the error how many there are."""
    with pytest.raises(ValueError, match="num_samples must be at most") as caught:
        texts_of(glyphs, 10**6, length=length, texts="disjoint")
    return int(str(caught.value).split("at most ")[1].split()[0])


def test_another_name_is_disjoint_from_the_four(splits: dict[str, Glyphs]) -> None:
    own = set(texts_of(splits["holdout"], 20, length=5, texts="disjoint"))
    assert len(own) == 20
    for name in SPLITS:
        assert not own & set(texts_of(splits[name], 9000, length=5, texts="disjoint"))


def test_shares_are_what_they_are_said_to_be() -> None:
    shares = {name: texts_part(name).width / texts_part(name).step for name in SPLITS}
    assert shares == {"train": 0.6, "validation": 0.1, "test": 0.1, "all": 0.1}


def test_more_samples_move_none(splits: dict[str, Glyphs]) -> None:
    for length in (3, (2, 4)):
        few = texts_of(splits["test"], 7, length=length, texts="disjoint", seed=5)
        assert texts_of(splits["test"], 60, length=length, texts="disjoint", seed=5)[:7] == few


def test_seeds_shuffle_anew(splits: dict[str, Glyphs]) -> None:
    drawn = [
        tuple(texts_of(splits["train"], 50, length=6, texts="disjoint", seed=seed))
        for seed in (0, 1, 2**63)
    ]
    assert len({frozenset(texts) for texts in drawn}) == 3


def test_disjoint_digits_are_uniform(splits: dict[str, Glyphs]) -> None:
    texts = texts_of(splits["train"], 20_000, length=7, texts="disjoint")
    counts = np.array([[text[j] == str(d) for text in texts] for j in range(7) for d in range(10)])
    observed = counts.sum(axis=1).reshape(7, 10)
    statistic = ((observed - 2000) ** 2 / 2000).sum()
    assert chi2.sf(statistic, 7 * 9) > FALSE_ALARM


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"texts": "disjiont"}, "texts must be one of .* did you mean 'disjoint'"),
        ({"texts": "disjoint", "digits": [1] * 10}, "disjoint texts can't follow digit weights"),
        ({"texts": "balanced", "length": (2, 3)}, "balanced texts must have one length"),
        ({"texts": "balanced", "length": 1}, "length of balanced texts must be .* 2"),
        ({"texts": "balanced", "unique": True}, "balanced texts may come again"),
        ({"texts": "balanced", "digits": [1] * 10}, "balanced texts can't follow digit weights"),
        ({"texts": "007"}, r"write texts=\['007'\]"),
        ({"texts": "disjoint", "length": None}, "length must be given"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceSpec(**wishes)


# Balanced


def pairs_in(texts: list[str]) -> Counter[str]:
    return Counter(text[k : k + 2] for text in texts for k in range(len(text) - 1))


@pytest.mark.parametrize("length", [2, 3, 4, 5, 6, 7, 9, 11, 12, 21, 26, 51, 101, 102])
@pytest.mark.parametrize("seed", [0, 7])
def test_every_pair_is_equally_frequent_in_every_round(
    splits: dict[str, Glyphs], length: int, seed: int
) -> None:
    count, times = balanced_round(length)
    assert count == 100 // gcd(100, length - 1) and times * 100 == count * (length - 1)
    texts = texts_of(splits["train"], 3 * count, length=length, texts="balanced", seed=seed)
    assert {len(text) for text in texts} == {length}
    for k in range(3):
        found = pairs_in(texts[k * count : (k + 1) * count])
        assert len(found) == 100 and set(found.values()) == {times}


@given(st.integers(2, 1000))
def test_no_fewer_images_could_be_balanced(length: int) -> None:
    """n texts have n (L - 1) pairs; a hundred pairs share them equally only if 100 divides that."""
    count, _ = balanced_round(length)
    assert min(n for n in range(1, 101) if n * (length - 1) % 100 == 0) == count


def test_rounds_differ_and_are_pure(splits: dict[str, Glyphs]) -> None:
    ds = DigitSequences(
        splits["train"], SequenceSpec(500, 6, height=4, texts="balanced", spacing=(0, 0))
    )
    whole = ds[:].texts
    rounds = [tuple(whole[k : k + 20]) for k in range(0, 500, 20)]
    assert len(set(rounds)) == 25 and len({frozenset(texts) for texts in rounds}) == 25
    order = np.random.default_rng(0).permutation(500)
    assert ds.batch(order).texts == [whole[k] for k in order]
    assert [ds[k].text for k in (0, 19, 20, 499)] == [whole[k] for k in (0, 19, 20, 499)]
    assert texts_of(splits["test"], 20, length=6, texts="balanced") != list(rounds[0])


def test_circuits_are_spread(splits: dict[str, Glyphs]) -> None:
    """Which pair comes first is a matter of chance: 1,500 rounds of texts of two digits."""
    texts = texts_of(splits["train"], 150_000, length=2, texts="balanced")
    observed = np.bincount([int(text) for text in texts[::100]], minlength=100)
    assert chi2.sf(((observed - 15) ** 2 / 15).sum(), 99) > FALSE_ALARM


# Through the rest of the house


@pytest.mark.parametrize("texts", ["disjoint", "balanced"])
def test_they_travel_and_are_saved(tmp_path: Any, splits: dict[str, Glyphs], texts: str) -> None:
    spec = SequenceSpec(12, 3, height=4, texts=texts, seed=3)
    assert SequenceSpec.from_json(spec.to_json()) == spec
    ds = DigitSequences(splits["train"], spec)
    out = save(ds, tmp_path / "out", "npz", 5, progress=False)
    assert verify(out, deep=True, glyphs=splits["train"]).ok
    assert load(out)[:].texts == ds[:].texts
    recipe = json.loads((out / "recipe.json").read_bytes())
    (again,) = recipe_sets(recipe, glyphs=splits["train"])
    assert again[:].texts == ds[:].texts


def test_from_the_command_line(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["generate", str(tmp_path / "out"), "--splits", "train=60,test=10", "--length", "2"]
    assert main([*line, "--texts", "disjoint", "--format", "npz", "--quiet"]) == 0
    found = [set(load(tmp_path / "out", split)[:].texts) for split in ("train", "test")]
    assert len(found[0]) == 60 and len(found[1]) == 10 and not found[0] & found[1]
    assert main(["generate", str(tmp_path / "no"), "--texts", "balanced", "--text", "7"]) == 2
    assert "--texts and --text exclude each other" in capsys.readouterr().err
