"""The made-up problem on top of a predictor: its cost is the predictor's, and only the network matters."""

import numpy as np
import pytest

import predictors
from device_profiles.errors import UsageError
from nas.benchmark import problems, scoring
from predictors.differentiable import NetworkCost


@pytest.fixture(scope="module")
def problem(latency):
    return problems.load("predicted", folder=str(latency))


def test_the_cost_is_the_predictors_and_is_known(problem, latency, small):
    archs = small.sample(50, np.random.default_rng(0))
    assert problem.objectives == ("error", "latency") and problem.known == (1,) and problem.space.spec == small.spec
    assert problem.search(archs)[:, 1].tolist() == predictors.load(latency).predict(archs).value.tolist()


def test_what_is_slow_is_better(latency, small):
    costs = problems.load("predicted", folder=str(latency), pairs=0).report(small.sample(300, np.random.default_rng(1)))
    assert np.corrcoef(costs.T)[0, 1] < -0.2


def test_the_error_is_of_the_network_between_its_bounds(problem, small):
    archs = small.sample(300, np.random.default_rng(1))
    error = problem.report(archs)[:, 0]
    assert error.tolist() == problem.report(small.canonical(archs))[:, 0].tolist()
    assert (error > 5).all() and (error < 35).all() and np.ptp(error) > 3
    costs = problem.normalised(problem.report(archs))
    assert (costs > -1e-9).all() and (costs < 1 + 1e-9).all()
    assert set(scoring.score(problem, archs[:20], [20])[20]) == {"hypervolume", "distinct"}


def test_a_seed_is_a_problem(latency, small):
    archs = small.sample(30, np.random.default_rng(0))
    first, again, other = (
        problems.load("predicted", folder=str(latency), seed=seed).search(archs)[:, 0] for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).all()


@pytest.mark.parametrize("options", [{"pairs": -1}, {"seed": -1}])
def test_what_is_no_problem_is_refused(latency, options):
    with pytest.raises(UsageError, match="predicted needs pairs >= 0"):
        problems.load("predicted", folder=str(latency), **options)


def test_a_predictor_of_no_space_is_refused(small, latency, tmp_path):
    archs = small.sample(60, np.random.default_rng(0))
    cost = NetworkCost.fit(small.choices, archs, predictors.load(latency).predict(archs).value, steps=20)
    cost.save(tmp_path / "cost")
    with pytest.raises(UsageError, match="of which space"):
        problems.load("predicted", folder=str(tmp_path / "cost"))
