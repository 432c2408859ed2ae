"""Finalists that were judged on the same examples are compared example by example."""

import numpy as np
import pytest
from scipy.stats import binomtest

from nas.certainty import paired


def rights(only_first: int, only_second: int, both: int = 20, none: int = 7):
    first = [True] * only_first + [False] * only_second + [True] * both + [False] * none
    second = [False] * only_first + [True] * only_second + [True] * both + [False] * none
    return np.array(first), np.array(second)


@pytest.mark.parametrize(
    ("one", "other"), [(0, 0), (1, 0), (4, 0), (5, 0), (9, 2), (9, 3), (10, 3), (30, 25), (60, 30)]
)
def test_it_is_the_exact_test_of_mcnemar(one, other):
    told = paired.differ(*rights(one, other))
    assert told == (one + other > 0 and binomtest(one, one + other).pvalue < 0.1)
    assert paired.differ(*rights(other, one)) == told, "whichever is first"


def test_examples_that_both_get_right_or_wrong_tell_nothing():
    for both, none in ((0, 0), (500, 0), (0, 500)):
        assert paired.differ(*rights(5, 0, both, none)) and not paired.differ(*rights(4, 0, both, none))


def test_it_finds_what_two_separate_samples_would_hide():
    """12 examples of 288 are two standard errors of the pair, and one of two separate samples."""
    first, second = rights(14, 2, 200, 72)
    share, n = [float(one.mean()) for one in (first, second)], len(first)
    separate = 1.645 * np.sqrt(sum(p * (1 - p) for p in share) / n)
    assert share[0] - share[1] < separate and paired.differ(first, second)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 288])
def test_bits_come_back_as_they_were(count):
    given = np.random.default_rng(count).random(count) < 0.5
    assert np.array_equal(paired.read(paired.kept(given)), given)


@pytest.mark.parametrize(
    "plain",
    [None, 3, {}, {"count": 8}, {"count": 8, "bits": "zz"}, {"count": 9, "bits": "ff"}, {"count": 0, "bits": ""},
     {"count": True, "bits": "ff"}, {"count": 8, "bits": 3}],
)  # fmt: skip
def test_what_is_damaged_is_not_known(plain):
    assert paired.read(plain) is None


def test_pairs_of_which_one_is_not_known_are_left_to_their_intervals():
    first, second = rights(10, 0)
    facts = {
        (0,): {"test_right": {"accuracy": paired.kept(first)}},
        (1,): {"test_right": {"accuracy": paired.kept(second)}},
        (2,): {},
    }
    assert paired.told_apart([(0,), (1,)], facts, "accuracy") is True
    assert paired.told_apart([(0,), (0,)], facts, "accuracy") is False
    assert paired.told_apart([(0,), (2,)], facts, "accuracy") is None
    assert paired.told_apart([(0,), (1,)], facts, "latency") is None
    facts[2,] = {"test_right": {"accuracy": paired.kept(first[:5])}}
    assert paired.told_apart([(0,), (2,)], facts, "accuracy") is None, "other examples"
