"""Fronts under noise against closed forms, scipy, and brute force; how many objectives a front has."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from device_profiles.errors import UsageError
from nas.certainty import dependence, replication
from nas.pareto import dominance, noise

Z = NormalDist()


def uncertain(mean, sd):
    """Costs with normal 90 % intervals."""
    mean = np.asarray(mean, dtype=float)
    half = noise.Z90 * np.broadcast_to(np.asarray(sd, dtype=float), mean.shape)
    return noise.from_intervals(np.arange(len(mean))[:, None], mean, mean - half, mean + half)


def test_membership_of_two_in_one_objective_is_the_normal_integral():
    known = uncertain([[1.0], [1.3]], [[0.2], [0.4]])
    shares = noise.membership(noise.draws(known, np.random.default_rng(0), 40000))
    better = Z.cdf(0.3 / math.hypot(0.2, 0.4))
    assert shares == pytest.approx([better, 1 - better], abs=0.01)


def test_membership_of_two_in_two_objectives_is_a_product():
    # The second is dominated if it is worse in both, which are independent.
    known = uncertain([[1.0, 2.0], [1.3, 2.1]], 0.2)
    worse = Z.cdf(0.3 / math.hypot(0.2, 0.2)) * Z.cdf(0.1 / math.hypot(0.2, 0.2))
    dominates = Z.cdf(-0.3 / math.hypot(0.2, 0.2)) * Z.cdf(-0.1 / math.hypot(0.2, 0.2))
    shares = noise.membership(noise.draws(known, np.random.default_rng(1), 40000))
    assert shares == pytest.approx([1 - dominates, 1 - worse], abs=0.01)


def test_exact_costs_are_on_the_front_or_not():
    costs = np.random.default_rng(0).integers(0, 6, size=(40, 3)).astype(float)
    nothing = np.full(costs.shape, np.nan)
    known = noise.from_intervals(np.zeros((40, 1)), costs, nothing, nothing)
    shares = noise.membership(noise.draws(known, np.random.default_rng(0), 5))
    assert np.array_equal(shares, dominance.nondominated(costs).astype(float))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(1, 4))
def test_membership_is_that_of_the_front_of_each_draw(seed, count, objectives):
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 4, size=(20, count, objectives)).astype(float)
    expected = np.array([dominance.nondominated(one) for one in drawn])
    assert np.array_equal(noise.belongs(drawn), expected)
    rows = rng.permutation(count)[: max(count - 1, 1)]
    assert np.array_equal(noise.membership(drawn, rows), expected[:, rows].mean(axis=0))


def test_the_bootstrap_has_the_standard_error_of_the_mean():
    rng = np.random.default_rng(0)
    costs = [rng.normal(size=(size, 2)) * [1.0, 5.0] for size in (6, 12, 30)]
    known = noise.from_replicates(np.arange(3)[:, None], costs)
    drawn = noise.draws(known, rng, 20000)
    for index, one in enumerate(costs):
        assert drawn[:, index].mean(axis=0) == pytest.approx(one.mean(axis=0), abs=0.06)
        assert drawn[:, index].std(axis=0) == pytest.approx(stats.sem(one, axis=0), rel=0.03)
        # Costs that err together stay together.
        found = np.corrcoef(drawn[:, index].T)[0, 1]
        assert found == pytest.approx(np.corrcoef(one.T)[0, 1], abs=0.04)


def test_few_replicates_pool_their_deviations():
    costs = [np.array([[1.0], [2.0]]), np.array([[5.0], [8.0]]), np.array([[3.0]])]
    known = noise.from_replicates(np.arange(3)[:, None], costs)
    pooled = math.sqrt((0.5 + 4.5) / 2)
    assert known.sd[:, 0] == pytest.approx([pooled / math.sqrt(2), pooled / math.sqrt(2), pooled])
    assert known.pooled.all() and (known.freedom == 2).all()
    drawn = noise.draws(known, np.random.default_rng(0), 20000)
    assert drawn.std(axis=0)[:, 0] == pytest.approx(known.sd[:, 0], rel=0.03)


def test_membership_by_bootstrap_covers_the_truth():
    """Of architectures given a share of p, about that share is on the true front."""
    rng = np.random.default_rng(3)
    given_shares, truly = [], []
    for _ in range(150):
        true = rng.normal(size=(6, 2))
        costs = [mean + 0.4 * rng.normal(size=(4, 2)) for mean in true]
        known = noise.from_replicates(np.arange(6)[:, None], costs)
        given_shares.append(noise.membership(noise.draws(known, rng, 200)))
        truly.append(dominance.nondominated(true))
    shares, on = np.concatenate(given_shares), np.concatenate(truly)
    assert len(shares[(shares > 0.2) & (shares < 0.8)]) > 100
    for low, high in ((0.0, 0.1), (0.2, 0.5), (0.5, 0.8), (0.9, 1.01)):
        here = (shares >= low) & (shares < high)
        assert on[here].mean() == pytest.approx(shares[here].mean(), abs=0.1)


def test_paired_replicates_see_through_what_they_share():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(12, 1)) * 5
    costs = [mean + shared + 0.1 * rng.normal(size=(12, 1)) for mean in (0.0, 0.5)]
    archs = np.arange(2)[:, None]
    blind = noise.from_replicates(archs, costs)
    paired = noise.from_replicates(archs, costs, paired=True)
    assert noise.membership(noise.draws(paired, rng))[0] == 1.0
    assert noise.membership(noise.draws(blind, rng))[0] < 0.8
    assert noise.neighbours(paired)[0].resolved.all() and not noise.neighbours(blind)[0].resolved.any()


def interval(known, confidence):
    _, low, high = noise.differences(known, np.array([0]), np.array([1]), confidence=confidence)
    return [low[0, 0], high[0, 0]]


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
def test_intervals_of_differences_are_those_of_scipy(confidence):
    rng = np.random.default_rng(5)
    archs = np.arange(2)[:, None]
    one, two = rng.normal(size=7), 0.3 + 2 * rng.normal(size=9)
    welch = stats.ttest_ind(two, one, equal_var=False).confidence_interval(confidence)
    known = noise.from_replicates(archs, [one[:, None], two[:, None]])
    assert interval(known, confidence) == pytest.approx([welch.low, welch.high])
    paired = stats.ttest_rel(two[:7], one).confidence_interval(confidence)
    known = noise.from_replicates(archs, [one[:, None], two[:7, None]], paired=True)
    assert interval(known, confidence) == pytest.approx([paired.low, paired.high])
    student = stats.ttest_ind(two[:4], one[:3]).confidence_interval(confidence)
    known = noise.from_replicates(archs, [one[:3, None], two[:4, None]])
    assert interval(known, confidence) == pytest.approx([student.low, student.high])
    half = Z.inv_cdf(0.5 + confidence / 2) * math.hypot(0.1, 0.2)
    assert interval(uncertain([[1.0], [2.0]], [[0.1], [0.2]]), confidence) == pytest.approx([1 - half, 1 + half])


def test_confidence_domination_needs_every_difference_to_exclude_worse():
    # The first, twice; what is surely worse than it; what is surely worse in one and may be better in the other.
    means = [[0.0, 0.0], [1.0, 1.0], [1.0, 0.05], [0.0, 0.0]]
    found = noise.surely_dominates(uncertain(means, 0.1))
    assert found.astype(int).tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    exact = uncertain([[0.0, 1.0], [0.0, 2.0], [0.0, 1.0]], 0.0)
    assert noise.surely_dominates(exact).astype(int).tolist() == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_confidence_domination_errs_as_rarely_as_it_says():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        # Equal in truth: each side is wrongly called better in one objective in 5 % of cases.
        known = noise.from_replicates(np.arange(2)[:, None], [rng.normal(size=(6, 1)) for _ in range(2)])
        wrong += noise.surely_dominates(known).any()
    assert 0.06 < wrong / 400 < 0.14


def test_of_all_claims_of_domination_none_is_wrong_as_often_as_is_said():
    rng, archs = np.random.default_rng(0), np.arange(10)[:, None]
    # One is far better than nine equal ones: of ninety claims nine are right.
    truth = np.zeros((10, 2))
    truth[0] = -50.0
    wrong = 0
    for _ in range(300):
        found = noise.surely_dominates(noise.from_replicates(archs, [one + rng.normal(size=(3, 2)) for one in truth]))
        assert found[0, 1:].all()
        wrong += found[1:].any()
    assert wrong / 300 <= 0.1


def test_neighbours_say_which_orders_are_resolved():
    known = uncertain([[3.0, 0.0], [1.0, 5.0], [1.1, 1.0], [9.0, 9.0]], [[0.1, 0.1], [0.1, 0.1], [0.1, 0.1], [1, 1]])
    pairs = noise.neighbours(known, np.array([0, 1, 2]))
    assert [(pair.first, pair.second) for pair in pairs] == [(1, 2), (2, 0)]
    assert pairs[0].value == pytest.approx([0.1, -4.0])
    assert pairs[0].resolved.tolist() == [False, True] and pairs[1].resolved.tolist() == [True, True]
    along = noise.neighbours(known, np.array([0, 1, 2]), objective=1)
    assert [(pair.first, pair.second) for pair in along] == [(0, 2), (2, 1)]
    tie = noise.neighbours(uncertain([[1.0, 2.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]))[0]
    assert tie.resolved.tolist() == [True, False], "exactly equal is known"


def uncertainty_after(known, row, rng, outer=400, inner=800):
    """Expected sum of p (1 - p) after one more evaluation of a row, by nested simulation of the normal posterior."""
    total = 0.0
    for _ in range(outer):
        sd = known.sd.copy()
        gain = known.sd[row] ** 2 / np.maximum(known.sd[row] ** 2 + known.once[row] ** 2, 1e-300)
        mean = known.mean.copy()
        mean[row] += np.sqrt(gain) * known.sd[row] * rng.standard_normal(mean.shape[1])
        sd[row] *= np.sqrt(1 - gain)
        shares = noise.belongs(mean + sd * rng.standard_normal((inner, *mean.shape))).mean(axis=0)
        total += (shares * (1 - shares)).sum()
    return total / outer


def test_the_recommendation_is_that_of_nested_simulation():
    rng = np.random.default_rng(0)
    known = uncertain(
        [[0.0, 3.0], [0.9, 2.0], [1.0, 2.1], [3.0, 0.5], [5.0, 5.0]],
        [[0.1, 0.1], [0.05, 0.05], [0.6, 0.3], [0.05, 0.05], [0.5, 0.5]],
    )
    drawn = noise.draws(known, rng, 20000)
    shares = noise.membership(drawn)
    now = (shares * (1 - shares)).sum()
    brute = np.array([now - uncertainty_after(known, row, rng) for row in range(5)])
    found = replication.recommend(known, drawn, rng, 5)
    assert found[0].row == int(brute.argmax()) == 2, "the uncertain one next to a certain one"
    assert found[0].gain == pytest.approx(brute[2], rel=0.15)
    assert {one.row for one in found if one.gain > 0.01} <= {0, 1, 2, 3}, "what is far off the front tells nothing"
    assert [one.gain for one in found] == sorted((one.gain for one in found), reverse=True)


def test_recommended_evaluations_make_the_front_more_certain_than_evaluating_at_random():
    rng = np.random.default_rng(0)
    left = {"recommended": [], "random": []}
    for _ in range(12):
        # Four in doubt, and eight that are far off the front.
        true = rng.uniform(3.0, 5.0, size=(12, 2))
        true[:4] = [[0.0, 1.0], [0.2, 1.2], [1.0, 0.0], [1.2, 0.2]]
        for kind, sums in left.items():
            costs = [mean + 0.15 * rng.normal(size=(3, 2)) for mean in true]
            for _ in range(16):
                known = noise.from_replicates(np.arange(12)[:, None], costs)
                drawn = noise.draws(known, rng, 400)
                best = replication.recommend(known, drawn, rng) if kind == "recommended" else []
                row = best[0].row if best else int(rng.integers(12))
                costs[row] = np.concatenate([costs[row], true[row] + 0.15 * rng.normal(size=(1, 2))])
            shares = noise.membership(noise.draws(noise.from_replicates(np.arange(12)[:, None], costs), rng))
            sums.append((shares * (1 - shares)).sum())
    assert np.mean(left["recommended"]) < 0.7 * np.mean(left["random"])


def test_nothing_is_recommended_where_nothing_is_uncertain():
    known = uncertain([[0.0, 1.0], [1.0, 0.0]], 0.0)
    rng = np.random.default_rng(0)
    assert replication.recommend(known, noise.draws(known, rng), rng, 2) == []


@pytest.mark.parametrize(
    ("costs", "paired", "message"),
    [
        ([np.ones((2, 2))], False, "as many matrices"),
        ([np.ones((2, 2)), np.ones((2, 3))], False, "as many matrices"),
        ([np.ones((2, 2)), np.ones((0, 2))], False, "as many matrices"),
        ([np.ones((2, 2)), np.full((1, 2), np.nan)], False, "finite"),
        ([np.ones((1, 2)), np.ones((1, 2))], False, "cannot be seen"),
        ([np.ones((2, 2)), np.ones((3, 2))], True, "paired"),
    ],
)
def test_impossible_replicates_are_refused(costs, paired, message):
    with pytest.raises(UsageError, match=message):
        noise.from_replicates(np.arange(2)[:, None], costs, paired=paired)


def test_impossible_intervals_are_refused():
    one = np.ones((2, 2))
    with pytest.raises(UsageError, match="above its high end"):
        noise.from_intervals(np.arange(2)[:, None], one, one + 1, one)
    with pytest.raises(UsageError, match="finite values"):
        noise.from_intervals(np.arange(2)[:, None], one * np.nan, one, one)
    with pytest.raises(UsageError, match="confidence"):
        noise.neighbours(uncertain(one, 0.1), confidence=1.0)


def test_rank_correlation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    costs = np.stack([rng.integers(0, 5, 60), rng.normal(size=60), rng.integers(0, 3, 60)], axis=1).astype(float)
    costs[:, 1] += costs[:, 0]
    assert dependence.spearman(costs) == pytest.approx(stats.spearmanr(costs).statistic)
    constant = dependence.spearman(np.stack([costs[:, 0], np.ones(60)], axis=1))
    assert constant[0, 0] == pytest.approx(1.0) and np.isnan(constant[0, 1]) and np.isnan(constant[1, 1])


def test_the_effective_dimension_of_fronts_that_are_known():
    line = np.linspace(0, 1, 20)
    assert dependence.effective_dimension(np.stack([line, 1 - line**2], axis=1)) == pytest.approx(1.0)
    # The second objective twice: still a line.
    twice = np.stack([line, 1 - line, 5 * (1 - line) ** 3], axis=1)
    assert dependence.effective_dimension(twice) == pytest.approx(1.0)
    # All orders of m values: every two objectives have a correlation of -1 / (m - 1), so m - 1 eigenvalues are equal.
    for objectives in (3, 4, 5):
        evenly = np.array(list(itertools.permutations(range(objectives))), dtype=float)
        assert dependence.effective_dimension(evenly) == pytest.approx(objectives - 1)
    assert dependence.effective_dimension(np.column_stack([twice, np.ones(20)])) == pytest.approx(1.0)
    assert dependence.effective_dimension(twice[:2]) is None
    assert dependence.effective_dimension(np.ones((9, 2))) is None


def test_objectives_that_rank_alike_are_named():
    rng = np.random.default_rng(0)
    one, other = rng.random(200), rng.random(200)
    costs = np.stack([one, other, np.exp(3 * one), -one - 0.02 * rng.random(200)], axis=1)
    costs[7] = np.nan
    found = dependence.alike(costs, ("latency", "error", "energy", "speed"))
    assert found[0] == ("latency", "energy", 1.0)
    assert {pair[:2] for pair in found} == {("latency", "energy"), ("latency", "speed"), ("energy", "speed")}
    assert found[-1][2] < -0.95
    assert dependence.alike(costs[:9], ("latency", "error", "energy", "speed")) == [], "too few to say"
