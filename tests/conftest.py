"""What every test leans on: the same random cases each time, small glyphs, no silent skips."""

import gc
import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from digitseq.core import Glyphs

# The same cases on every machine and in every run. To look for new ones:
# pytest --hypothesis-profile=explore
settings.register_profile(
    "fixed",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("fixed")

REQUIRED = os.environ.get("DIGITSEQ_REQUIRE", "").split()
Report = pytest.TestReport | pytest.CollectReport


def fail_if_required(report: Report) -> Report:
    """Turn a skip for want of a package that DIGITSEQ_REQUIRE names into a failure."""
    reason = str(report.longrepr[-1]) if isinstance(report.longrepr, tuple) else ""
    if report.skipped and any(name in reason for name in REQUIRED):
        report.outcome = "failed"
        report.longrepr = f"DIGITSEQ_REQUIRE does not allow this skip: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return fail_if_required((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return fail_if_required((yield))


def pytest_unconfigure() -> None:
    """Spare the shells of the notebooks that ran, which all tidy up at the end, a full search."""
    gc.freeze()


@pytest.fixture(scope="session")
def make_glyphs() -> Callable[..., Glyphs]:
    """Make a small set: every class equally often, each glyph one rectangle of ink."""

    def make(n: int = 30, height: int = 8, width: int = 6, seed: int = 0, **columns) -> Glyphs:
        rng = np.random.default_rng(seed)
        images = np.zeros((n, height, width), np.uint8)
        for image in images:
            x0, y0 = rng.integers(0, (width, height))
            x1, y1 = rng.integers((x0, y0), (width, height)) + 1
            image[y0:y1, x0:x1] = rng.integers(1, 256, (y1 - y0, x1 - x0))
        given = {"images": images, "labels": np.arange(n) % 10, "ids": np.arange(n)}
        return Glyphs(**{**given, **columns})

    return make


@pytest.fixture(scope="session")
def toy_glyphs(make_glyphs: Callable[..., Glyphs]) -> Glyphs:
    """Give 30 glyphs of 8 x 6 pixels, three of each digit."""
    return make_glyphs()
