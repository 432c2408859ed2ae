"""What to measure next: kernels that nobody saw, networks that tell them apart; and when to stop."""

import numpy as np
import pytest

import device_profiles
import profiler
from device_profiles.errors import UsageError
from predictors import active
from predictors.testing import convolution
from profiler.probes import probes
from profiler.store import Store

SMALL, LARGE, ODD = convolution(8, 8, 16), convolution(64, 64, 16), convolution(16, 16, 16, 1)


def test_networks_with_kernels_that_nobody_saw_come_first(chain):
    graphs = [chain([SMALL] * 3), chain([SMALL] * 4), chain([LARGE, ODD]), chain([SMALL] * 5)]
    assert active.choose(graphs, [0], 1).tolist() == [2]


def test_the_choice_is_that_of_brute_force(chain, kernel_pool):
    """By hand: the summed variance of all networks after each candidate, from the joint Gaussian of all errors."""
    rng = np.random.default_rng(0)
    graphs = [chain([kernel_pool[i] for i in rng.integers(0, 12, 6)]) for _ in range(9)]
    belief = active._Belief.before(graphs).after(4)

    def variance(after):
        return np.trace(after.share @ (after.model + after.place) @ after.share.T)

    lessened = [variance(belief) - variance(belief.after(i)) for i in range(len(graphs))]
    assert belief.gains() == pytest.approx(lessened, rel=1e-6)
    lessened[4] = -np.inf
    assert active.choose(graphs, [4], 1).tolist() == [int(np.argmax(lessened))]


def test_nothing_is_chosen_twice_and_the_pool_may_end(chain):
    graphs = [chain([SMALL] * n) for n in range(1, 6)]
    found = active.choose(graphs, [1], 9).tolist()
    assert sorted(found) == [0, 2, 3, 4]
    assert active.choose(graphs, [0, 1, 2, 3, 4], 2).tolist() == []


def test_the_order_of_a_longer_choice_begins_with_a_shorter_one(chain, kernel_pool):
    rng = np.random.default_rng(1)
    graphs = [chain([kernel_pool[i] for i in rng.integers(0, 60, 5)]) for _ in range(12)]
    assert active.choose(graphs, [], 6).tolist()[:3] == active.choose(graphs, [], 3).tolist()


@pytest.mark.parametrize(("count", "error"), [(9, 0.03), (12, 0.0), (12, -1.0)])
def test_a_pool_too_small_or_no_error_is_refused(count, error):
    with pytest.raises(UsageError, match="at least 10") as caught, Store("sqlite://") as store:
        active.measure_until(probes(count, 0), error, target=device_profiles.load("fake"), store=store)
    assert caught.value.hint


def test_a_budget_that_is_spent_ends_it(tmp_path):
    told = []
    with profiler.Store(tmp_path / "a.db") as store:
        found = active.measure_until(
            probes(16, 0),
            1e-9,
            target=device_profiles.load("fake"),
            store=store,
            budget=profiler.Budget(device_s=0.1, rounds=5, memory=False),
            progress=told.append,
        )
    assert not found.reached and found.rounds == tuple(told) and len(found.rounds) == 1
    assert len(found.outcome.measurements) == len(found.held) + found.rounds[0].networks < 16


def test_a_pool_that_the_runtime_refuses_is_refused():
    """Probes multiply matrices at their end, but for those that make images, and this device cannot."""
    fake = device_profiles.load("fake")
    runtime = fake.runtime.model_copy(update={"options": {"unsupported": "Gemm"}})
    pool = probes(12, 0)
    taken = sum(all(operator.op_type != "Gemm" for operator in probe.graph.operators) for probe in pool)
    assert 0 < taken < 10
    with pytest.raises(UsageError, match=f"takes {taken} of 12 networks") as caught, Store("sqlite://") as store:
        active.measure_until(pool, 0.03, target=fake.model_copy(update={"runtime": runtime}), store=store)
    assert caught.value.hint
