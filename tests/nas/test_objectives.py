"""Objectives as costs, constraints as people write them, and how far values are outside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from device_profiles.errors import UsageError
from nas.objectives import Constraint, Objective, Values, at_confidence, parse_constraint, violations
from nas.study.study import costs_of

LATENCY = Objective("latency", "ms", False, "predicted", "latency:DIR")
ACCURACY = Objective("accuracy", "fraction", True, "shared", "accuracy")
MEMORY = Objective("memory", "bytes", False, "predicted", "memory:DIR")
ENERGY = Objective("energy", "mJ", False, "predicted", "energy:DIR")
PARAMS = Objective("params", "parameters", False, "counted", "params")
ERROR = Objective("val.error-200", "", False, "table", "table:t.csv:val.error-200")
ALL = (LATENCY, ACCURACY, MEMORY, ENERGY, PARAMS, ERROR)

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


def test_the_direction_is_applied_once():
    values = np.array([0.5, -2.0, np.nan])
    np.testing.assert_array_equal(LATENCY.cost(values), values)
    np.testing.assert_array_equal(ACCURACY.cost(values), -values)
    rows = [{"latency": (3.0, None, None), "accuracy": (0.9, 0.8, 1.0)}, None]
    np.testing.assert_array_equal(costs_of(rows, (ACCURACY, LATENCY)), [[-0.9, 3.0], [np.nan, np.nan]])


@given(st.lists(NUMBERS), st.booleans())
def test_values_come_back_from_costs(values, maximise):
    objective = Objective("x", "", maximise, "table", "")
    assert objective.value(objective.cost(np.array(values))).tolist() == values


@pytest.mark.parametrize(
    ("text", "name", "bound", "upper"),
    [
        ("latency <= 2 ms", "latency", 2.0, True),
        ("latency<=2ms", "latency", 2.0, True),
        ("  latency < 2500 us  ", "latency", 2.5, True),
        ("latency <= 0.5 s", "latency", 500.0, True),
        ("latency <= 3", "latency", 3.0, True),
        ("accuracy >= 90 %", "accuracy", 0.9, False),
        ("accuracy>0.9", "accuracy", 0.9, False),
        ("memory <= 96 MiB", "memory", 96 * 2**20, True),
        ("energy <= 1.5 J", "energy", 1500.0, True),
        ("params <= 1e6", "params", 1e6, True),
        ("params <= 50 parameters", "params", 50.0, True),
        ("val.error-200 <= 6.5", "val.error-200", 6.5, True),
    ],
)
def test_constraints_are_read_with_their_units(text, name, bound, upper):
    found = parse_constraint(text, ALL)
    assert (found.name, found.upper) == (name, upper)
    assert found.bound == pytest.approx(bound)


@pytest.mark.parametrize("text", ["", "latency", "latency 2 ms", "<= 2 ms", "latency <=", "latency = 2 ms", "2 <= 3 x"])
def test_what_is_no_constraint_is_refused_with_an_example(text):
    with pytest.raises(UsageError) as caught:
        parse_constraint(text, ALL)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        "latency <= fast",
        "latency <= nan",
        "latency <= inf",
        "latency <= 1e999",
        "latency <= 2 MiB",
        "latency <= 90 %",
        "latency <= 2 ms or 3 ms",
        "latency <= <= 2",
        "accuracy >= 2 ms",
        "params <= 2 kB",
    ],
)
def test_a_bound_of_another_kind_is_refused(text):
    with pytest.raises(UsageError):
        parse_constraint(text, ALL)


def test_a_bound_on_no_objective_of_the_search_lists_them():
    with pytest.raises(UsageError, match=r"'latencies'.*no objective") as caught:
        parse_constraint("latencies <= 2 ms", (LATENCY, ACCURACY))
    assert "latency, accuracy" in caught.value.hint


def test_a_constraint_reads_as_it_was_written():
    for text in ("latency <= 2", "accuracy >= 0.9"):
        assert str(parse_constraint(text, ALL)) == text


def test_violations_by_hand():
    values = np.array([1.0, 2.0, 3.0, np.nan, np.inf, -np.inf])
    upper, lower = Constraint("latency", 2.0, True), Constraint("latency", 2.0, False)
    assert upper.violation(values).tolist() == [0.0, 0.0, 0.5, np.inf, np.inf, 0.0]
    assert lower.violation(values).tolist() == [0.5, 0.0, 0.0, np.inf, 0.0, np.inf]
    assert Constraint("x", -2.0, True).violation(np.array([-3.0, -1.0])).tolist() == [0.0, 0.5]
    assert Constraint("x", 0.0, True).violation(np.array([0.0, 1e-3]))[0] == 0.0
    assert Constraint("x", 0.0, True).violation(np.array([0.0, 1e-3]))[1] > 0.0


def test_violations_add_up_over_constraints():
    both = [Constraint("latency", 2.0, True), Constraint("accuracy", 0.8, False)]
    values = {"latency": np.array([1.0, 4.0, 3.0, 1.0]), "accuracy": np.array([0.9, 0.9, 0.4, np.nan])}
    assert violations(both, values) == pytest.approx([0.0, 1.0, 0.5 + 0.5, np.inf])
    assert violations([], values) is None


@given(st.lists(NUMBERS, min_size=1), NUMBERS, st.booleans(), st.sampled_from([0.25, 2.0, 1024.0]))
def test_violation_is_zero_exactly_inside_and_does_not_depend_on_the_unit(values, bound, upper, factor):
    found = np.array(values)
    amounts = Constraint("x", bound, upper).violation(found)
    assert ((amounts == 0) == ((found <= bound) if upper else (found >= bound))).all()
    if abs(bound) > 1e-6:
        np.testing.assert_array_equal(Constraint("x", bound * factor, upper).violation(found * factor), amounts)


def test_intervals_of_another_confidence_are_as_wide_as_those_of_a_normal_would_be():
    wide = Values(np.array([10.0, np.nan]), np.array([8.0, np.nan]), np.array([14.0, np.nan]), confidence=0.95)
    found = at_confidence(wide)
    share = norm.ppf(0.95) / norm.ppf(0.975)
    assert found.confidence == 0.9 and found.value[0] == 10.0
    assert (found.low[0], found.high[0]) == pytest.approx((10 - 2 * share, 10 + 4 * share))
    assert at_confidence(found, 0.95).low[0] == pytest.approx(8.0)
    same = at_confidence(Values(np.array([1.0]), np.array([0.1]), np.array([3.0])))
    assert (same.low[0], same.high[0]) == (0.1, 3.0)
    assert at_confidence(Values(np.array([1.0]), confidence=0.5)).low is None
