"""Scores against pymoo's indicators and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from pymoo.indicators.gd_plus import GDPlus
from pymoo.indicators.hv import HV

from device_profiles.errors import UsageError
from nas.benchmark import problems, scoring
from nas.pareto import indicators

FRONT = np.array([[0.0, 1.0], [0.25, 0.5], [0.5, 0.25], [1.0, 0.0]])


def test_gd_plus_is_that_of_pymoo():
    rng = np.random.default_rng(0)
    points = rng.random((30, 3))
    front = rng.random((20, 3)) * 0.5
    mine = points[indicators.nondominated(points)]
    assert indicators.gd_plus(points, front) == pytest.approx(GDPlus(front)(mine))
    assert indicators.gd_plus(np.full((2, 3), np.nan), front) == np.inf


def test_coverage_and_distinct_by_hand():
    points = np.array([[0.25, 0.5], [0.25, 0.5], [0.6, 0.2], [0.7, 0.9]])
    assert indicators.distinct(points) == 2
    assert indicators.coverage(points, FRONT) == pytest.approx(1 / 4)
    assert indicators.coverage(FRONT, points) == pytest.approx(3 / 4)


def test_regret_by_hand():
    found = np.array([[0.3, 0.5], [0.9, 0.1]])
    # Bound 0.25: 0.9 against 0.5; bound 0.6: 0.3 against 0.25; bound 1: 0.3 against 0; bound 0.05: 1 against 1.
    assert indicators.regret(found, FRONT, np.array([0.25])) == pytest.approx(0.4)
    assert indicators.regret(found, FRONT, np.array([0.25, 0.6, 1.0, 0.05])) == pytest.approx(
        (0.4 + 0.05 + 0.3 + 0) / 4
    )
    assert indicators.regret(FRONT, FRONT, np.array([0.3, 0.9])) == 0
    with pytest.raises(UsageError, match="two objectives"):
        indicators.regret(found, FRONT, np.array([-0.1]))


def test_scores_over_evaluations_are_those_of_the_points_so_far():
    problem = problems.load("zdt1", genes=5, options=51)
    archs = np.random.default_rng(0).integers(0, 51, size=(300, 5))
    archs[:, 1:] //= 20
    found = scoring.score(problem, archs, [10, 100, 300, 1000])
    assert list(found) == [10, 100, 300]
    front = problem.normalised(problem.front)
    for count, scores in found.items():
        costs = problem.normalised(problem.report(archs[:count]))
        volume = HV(ref_point=np.ones(2))(costs)
        assert scores["hypervolume"] == pytest.approx(volume)
        assert scores["ratio"] == pytest.approx(volume / HV(ref_point=np.ones(2))(front))
        assert scores["distinct"] == len(np.unique(costs[indicators.nondominated(costs)], axis=0))
        assert scores["igd_plus"] == pytest.approx(indicators.igd_plus(costs, front))
        assert set(scores) == set(scoring.SCORES) - {"recall"}  # the front is a sample of a continuous one
    volumes = [scores["hypervolume"] for scores in found.values()]
    assert volumes == sorted(volumes) and volumes[0] < volumes[-1]


def test_the_exact_front_scores_best():
    problem = problems.load("dtlz2", objectives=3, genes=4, options=11)
    places = np.stack(np.meshgrid(np.arange(11), np.arange(11)), axis=-1).reshape(-1, 2)
    archs = np.concatenate([places, np.full((len(places), 2), 5)], axis=1)
    scores = scoring.score(problem, archs, [len(archs)])[len(archs)]
    assert scores["gd_plus"] < 0.02 and scores["ratio"] > 0.85 and "regret" not in scores


def test_what_counts_nothing_has_no_distance():
    problem = replace(problems.load("zdt4"), report=lambda archs: np.full((len(archs), 2), np.nan), sampled=False)
    scores = scoring.score(problem, np.full((3, 10), 999), [0, 3])
    assert scores[0] == scores[3] and set(scores[3]) == {"hypervolume", "distinct", "ratio", "recall", "regret"}
    assert scores[3]["hypervolume"] == 0 and scores[3]["ratio"] == 0 and scores[3]["recall"] == 0
    assert 0 < scores[3]["regret"] < 1  # the worst of the front stands for what was not found


def test_points_beyond_the_reference_score_no_volume_and_have_a_distance():
    problem = problems.load("zdt4")
    scores = scoring.score(problem, np.full((3, 10), 999), [3])[3]
    assert scores["hypervolume"] == 0 and scores["ratio"] == 0 and scores["igd_plus"] > 1
