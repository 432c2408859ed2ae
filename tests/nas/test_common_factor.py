"""The factor that measured finalists have in common: found where there is one, and elsewhere as rarely as it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

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
