"""Predictors side by side: what searches end with, calibration, and what is refused."""

import numpy as np
import pytest

import device_profiles
import profiler
from device_profiles.errors import InvalidData, UnknownName, UsageError
from predictors import comparison, page
from profiler.probes import probes


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("probes") / "a.db"
    with profiler.Store(path) as opened:
        profiler.measure(
            probes(16, 0),
            target=device_profiles.load("fake"),
            store=opened,
            budget=profiler.Budget(rounds=5, memory=False),
        )
        yield opened


# -- what searches end with, by hand

MEASURED = np.array([1.0, 2.0, 3.0, 4.0])
MACS = np.array([10.0, 20.0, 30.0, 40.0])


def test_a_perfect_predictor_has_no_regret():
    assert comparison.selected(MEASURED, MEASURED, MACS) == comparison.Selected(0.0, 0.0, 0.0, 0.0)


def test_a_predictor_that_promises_too_much_breaks_bounds():
    found = comparison.selected(0.5 * MEASURED, MEASURED, MACS)
    # Bounds 1.3 to 3.7: it takes the network of twice the bound or the largest one, which never fits.
    bounds = np.quantile(MEASURED, comparison.BOUNDS)
    chosen = np.array([MEASURED[bound >= 0.5 * MEASURED].max() for bound in bounds])
    assert found.violations == 1.0 and found.regret == 0.0
    assert found.excess == pytest.approx(np.mean(chosen / bounds - 1))


def test_a_predictor_that_is_too_careful_regrets():
    found = comparison.selected(MEASURED + 1.0, MEASURED, MACS)
    bounds = np.quantile(MEASURED, comparison.BOUNDS)
    assert found.violations == found.excess == 0.0
    assert found.empty == pytest.approx(np.mean(bounds < 2.0))
    expected = [1 - MACS[b >= MEASURED + 1].max() / MACS[b >= MEASURED].max() for b in bounds if b >= 2.0]
    assert found.regret == pytest.approx(np.mean(expected))


# -- the comparison


@pytest.mark.slow
def test_all_are_judged_on_the_same_splits(store):
    found = comparison.compare(("lookup", "lookup"), store, "fake", seeds=2)
    again = comparison.compare(("lookup",), store, "fake", seeds=2)
    assert [row.name for row in found.rows] == ["lookup", "roofline", "linear", "bayesian-linear"]
    assert page.plain(found) == page.plain(again)
    assert (found.networks, found.seeds, found.unit) == (16, 2, "ms") and found.measured.shape == (4,)
    for row in found.rows:
        assert row.predicted.shape == (4,) and not row.failure
        assert {"mape", "within_5", "within_10"} <= row.figures.keys()
    assert found.rows[0].kinds and not found.rows[3].kinds, "without kernels there are no errors of kernels"


def test_a_predictor_that_cannot_be_fitted_says_why(store):
    found = comparison.compare(("graph-network",), store, "fake", seeds=2)
    assert "at least 20" in found.rows[0].failure and "graph-network" in comparison.text(found)


def test_memory_has_no_baselines_and_no_noise(store):
    """The simulated device reports no allocator, so there is nothing to compare on."""
    with pytest.raises(InvalidData, match="0 networks of target 'fake' with memory"):
        comparison.compare(("simulation",), store, "fake", cost="memory")


def test_what_is_refused(store, tmp_path):
    with pytest.raises(UnknownName):
        comparison.compare(("lockup",), store, "fake")
    with pytest.raises(UsageError, match="simulation does not predict latency"):
        comparison.compare(("simulation",), store, "fake")
    with profiler.Store(tmp_path / "b.db") as small:
        target = device_profiles.load("fake")
        profiler.measure(probes(3, 0), target=target, store=small, budget=profiler.Budget(rounds=5, memory=False))
        with pytest.raises(InvalidData, match="3 networks") as caught:
            comparison.compare(("lookup",), small, "fake")
    assert caught.value.hint


def test_levels_are_covered_as_often_as_they_say():
    """Gaussian errors in intervals of the right width: each level holds its share."""
    errors = np.abs(np.random.default_rng(0).standard_normal(200_000))
    for level, inside in comparison._calibration(errors / 1.6448536):
        assert inside == pytest.approx(level, abs=0.005)
