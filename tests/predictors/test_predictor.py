"""A fitted predictor: what it answers, in which forms, and what it refuses to answer."""

import numpy as np
import onnx
import pytest
import torch

import device_profiles
import predictors
from device_profiles.errors import (
    ConditionMismatch,
    InvalidData,
    InvalidTable,
    MissingKernel,
    UnknownName,
    UsageError,
)
from nas.spaces.export import onnx_bytes
from predictors import models, registry, trust
from profiler.fusing import fused_graph
from profiler.operators import OperatorGraph
from profiler.store import Store


@pytest.fixture
def files(corner, tmp_path):
    """Writes architectures of the corner as ONNX; their paths."""

    def write(archs):
        paths = [tmp_path / f"{number}.onnx" for number in range(len(archs))]
        for path, cell in zip(paths, corner.cells(archs), strict=True):
            path.write_bytes(onnx_bytes(corner.base, cell))
        return paths

    return write


@pytest.fixture(scope="module")
def ignorant(measured, corner):
    """Fitted on the one network with the fewest kernels, so that most kernels are unknown to it."""
    with Store(measured.path, create=False) as store:
        conditions = store.require_conditions("fake")
        least = min(measured.ids, key=lambda name: len(set(store.fused(name, conditions).operators)))
        return predictors.fit("lookup", store, target=measured.target, space=corner, networks=[least])


LIVE = np.array([[1, 2, 3], [3, 3, 3], [0, 4, 0], [2, 0, 1], [4, 1, 1]])


# -- answers


def test_archs_graphs_and_files_of_a_network_cost_the_same(fitted, measured, files):
    paths = files(LIVE)
    graphs = [fused_graph(path, measured.target) for path in paths]
    by_arch = fitted.predict(LIVE)
    for other in (fitted.predict(graphs), fitted.predict(paths), fitted.predict([str(path) for path in paths])):
        assert other.value == pytest.approx(by_arch.value, rel=1e-9)
        assert other.low == pytest.approx(by_arch.low) and other.high == pytest.approx(by_arch.high)
        assert other.coverage == pytest.approx(by_arch.coverage)


def test_one_graph_or_file_is_a_list_of_one(fitted, measured, files):
    path = files(LIVE[:1])[0]
    graph = fused_graph(path, measured.target)
    for what in (path, str(path), graph, [path, graph][:1], (graph,)):
        assert fitted.predict(what).value == pytest.approx(fitted.predict(LIVE[:1]).value)
    assert fitted.predict([path, graph]).value.shape == (2,)


def test_lists_of_integers_are_architectures(fitted):
    expected = fitted.predict(LIVE).value.tolist()
    assert fitted.predict(LIVE.tolist()).value.tolist() == expected
    assert fitted.predict([tuple(row) for row in LIVE.tolist()]).value.tolist() == expected
    assert fitted.predict(list(LIVE)).value.tolist() == expected


def test_measured_networks_are_predicted_well(fitted, store, measured):
    conditions = store.require_conditions("fake")
    found = fitted.predict([store.fused(name, conditions) for name in measured.ids])
    truth = [predictors.samples.networks(store, conditions).cost[i] for i in range(20)]
    assert found.value == pytest.approx(truth, rel=0.03)
    assert found.coverage.tolist() == [1.0] * 20 and found.unit == "ms"
    assert ((found.low <= truth) & (truth <= found.high)).mean() >= 0.8


def test_equal_networks_cost_the_same(fitted, corner):
    everything = corner.everything
    alive = corner.is_valid(everything)
    value = fitted.predict(everything).value
    assert value[alive] == pytest.approx(fitted.predict(corner.canonical(everything)).value[alive])
    assert len(np.unique(value[alive].round(9))) > 10


def test_dead_cells_cost_the_constant(fitted, corner, hand_made, kernel_pool, measured):
    dead = corner.everything[~corner.is_valid(corner.everything)]
    assert len(dead) == 9
    found, live = fitted.predict(dead), fitted.predict(corner.everything[corner.is_valid(corner.everything)])
    assert (found.value >= fitted.model.composition.constant).all()
    assert (found.value > 1e-4).all() and found.value.max() < live.value.min(), "less than any network, never nothing"
    assert (found.coverage == 0).all() and (live.coverage > 0).all(), "nothing of it was measured"
    assert (found.low == 0).all() and found.high == pytest.approx(3 * found.value)
    pool = [kernel_pool[i : i + 3 + i % 5] for i in range(30)]
    latency = np.array([[1e5 * len(kernels) + 4e5] for kernels in pool])
    costly = predictors.fit("lookup", hand_made(pool, latency, lambda op: 1e5), target=measured.target, space=corner)
    assert costly.predict(dead).value == pytest.approx(np.full(9, 0.4), rel=0.05)


def test_the_differentiable_cost_is_the_prediction_at_one_hot(fitted):
    cost = fitted.differentiable()
    one_hot = [torch.nn.functional.one_hot(torch.as_tensor(gene), 5).double() for gene in LIVE.T]
    assert cost(one_hot).numpy() == pytest.approx(fitted.predict(LIVE).value, abs=1e-9)
    single = cost([gene.float() for gene in one_hot])
    assert single.numpy() == pytest.approx(fitted.predict(LIVE).value, rel=1e-4)
    assert cost.choices == (5, 5, 5)


def test_the_card_says_what_it_stands_on(fitted, measured, store):
    card = fitted.card
    conditions = store.require_conditions("fake")
    assert (card.predictor, card.cost, card.unit, card.target) == ("lookup", "latency", "ms", "fake")
    assert (card.space, card.choices) == ("corner", (5, 5, 5))
    assert card.trained_on == tuple(measured.ids)
    assert card.conditions == conditions.to_plain() and card.device_s == store.device_s(conditions)
    assert card.profile["runtime"]["name"] == "fake"
    assert card.kernels == len({op for name in measured.ids for op in store.fused(name, conditions).operators})


def test_progress_is_told_of_every_network(measured, store, corner):
    told = []
    predictors.fit("lookup", store, target=measured.target, space=corner, progress=lambda *at: told.append(at))
    assert told[-1][0] == told[-1][1] > 50


# -- what it does not know


def test_unknown_kernels_lower_coverage_and_widen_intervals(ignorant, fitted, files):
    paths = files(LIVE)
    found = ignorant.predict(paths)
    assert found.coverage.min() < 1 and (found.coverage >= 0).all()
    assert [bool(keys) for keys in found.missing] == (found.coverage < 1).tolist()
    assert found.low is None and found.high is None, "one network makes no interval"
    assert ignorant.predict(LIVE).coverage == pytest.approx(found.coverage)


@pytest.fixture
def half_known(hand_made, store, measured, corner, kernel_pool):
    """Fitted on twelve networks of kernels of the corner and others; the pooling inside of cells is left out."""
    kernels = {op for graph in store_graphs(store, measured) for op in graph.operators}
    pooling = {op for op in kernels if op.op_type == "AveragePool" and op.attribute("kernel_shape") == (3, 3)}
    assert pooling
    own = sorted(kernels - pooling, key=lambda op: op.key)
    networks = [[*own, *kernel_pool[3 * i : 3 * i + 3]] for i in range(12)]
    latency = np.array([[1e5 * len(kernels) * (1 + 0.01 * (i % 3))] for i, kernels in enumerate(networks)])
    made = hand_made(networks, latency, lambda op: 1e5)
    return predictors.fit("lookup", made, target=measured.target, space=corner)


def test_intervals_are_wider_where_kernels_are_unknown(half_known, corner):
    alive = corner.everything[corner.is_valid(corner.everything)]
    found = half_known.predict(alive)
    upwards, downwards = found.high / found.value - 1, found.value / found.low - 1
    full = found.coverage == 1
    assert full.any() and (~full).any()
    assert upwards[full] == pytest.approx(half_known.card.half_width)
    assert (upwards[~full] > half_known.card.half_width * (1 + 1e-6)).all()
    assert downwards[~full].min() > downwards[full].max()


def test_intervals_of_the_table_are_those_of_the_graphs(half_known, corner, files):
    alive = corner.everything[corner.is_valid(corner.everything)][::9]
    by_arch, by_file = half_known.predict(alive), half_known.predict(files(alive))
    assert 0 < (by_arch.coverage < 1).sum() < len(alive)
    for field in ("value", "low", "high", "coverage"):
        assert getattr(by_arch, field) == pytest.approx(getattr(by_file, field), rel=1e-9)
    assert [set(keys) for keys in by_arch.missing] == [set(keys) for keys in by_file.missing]


def test_unknown_kernels_of_files_are_an_error_where_they_must_not_be_guessed(ignorant, fitted, files):
    paths = files(LIVE)
    with pytest.raises(MissingKernel, match="never measured"):
        ignorant.predict(paths, missing="raise")
    assert fitted.predict(paths, missing="raise").coverage.tolist() == [1.0] * 5


def test_unknown_kernels_of_architectures_are_an_error_where_they_must_not_be_guessed(ignorant, fitted):
    assert fitted.predict(LIVE, missing="raise").coverage.tolist() == [1.0] * 5
    with pytest.raises(MissingKernel):
        ignorant.predict(LIVE, missing="raise")


# -- what it refuses


@pytest.mark.parametrize(
    "archs",
    [np.zeros(3, dtype=int), np.zeros((2, 6), dtype=int), np.full((2, 3), 0.5), np.full((1, 3), 5), [[0, 0, -1]]],
)
def test_architectures_of_another_space_are_refused(fitted, archs):
    with pytest.raises(UsageError):
        fitted.predict(archs)


def test_files_with_denormal_weights_are_not_what_was_measured(fitted, measured, files, tmp_path):
    (path,) = files(LIVE[:1])
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if len(tensor.dims) == 4:
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * np.float32(1e-39), tensor.name)
            )
    onnx.save(proto, strange := tmp_path / "strange.onnx")
    plain, doubted = fitted.predict(path), fitted.predict(strange)
    assert doubted.value == pytest.approx(plain.value) and doubted.low == pytest.approx(plain.low)
    assert doubted.coverage[0] < 0.5 < plain.coverage[0] and doubted.high[0] > 50 * plain.high[0]
    assert trust.DENORMAL in trust.warning("latency", doubted.coverage, doubted.missing)


def test_without_a_space_it_takes_files_alone(store, measured, files):
    found = predictors.fit("linear", store, target=measured.target)
    assert found.encoding is None and found.card.space is None
    assert found.predict(files(LIVE[:2])).value.shape == (2,)
    for refused in (lambda: found.predict(LIVE), found.differentiable):
        with pytest.raises(UsageError, match="without a space") as caught:
            refused()
        assert "--space" in caught.value.hint


@pytest.mark.parametrize("runtime", ["onnxruntime", ""])
def test_graphs_of_another_runtime_are_refused(fitted, store, measured, runtime):
    graph = store.fused(measured.ids[0], store.require_conditions("fake"))
    assert fitted.predict(graph).coverage.tolist() == [1.0]
    other = OperatorGraph(graph.nodes, graph.inputs, graph.outputs, runtime)
    with pytest.raises(UsageError) as caught:
        fitted.predict([graph, other])
    assert (runtime or "no runtime") in caught.value.message and "fake" in caught.value.message
    assert "fused_graph" in caught.value.hint


def test_a_missing_file_is_refused(fitted, tmp_path):
    with pytest.raises(InvalidData, match=r"nowhere\.onnx"):
        fitted.predict(tmp_path / "nowhere.onnx")


def test_it_speaks_of_its_own_target_alone(fitted):
    fitted.require_target("fake")
    with pytest.raises(ConditionMismatch) as caught:
        fitted.require_target("local-onnxruntime")
    assert caught.value.expected == {"target": "fake"} and caught.value.got == {"target": "local-onnxruntime"}
    assert "hwnas fit local-onnxruntime" in caught.value.hint


# -- fitting


def test_it_learns_from_the_networks_named(store, measured):
    found = predictors.fit("lookup", store, target=measured.target, networks=measured.ids[:9])
    assert found.card.trained_on == tuple(measured.ids[:9]) and found.card.half_width is not None
    conditions = store.require_conditions("fake")
    own = {op for name in measured.ids[:9] for op in store.fused(name, conditions).operators}
    assert found.card.kernels == len(own)
    fewer = predictors.fit("lookup", store, target=measured.target, networks=measured.ids[:8])
    assert fewer.card.half_width is None and fewer.predict(list(store_graphs(store, measured))).low is None


def store_graphs(store, measured):
    conditions = store.require_conditions("fake")
    return (store.fused(name, conditions) for name in measured.ids)


def test_no_networks_are_too_few_to_learn_from(store, measured):
    with pytest.raises(InvalidTable):
        predictors.fit("lookup", store, target=measured.target, networks=[])


def test_a_cost_of_which_nothing_was_measured_is_named(store, measured):
    with pytest.raises(InvalidData, match="energy") as caught:
        predictors.fit("lookup", store, target=measured.target, cost="energy")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "cost"), [("lookup", "memory"), ("graph-network", "memory"), ("simulation", "energy")]
)
def test_costs_that_a_predictor_does_not_know_are_refused_by_name(store, measured, name, cost):
    with pytest.raises(UsageError, match=f"{name} does not predict {cost}") as caught:
        predictors.fit(name, store, target=measured.target, cost=cost)
    others = caught.value.hint.partition(": ")[2].rstrip(".").split(", ")
    assert others == list(registry.names_for(cost)) and others and name not in others


def test_unknown_costs_and_models_are_refused(store, measured):
    with pytest.raises(UsageError, match="'beauty'") as caught:
        predictors.fit("lookup", store, target=measured.target, cost="beauty")
    assert "latency, energy, memory" in caught.value.hint
    with pytest.raises(UnknownName) as caught:
        predictors.fit("lokup", store, target=measured.target)
    assert "'lookup'" in caught.value.hint


def test_a_target_that_was_not_measured_is_refused(store):
    with pytest.raises(InvalidData, match="'local-onnxruntime'"):
        predictors.fit("lookup", store, target=device_profiles.load("local-onnxruntime"))


@pytest.mark.parametrize("ns", [-5.0, float("nan"), float("inf")])
def test_stores_with_times_that_are_no_times_are_refused(hand_made, kernel_pool, measured, ns):
    networks = [kernel_pool[i : i + 5] for i in range(0, 60, 3)]
    bad = kernel_pool[12]
    store = hand_made(networks, np.full((20, 1), 1e6), lambda op: ns if op == bad else 1e5)
    for name in {"graph-network", *models.REGISTRY.names()} - {"roofline"}:
        with pytest.raises(InvalidData, match=r"above 0 and finite|no times of kernels"):
            predictors.fit(name, store, target=measured.target)
