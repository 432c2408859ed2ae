"""Energy from a store to predictions: kernels measured alone, networks, and what is said where there is none."""

import numpy as np
import pytest

import predictors
from device_profiles.errors import InvalidData
from predictors import registry
from profiler.agent.protocol import Block
from profiler.meters.protocol import Energy
from profiler.store import ModelRow

COPIES = 8
#: Energy of a network beyond its kernels, and share of their sum.
CONSTANT_MJ, SCALE = 2.0, 0.9


def energy_mj(operator):
    """Of a kernel: by its work, and no multiple of its time, which is the same for all."""
    return 0.5 + np.prod(operator.outputs[0].shape) * np.prod(operator.inputs[1].shape[1:]) / 2e4


@pytest.fixture
def store(hand_made, chain, conditions, kernel_pool):
    """Fourteen networks of 36 kernels; each kernel was measured alone, and all took the same time."""
    rng = np.random.default_rng(0)
    pool = kernel_pool[:36]
    networks = [[pool[i] for i in rng.integers(0, 36, 6 + i % 5)] for i in range(14)]
    made = hand_made(networks, np.full((14, 2), 1e6), lambda op: 1e5)
    process = made.start_process(conditions, "energy", seed=9)
    for i, operator in enumerate(pool):
        made.add_model(ModelRow(f"k{i:02}", str(operator), None, None, operator, COPIES), chain([operator]))
        made.add_block(process, Block(f"k{i:02}", 0, 10, 10_000_000, 400_000, 400_000))
        for _ in range(3):
            net = COPIES * energy_mj(operator) * rng.lognormal(0.0, 0.01)
            made.add_energy(process, f"k{i:02}", Energy(1.5 * net, net, "made up", 1.0))
    for i, operators in enumerate(networks):
        total = CONSTANT_MJ + SCALE * sum(map(energy_mj, operators))
        for _ in range(3):
            net = total * rng.lognormal(0.0, 0.01)
            made.add_energy(process, f"n{i:03}", Energy(1.5 * net, net, "made up", 1.0))
    return made


def truth(graphs):
    return np.array([CONSTANT_MJ + SCALE * sum(map(energy_mj, graph.operators)) for graph in graphs])


@pytest.mark.parametrize("name", ["lookup", "linear", "lightgbm"])
def test_energy_is_learned_as_energy(store, measured, conditions, chain, kernel_pool, tmp_path, name):
    found = predictors.fit(name, store, target=measured.target, cost="energy")
    assert (found.card.cost, found.card.unit, found.card.kernels) == ("energy", "mJ", 36)
    assert len(found.card.trained_on) == 14 and 0 < found.card.half_width < 0.2
    fresh = [chain(kernel_pool[i : i + 5 + i % 4]) for i in range(12)]
    prediction = found.predict(fresh)
    assert prediction.unit == "mJ" and prediction.coverage == pytest.approx(np.ones(12))
    assert prediction.value == pytest.approx(truth(fresh), rel=0.1)
    assert ((prediction.low <= truth(fresh)) & (truth(fresh) <= prediction.high)).mean() >= 0.7
    found.save(tmp_path / "p")
    back = predictors.load(tmp_path / "p").predict(fresh)
    assert back.unit == "mJ" and back.value.tolist() == prediction.value.tolist()


def test_a_saved_table_says_in_which_unit_its_kernels_are(store, measured, tmp_path):
    predictors.fit("lookup", store, target=measured.target, cost="energy").save(tmp_path / "p")
    for path in (tmp_path / "p").glob("*.json"):
        assert '"ms"' not in path.read_text(), f"{path.name} says ms of energies"


def test_latency_and_energy_of_one_store_are_kept_apart(store, measured, chain, kernel_pool):
    graph = chain(kernel_pool[30:36])
    latency = predictors.fit("lookup", store, target=measured.target).predict([graph])
    energy = predictors.fit("lookup", store, target=measured.target, cost="energy").predict([graph])
    assert latency.unit == "ms" and latency.value == pytest.approx([1.0], rel=0.01)
    assert energy.value == pytest.approx(truth([graph]), rel=0.05)


def test_energy_is_evaluated_beside_baselines_of_energy(store, measured):
    found = predictors.evaluate(predictors.fit("lookup", store, target=measured.target, cost="energy"), store)
    assert found.scores.n == 14 and found.split == "cross-validated"
    assert found.scores.mape < 0.05 and found.scores.spearman > 0.95
    assert {"linear", "roofline"} <= set(found.baselines) <= set(registry.names_for("energy"))
    assert found.scores.mape < found.baselines["roofline"].mape, "which speaks of time"
    held = [f"n{i:03}" for i in range(10)]
    fitted = predictors.fit("lookup", store, target=measured.target, cost="energy", networks=held)
    again = predictors.evaluate(fitted, store)
    assert again.split == "held out" and again.scores.n == 4 and again.scores.mape < 0.05
    assert again.measured.tolist() == found.measured[10:].tolist()


def test_energies_of_a_space_lie_in_a_table(store, measured, corner):
    found = predictors.fit("linear", store, target=measured.target, cost="energy", space=corner)
    prediction = found.predict(corner.everything)
    assert prediction.unit == "mJ" and (prediction.value > 0).all() and prediction.high is not None
    assert (found.differentiable().choices, found.card.choices) == ((5, 5, 5), (5, 5, 5))


@pytest.mark.parametrize("name", ["lookup", "linear", "lightgbm"])
def test_where_no_energy_was_measured_that_is_said(hand_made, kernel_pool, measured, name):
    store = hand_made([kernel_pool[i : i + 5] for i in range(0, 50, 5)], np.full((10, 1), 1e6), lambda op: 1e5)
    with pytest.raises(InvalidData, match="energy") as caught:
        predictors.fit(name, store, target=measured.target, cost="energy")
    assert caught.value.hint
