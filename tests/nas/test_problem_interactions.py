"""The made-up problem of main effects and interactions, by what defines it."""

import numpy as np
import pytest

from device_profiles.errors import UsageError
from nas.benchmark import problems, scoring


def mixed(values, archs, left, right):
    """Second differences by two genes, `(n,)`: 0 where the effects of both add up."""
    found = []
    for one, two in ((0, 0), (1, 1), (0, 1), (1, 0)):
        rows = archs.copy()
        rows[:, left], rows[:, right] = one, two
        found.append(values(rows))
    return found[0] + found[1] - found[2] - found[3]


def score(problem):
    """The score behind the error, up to a line."""
    return lambda archs: np.log(30 / (problem.search(archs)[:, 0] - 5) - 1)


def test_latency_adds_up_and_is_known():
    problem = problems.load("interactions", genes=6, options=4, pairs=9)
    archs = np.random.default_rng(0).integers(0, 4, size=(50, 6))
    assert problem.known == (1,) and problem.choices == (4,) * 6
    gaps = mixed(lambda rows: problem.search(rows)[:, 1], archs, 0, 3)
    np.testing.assert_allclose(gaps, 0, atol=1e-12)


def test_only_pairs_that_interact_do_not_add_up():
    archs = np.random.default_rng(0).integers(0, 3, size=(40, 5))
    alone = problems.load("interactions", genes=5, options=3, pairs=0)
    together = problems.load("interactions", genes=5, options=3, pairs=2)
    pairs = [(i, j) for i in range(5) for j in range(i)]
    assert all(np.abs(mixed(score(alone), archs, *pair)).max() < 1e-9 for pair in pairs)
    interact = [pair for pair in pairs if np.abs(mixed(score(together), archs, *pair)).max() > 1e-6]
    assert 1 <= len(interact) <= 2


def test_costs_lie_within_what_normalises_them():
    problem = problems.load("interactions", seed=3)
    assert problem.choices == (9,) * 22 and problem.front is None
    costs = problem.normalised(problem.report(np.random.default_rng(0).integers(0, 9, size=(2000, 22))))
    assert (costs > 0).all() and (costs < 1).all()
    assert np.corrcoef(costs.T)[0, 1] < -0.3, "what is slow is better"
    found = scoring.score(problem, np.random.default_rng(1).integers(0, 9, size=(20, 22)), [20])
    assert set(found[20]) == {"hypervolume", "distinct"}


def test_a_seed_is_a_problem():
    archs = np.random.default_rng(0).integers(0, 9, size=(30, 22))
    first, again, other = (problems.load("interactions", seed=seed).search(archs) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).all()


@pytest.mark.parametrize("options", [{"genes": 1}, {"options": 1}, {"pairs": -1}, {"seed": -1}])
def test_what_is_no_problem_is_refused(options):
    with pytest.raises(UsageError, match="interactions needs genes >= 2"):
        problems.load("interactions", **options)


def test_genes_are_counted():
    with pytest.raises(UsageError, match=r"genes must be a whole number, got 2\.0"):
        problems.load("interactions", genes=2.0)
