"""What measured finalists have in common: a factor, or one that changes with latency, as rarely wrong as it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress, t

from nas.study import common_factor

#: Of two decimals: where a mean is as far from 0 as its interval is wide, rounding decides.
RATIOS = st.lists(st.integers(20, 500).map(lambda percent: percent / 100), min_size=3, max_size=12)


def test_by_hand():
    logs = np.array([0.2, 0.3, 0.4])
    found = common_factor.of(np.exp(logs))
    reach = t.ppf(0.95, 2) * 0.1
    assert math.log(found.value) == pytest.approx(0.3)
    assert math.log(found.high / found.value) == pytest.approx(reach / 3**0.5)
    assert math.log(found.value / found.low) == pytest.approx(reach / 3**0.5)
    assert math.log(found.spread) == pytest.approx(reach * (4 / 3) ** 0.5)


@pytest.mark.parametrize("ratios", [[], [1.3], [1.3, 1.3], [1.3, 0.0, 1.3], [0.9, 1.0, 1.12], [1.0, 1.0, 1.0]])
def test_few_or_contradicting_networks_say_nothing(ratios):
    assert common_factor.of(ratios) is None


@given(RATIOS)
def test_a_factor_of_the_inverse_is_the_inverse(ratios):
    found, inverse = common_factor.of(ratios), common_factor.of([1 / ratio for ratio in ratios])
    assert (found is None) == (inverse is None)
    if found is not None:
        assert found.value == pytest.approx(1 / inverse.value) and found.low == pytest.approx(1 / inverse.high)
        assert found.spread == pytest.approx(inverse.spread) and found.count == len(ratios)
        assert found.low <= found.value <= found.high and not found.low <= 1 <= found.high


@given(RATIOS, st.floats(0.01, 100.0), st.floats(0.0, 0.5))
def test_what_it_is_applied_to_keeps_its_order_and_is_no_surer_than_before(ratios, value, half):
    found = common_factor.of(ratios)
    if found is None:
        return
    now, low, high = found.applied((value, value * (1 - half), value * (1 + half)))
    assert now == pytest.approx(value * found.value) and low <= now <= high
    assert (high - low) / now >= 2 * half - 1e-12
    assert found.applied((value, None, None))[1:] == pytest.approx((now / found.spread, now * found.spread))


def test_its_intervals_contain_as_often_as_they_say():
    rng, runs, held, single, none = np.random.default_rng(3), 2000, 0, 0, 0
    for _ in range(runs):
        logs = 0.3 + 0.05 * rng.normal(size=9)
        found = common_factor.of(np.exp(logs[:8]))
        held += found.low <= math.exp(0.3) <= found.high
        single += found.value / found.spread <= math.exp(logs[8]) <= found.value * found.spread
        none += common_factor.of(np.exp(logs[:8] - 0.3)) is None
    for count in (held, single, none):
        assert abs(count / runs - 0.9) < 4 * (0.09 / runs) ** 0.5


def test_a_factor_that_changes_with_latency_is_that_of_a_line():
    """Against SciPy's regression of the logarithms."""
    believed = np.array([0.03, 0.04, 0.06, 0.09, 0.12])
    ratios = np.array([1.13, 1.09, 1.05, 0.97, 0.94])
    found, line = common_factor.of(ratios, believed), linregress(np.log(believed), np.log(ratios))
    assert found.power == pytest.approx(line.slope)
    for latency in (0.03, 0.05, 0.12):
        assert found.at(latency) == pytest.approx(math.exp(line.intercept + line.slope * math.log(latency)))
    assert found.at(0.001) == found.at(0.03) > 1 > found.at(0.12) == found.at(7.0)
    assert "1.14 (the fastest) to 0.941 times (the slowest)" in found.sentence
    left = np.log(ratios) - line.intercept - line.slope * np.log(believed)
    sd = (left @ left / 3) ** 0.5
    assert math.log(found.high / found.value) == pytest.approx(t.ppf(0.95, 3) * sd / 5**0.5)


def test_ratios_that_have_nothing_to_do_with_latency_have_one_factor():
    believed = [0.03, 0.04, 0.06, 0.09, 0.12]
    assert common_factor.of([1.2, 1.25, 1.2, 1.25, 1.2], believed) == common_factor.of([1.2, 1.25, 1.2, 1.25, 1.2])
    assert common_factor.of([1.1, 0.9, 1.1], [0.03, 0.06, 0.09]) is None  # three points are on many lines
    assert common_factor.of([1.1, 0.9, 1.1, 0.9], [0.03] * 4) is None
    assert common_factor.of([1.0, 0.2, 0.04, 0.008], [1.0, 5.0, 25.0, 125.0]) is None  # all would take the same


@given(
    st.lists(st.tuples(st.integers(50, 200), st.integers(1, 60)), min_size=4, max_size=9),
    st.lists(st.floats(0.001, 100.0), min_size=2, max_size=2),
)
def test_the_order_of_what_was_not_measured_stays(networks, latencies):
    found = common_factor.of([one / 100 for one, _ in networks], [two / 10 for _, two in networks])
    if found is not None:
        first, second = sorted(latencies)
        assert found.applied((first, None, None))[0] <= found.applied((second, None, None))[0] * (1 + 1e-12)


def test_a_line_is_seen_where_there_is_none_as_often_as_it_says():
    rng, runs = np.random.default_rng(4), 2000
    believed = np.geomspace(0.03, 0.12, 5)
    seen = sum(common_factor.of(np.exp(0.05 * rng.normal(size=5)), believed) is not None for _ in range(runs))
    lines = 0
    for _ in range(runs):
        found = common_factor.of(np.exp(0.05 * rng.normal(size=5)), believed)
        lines += found is not None and found.power != 0.0
    assert abs(lines / runs - 0.1) < 4 * (0.09 / runs) ** 0.5
    assert seen / runs < 0.2 + 4 * (0.16 / runs) ** 0.5
