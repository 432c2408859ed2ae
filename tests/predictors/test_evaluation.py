"""How good a predictor is: scores, the noise of the measurement, splits without leaks, baselines."""

import numpy as np
import pytest

import predictors
from device_profiles.errors import ConditionMismatch, InvalidData, UnknownName, UsageError
from predictors import evaluation, samples
from predictors.evaluation import BASELINES
from predictors.models import REGISTRY
from predictors.models.lookup import Lookup
from profiler.store import Store

# -- scores


def test_scores_by_hand():
    measured = np.array([1.0, 2.0, 4.0, 10.0])
    predicted = np.array([1.04, 2.0, 3.64, 12.0])  # 4 %, 0 %, 9 %, 20 %
    found = evaluation.scores(predicted, measured, predicted - 0.5, predicted + 0.5)
    assert found.mape == pytest.approx((0.04 + 0.09 + 0.20) / 4)
    assert (found.within_5, found.within_10, found.interval_coverage, found.n) == (0.5, 0.75, 0.75, 4)
    assert found.spearman == pytest.approx(1.0)


def test_the_rank_correlation_by_hand():
    # Ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * 4 / (4 * 15).
    found = evaluation.scores(np.array([2.0, 1.0, 4.0, 3.0]), np.array([1.0, 20.0, 30.0, 400.0]))
    assert found.spearman == pytest.approx(0.6) and found.interval_coverage is None


def test_ends_of_intervals_are_inside():
    value = np.array([1.0, 2.0, 3.0])
    assert evaluation.scores(value, value, value, value).interval_coverage == 1.0


@pytest.mark.parametrize(("predicted", "measured"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [2, 2, 2])])
def test_where_there_are_no_ranks_there_is_no_correlation(predicted, measured):
    assert evaluation.scores(np.array(predicted, dtype=float), np.array(measured, dtype=float)).spearman is None


# -- the noise of the measurement


def noise(store, conditions, count):
    return evaluation.noise_mape(store, conditions, tuple(f"n{i:03}" for i in range(count)))


def test_noise_by_hand(hand_made, conditions, kernel_pool):
    # Halves are the processes 0, 2 and 1, 3: medians 110 and 90, and 200 and 200; half of 20 / 100, and of 0.
    latency = 1e4 * np.array([[100.0, 80.0, 120.0, 100.0], [190.0, 200.0, 210.0, 200.0]])
    store = hand_made([kernel_pool[:2], kernel_pool[2:4]], latency, lambda op: 1e5)
    assert noise(store, conditions, 1) == pytest.approx(0.5 * 0.2)
    assert noise(store, conditions, 2) == pytest.approx(0.5 * (0.2 + 0.0) / 2)


@pytest.mark.parametrize("processes", [2, 4])
def test_noise_is_the_error_of_a_perfect_prediction(hand_made, conditions, kernel_pool, processes):
    """By simulation: processes scatter by 3 % around a truth that the prediction knows."""
    rng = np.random.default_rng(processes)
    truth = rng.uniform(1e6, 5e6, 150)
    latency = truth[:, None] * rng.normal(1.0, 0.03, (150, processes))
    store = hand_made([[kernel_pool[0]]] * 150, latency, lambda op: 1e5, blocks=1)
    perfect = evaluation.scores(truth / 1e6, samples.networks(store, conditions).cost)
    assert noise(store, conditions, 150) == pytest.approx(perfect.mape, rel=0.25)


def test_one_process_does_not_tell_the_noise(hand_made, conditions, kernel_pool):
    store = hand_made([kernel_pool[:2]] * 3, np.full((3, 1), 1e6), lambda op: 1e5)
    assert noise(store, conditions, 3) is None
    with Store("sqlite://") as empty:
        assert noise(empty, conditions, 3) is None


# -- splits


@pytest.fixture
def many(hand_made, kernel_pool):
    """Fifteen networks: five kernels that all have, and two of its own in each."""

    def make(count=15, **more):
        networks = [[*kernel_pool[:5], *own(kernel_pool, i)] for i in range(count)]
        times = {op: 1e5 * (1 + i % 7) for i, op in enumerate(kernel_pool)}
        total = np.array([0.9 * sum(times[op] for op in ops) + 3e4 for ops in networks])
        latency = total[:, None] * np.random.default_rng(0).normal(1.0, 0.005, (count, 3))
        return hand_made(networks, latency, times.__getitem__, **more)

    return make


def own(kernel_pool, i):
    """The kernels that only network `i` has."""
    return kernel_pool[5 + 2 * i : 7 + 2 * i]


IDS = [f"n{i:03}" for i in range(15)]


def test_networks_that_were_not_fitted_on_are_held_out(many, measured):
    store = many()
    held = (3, 7, 8, 14)
    rest = [name for i, name in enumerate(IDS) if i not in held]
    predictor = predictors.fit("lookup", store, target=measured.target, networks=rest)
    found = predictors.evaluate(predictor, store)
    everything = samples.networks(store, store.require_conditions("fake"))
    assert found.split == "held out" and found.scores.n == 4
    assert found.measured.tolist() == everything.cost[list(held)].tolist()
    expected = predictor.predict([everything.graphs[i] for i in held])
    assert found.predicted.tolist() == expected.value.tolist()
    assert found.scores == evaluation.scores(expected.value, found.measured, expected.low, expected.high)
    assert set(found.baselines) == set(BASELINES)
    assert all(scores.n == 4 for scores in found.baselines.values())


@pytest.mark.parametrize("held", [0, 1, 2])
def test_fewer_than_three_held_out_are_cross_validated(many, measured, held):
    store = many()
    predictor = predictors.fit("lookup", store, target=measured.target, networks=IDS[held:])
    found = predictors.evaluate(predictor, store)
    assert found.split == "cross-validated" and found.scores.n == 15
    assert found.measured.shape == found.predicted.shape == (15,)
    assert np.isfinite(found.predicted).all()


@pytest.mark.parametrize("count", [3, 4, 7])
def test_few_networks_are_cross_validated_without_intervals(many, measured, count):
    store = many(count)
    found = predictors.evaluate(predictors.fit("linear", store, target=measured.target), store)
    assert found.scores.n == count and found.scores.interval_coverage is None
    assert found.split == "cross-validated"


class Spy(Lookup):
    """A table that remembers which kernels it was fitted on."""

    seen = ()

    @staticmethod
    def fit(samples):
        Spy.seen = (*Spy.seen, frozenset(samples.operators))
        return Lookup.fit(samples)


@pytest.fixture
def spy(monkeypatch):
    monkeypatch.setitem(REGISTRY._registered, "spy", Spy)
    monkeypatch.setattr(Spy, "seen", ())
    return Spy


def test_baselines_do_not_learn_from_kernels_of_held_out_networks(many, measured, kernel_pool, spy):
    store = many()
    predictor = predictors.fit("lookup", store, target=measured.target, networks=IDS[4:])
    assert "spy" in predictors.evaluate(predictor, store, compare=("spy",)).baselines
    secret = {op for i in range(4) for op in own(kernel_pool, i)}
    public = {op for i in range(4, 15) for op in own(kernel_pool, i)} | set(kernel_pool[:5])
    assert spy.seen and all(not fitted & secret for fitted in spy.seen)
    assert frozenset.union(*spy.seen) == public


def test_cross_validation_does_not_learn_from_kernels_of_the_fold(many, measured, kernel_pool, spy):
    store = many()
    predictor = predictors.fit("spy", store, target=measured.target)
    spy.seen = ()
    found = predictors.evaluate(predictor, store)
    secrets = [{op for i in range(fold, 15, 5) for op in own(kernel_pool, i)} for fold in range(5)]
    assert spy.seen and all(any(not fitted & secret for secret in secrets) for fitted in spy.seen)
    assert found.scores.mape > 0.01, "kernels of its own cannot be known"


def test_every_network_is_predicted_by_a_model_that_has_not_seen_it(many, measured):
    """What is predicted for a network does not move with its own time, and what is predicted for others does."""
    store = many()
    before = predictors.evaluate(predictors.fit("lookup", store, target=measured.target), store)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("update blocks set ns = ns * 3 where model = ?", (IDS[6],))
    after = predictors.evaluate(predictors.fit("lookup", store, target=measured.target), store)
    assert after.measured[6] == pytest.approx(3 * before.measured[6])
    moved = after.predicted != pytest.approx(before.predicted, rel=1e-9)
    assert after.predicted[6] == pytest.approx(before.predicted[6], rel=1e-9) and moved


# -- baselines


@pytest.mark.parametrize(
    ("name", "compare", "beside"),
    [
        ("lookup", (), BASELINES),
        ("linear", (), BASELINES),
        ("roofline", (), BASELINES),
        ("lookup", ("lightgbm",), (*BASELINES, "lightgbm")),
        ("lookup", ("lookup", "linear", "linear"), BASELINES),
    ],
)
def test_a_predictor_is_shown_beside_others(many, measured, name, compare, beside):
    store = many(5)
    predictor = predictors.fit(name, store, target=measured.target)
    found = predictors.evaluate(predictor, store, compare=compare)
    assert {"roofline", "linear"} <= set(BASELINES) and set(found.baselines) == set(beside) - {name}
    assert all(scores.n == 5 and scores.mape > 0 for scores in found.baselines.values())


def test_a_baseline_that_does_not_exist_is_named(many, measured):
    store = many()
    predictor = predictors.fit("linear", store, target=measured.target)
    with pytest.raises(UnknownName) as caught:
        predictors.evaluate(predictor, store, compare=("lokup",))
    assert "'lookup'" in caught.value.hint


def test_predictors_of_other_costs_are_no_company(many, measured):
    store = many()
    predictor = predictors.fit("linear", store, target=measured.target)
    with pytest.raises(UsageError, match="simulation does not predict latency") as caught:
        predictors.evaluate(predictor, store, compare=("simulation",))
    assert "lookup" in caught.value.hint and "simulation" not in caught.value.hint


def test_the_table_of_kernels_beats_the_roofline_on_the_simulated_device(fitted, store):
    found = predictors.evaluate(fitted, store)
    assert found.scores.n == 20 and found.split == "cross-validated"
    assert found.scores.mape < 0.05 < found.baselines["roofline"].mape
    assert found.scores.within_10 == 1.0 and found.scores.spearman > 0.95
    assert found.noise_mape < found.scores.mape + 0.02
    text = found.table()
    assert all(name in text for name in ("lookup", "roofline", "linear", "20 networks, cross-validated", "noise"))


def test_a_loaded_predictor_is_evaluated_as_the_fitted_one(fitted, folder, store):
    again = predictors.evaluate(predictors.load(folder), store)
    assert again.scores == predictors.evaluate(fitted, store).scores


# -- what is refused


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_networks_are_refused(many, measured, count):
    store = many(count)
    predictor = predictors.fit("linear", store, target=measured.target)
    with pytest.raises(InvalidData, match=f"has {count} networks .* at least 3") as caught:
        predictors.evaluate(predictor, store)
    assert caught.value.hint


def test_other_conditions_are_refused(fitted, many, conditions):
    store = many(under=conditions.changed(threads=7, governor="another"))
    with pytest.raises(ConditionMismatch) as caught:
        predictors.evaluate(fitted, store)
    assert caught.value.expected == {"threads": conditions.own.threads, "governor": conditions.own.governor}
    assert caught.value.got == {"threads": 7, "governor": "another"}


def test_a_store_of_another_target_is_refused(fitted, many):
    with pytest.raises(InvalidData, match="'fake'"):
        predictors.evaluate(fitted, many(target="another"))
