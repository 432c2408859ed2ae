"""Graph predictors: what a kernel costs where it stands, and memory that is simulated."""

import json
from dataclasses import replace

import numpy as np
import pytest

import predictors
from device_profiles.errors import InvalidTable, SchemaMismatch, UsageError
from predictors import intervals, network, registry
from predictors.encodings import tabulated
from predictors.graphs import _message_passing, graph_network
from predictors.graphs.graph_network import GraphNetwork
from predictors.graphs.simulation import Simulation, simulated_bytes
from predictors.models.lightgbm import MODEL as LIGHTGBM
from predictors.models.protocol import DeviceFacts, KernelSamples
from predictors.samples import NetworkSamples
from predictors.testing import convolution
from predictors.testing.graphs import catalogue_of
from profiler.fusing import fused_graph
from profiler.memory import simulate
from profiler.operators import Node, Operator, OperatorGraph, Tensor
from profiler.store import ProfileRow

DEVICE = DeviceFacts(flops_per_s=2e10, bytes_per_s=1e10)
IMAGE = Tensor((1, 8, 8, 8))
#: Convolutions and elementwise kernels of one image, and their made-up costs.
CONVS = [convolution(8, 8, 8, window) for window in (1, 3, 5, 7)]
POOL = Operator("", "MaxPool", (("kernel_shape", (3, 3)), ("pads", (1,) * 4)), (IMAGE,), (IMAGE,))
OTHERS = [POOL, *(Operator("", kind, (), (IMAGE,), (IMAGE,)) for kind in ("Relu", "Tanh", "Erf", "Sigmoid", "Exp"))]
COST = dict(zip((*CONVS, *OTHERS), (0.5, 0.8, 1.1, 1.5, 0.2, 0.3, 0.4, 0.25, 0.15, 0.35), strict=True))
KERNELS = KernelSamples(tuple(COST), np.array(list(COST.values())), np.ones(len(COST)), DEVICE)


def samples(graphs, cost, unit="ms"):
    blank = (None,) * len(graphs)
    ids = tuple(f"n{i:03}" for i in range(len(graphs)))
    return NetworkSamples(ids, blank, blank, tuple(graphs), np.asarray(cost), np.zeros(len(graphs)), unit)


def in_context(operators):
    """A convolution costs twice as much right after pooling: its input comes in another layout, say."""
    before = [None, *operators]
    return sum(
        COST[op] * (2.0 if op.kind == "Conv" and b is POOL else 1.0) for b, op in zip(before, operators, strict=False)
    )


def out_of_context(operators):
    return sum(COST[op] for op in operators)


@pytest.fixture(scope="module")
def shuffled(chain):
    """Makes networks of the same kernels in other orders, which no sum tells apart: `shuffled(count, cost)`."""

    def make(count, cost, seed=0):
        rng = np.random.default_rng(seed)
        kernels = [*CONVS, *CONVS, *OTHERS, POOL, POOL, POOL]
        orders = [[kernels[i] for i in rng.permutation(len(kernels))] for _ in range(count)]
        noise = rng.lognormal(0.0, 0.005, count)
        return samples([chain(order) for order in orders], np.array([cost(order) for order in orders]) * noise)

    return make


@pytest.fixture(scope="module")
def contextual(shuffled):
    """A graph network that learned from 60 networks with the effect of context, and 40 networks to judge it by."""
    networks = shuffled(100, in_context)
    return GraphNetwork.fit(KERNELS, networks.take(range(60))), networks.take(range(60, 100))


@pytest.fixture(scope="module")
def quick(shuffled):
    """One that was hardly trained, for what does not depend on how good it is; all of its correction is used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_network, "EPOCHS", 20)
        found = GraphNetwork.fit(KERNELS, shuffled(24, in_context, seed=5))
    return replace(found, trust=1.0)


def error(predictor, networks):
    return float(np.abs(np.log(predictor.predict(networks.graphs).value / networks.cost)).mean())


# -- a graph network


@pytest.mark.slow
def test_it_finds_what_sums_miss(contextual):
    """By permutations of the same kernels no sum can explain anything; most of the effect is found on new networks."""
    found, fresh = contextual
    assert found.trust > 0
    assert error(found, fresh) < 0.5 * error(found.base, fresh)
    rank = np.corrcoef(found.predict(fresh.graphs).value, fresh.cost)[0, 1]
    assert rank > 0.8 and np.ptp(found.base.predict(fresh.graphs).value) < 1e-9


@pytest.mark.slow
def test_its_interval_is_narrower_where_it_is_better_and_holds(contextual):
    found, fresh = contextual
    assert found.half_width < 0.8 * found.base.half_width
    prediction = found.predict(fresh.graphs)
    assert ((prediction.low <= fresh.cost) & (fresh.cost <= prediction.high)).mean() >= 0.75
    assert prediction.high / prediction.value - 1 == pytest.approx(np.full(len(fresh.ids), found.half_width))


@pytest.mark.slow
def test_without_an_effect_of_context_it_is_no_worse(shuffled, chain):
    rng = np.random.default_rng(3)
    orders = [[list(COST)[i] for i in rng.integers(0, len(COST), rng.integers(6, 18))] for _ in range(70)]
    cost = np.array([0.1 + 0.9 * out_of_context(order) for order in orders]) * rng.lognormal(0.0, 0.01, 70)
    networks = samples([chain(order) for order in orders], cost)
    found, fresh = GraphNetwork.fit(KERNELS, networks.take(range(30))), networks.take(range(30, 70))
    assert error(found, fresh) <= 1.15 * error(found.base, fresh) + 1e-3


@pytest.mark.parametrize("count", [0, 1, 19])
def test_it_needs_twenty_networks(shuffled, count):
    with pytest.raises(InvalidTable, match=f"at least 20 measured networks, got {count}") as caught:
        GraphNetwork.fit(KERNELS, shuffled(20, in_context).take(range(count)))
    assert "lightgbm" in caught.value.hint


def test_it_needs_eight_kernels(shuffled):
    with pytest.raises(InvalidTable, match="at least 8 measured kernels, got 7"):
        GraphNetwork.fit(KERNELS.take(range(7)), shuffled(20, in_context))


def test_the_same_samples_give_the_same_network_whatever_the_seed_and_threads(quick, shuffled, monkeypatch):
    import torch

    monkeypatch.setattr(graph_network, "EPOCHS", 20)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    torch.set_num_threads(2)
    try:
        again = replace(GraphNetwork.fit(KERNELS, shuffled(24, in_context, seed=5)), trust=1.0)
        assert torch.get_num_threads() == 2 and torch.equal(torch.random.get_rng_state(), state), "left as they were"
        asked = shuffled(9, in_context, seed=6).graphs
        assert again.predict(asked).value.tolist() == quick.predict(asked).value.tolist()
    finally:
        torch.set_num_threads(threads)
        torch.random.set_rng_state(before)


def test_it_comes_back_from_its_files_exactly(contextual, tmp_path):
    found, fresh = contextual
    found.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"graph-network.json", "graph-network.safetensors", "network.json", "lightgbm.json"} <= names
    back, expected = GraphNetwork.load(tmp_path).predict(fresh.graphs), found.predict(fresh.graphs)
    for field in ("value", "low", "high", "coverage"):
        assert getattr(back, field).tolist() == getattr(expected, field).tolist()


@pytest.mark.parametrize(
    "changed",
    [
        {"schema": "hwnas.graph-network/9"},
        {"features": "hwnas.kernel-features/9"},
        {"center": [0.0]},
        {"scale": None},
        {"trust": "much"},
        {"trust": None},
        {"half_width": float("nan")},
    ],
    ids=str,
)
def test_damaged_facts_are_refused(quick, tmp_path, changed):
    quick.save(tmp_path)
    path = tmp_path / "graph-network.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(SchemaMismatch, match=r"graph-network\.json") as caught:
        GraphNetwork.load(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("damage", ["none", "fewer", "another-shape", "text"])
def test_damaged_weights_are_refused(quick, tmp_path, damage):
    from safetensors.torch import load_file, save_file

    quick.save(tmp_path)
    path = tmp_path / "graph-network.safetensors"
    tensors = load_file(path)
    if damage == "none":
        save_file({}, path)
    elif damage == "fewer":
        save_file({name: weight for name, weight in tensors.items() if name != "1.leave"}, path)
    elif damage == "another-shape":
        save_file({**tensors, "0.leave": tensors["0.leave"][:-1].contiguous()}, path)
    else:
        path.write_text("no tensors")
    with pytest.raises(SchemaMismatch):
        GraphNetwork.load(tmp_path)


def test_without_trust_it_is_the_composition(quick, shuffled):
    fresh = shuffled(9, in_context, seed=6)
    found = replace(quick, trust=0.0).predict(fresh.graphs)
    assert found.value.tolist() == quick.base.predict(fresh.graphs).value.tolist()
    assert found.value.tolist() != quick.predict(fresh.graphs).value.tolist()


def test_corrections_are_bounded_and_start_at_none(shuffled):
    import torch

    graphs = shuffled(3, in_context).graphs
    batch = _message_passing.lay_out(graphs, {op.key: i for i, op in enumerate(COST)})
    weights = _message_passing.initial(5, seed=0)
    features = torch.randn(len(COST), 5, generator=torch.Generator().manual_seed(0))
    assert (_message_passing.corrections(weights, features, batch) == 0).all()
    wild = {name: 100 * torch.ones_like(weight) for name, weight in weights.items()}
    assert _message_passing.corrections(wild, features, batch).abs().max() <= _message_passing.REACH


def test_graphs_are_laid_side_by_side():
    relu, add = OTHERS[0], Operator("", "Add", (), (IMAGE, IMAGE), (IMAGE,))
    nodes = (Node(relu, ("x",), ("a",)), Node(relu, ("a",), ("b",)), Node(add, ("a", "b"), ("y",)))
    graph = OperatorGraph(nodes, (("x", IMAGE),), ("y",), "fake")
    found = _message_passing.lay_out([graph, graph], {relu.key: 0, add.key: 1})
    assert found.kernel.tolist() == [0, 0, 1] * 2 and found.graph.tolist() == [0] * 3 + [1] * 3
    assert sorted(zip(*found.edges.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5)]
    assert found.graphs == 2


def test_a_catalogue_larger_than_one_chunk_is_its_graphs(quick, shuffled, monkeypatch):
    graphs = shuffled(23, in_context, seed=6).graphs
    whole = quick.predict(graphs)
    monkeypatch.setattr(graph_network, "CHUNK", 5)
    listed = quick.predict_catalogue(catalogue_of(graphs, "fake"))
    assert listed.value == pytest.approx(whole.value, rel=1e-5) and len(set(whole.value.round(6))) > 10
    assert listed.low == pytest.approx(whole.low, rel=1e-5) and listed.high == pytest.approx(whole.high, rel=1e-5)


def test_what_guesses_add_to_the_interval_stays(quick, shuffled, chain):
    """A strange kernel adds as much as it adds to the composition's interval."""
    image = Tensor((1, 8, 9, 9))
    strange = Operator("", "Softplus", (), (image,), (image,))
    graphs = [chain([*CONVS, *OTHERS]), chain([*CONVS, *OTHERS, strange])]
    own, base = quick.predict(graphs), quick.base.predict(graphs)
    added = base.high / base.value - 1 - quick.base.half_width
    assert added[0] == pytest.approx(0.0, abs=1e-9) and added[1] > 0.01
    assert own.high / own.value - 1 - quick.half_width == pytest.approx(added, abs=1e-9)
    assert own.coverage.tolist() == base.coverage.tolist() and own.missing == base.missing == ((), (strange.key,))


def test_on_the_simulated_device_the_table_is_its_graphs(store, measured, corner, tmp_path, monkeypatch):
    from nas.spaces.export import onnx_bytes

    monkeypatch.setattr(graph_network, "EPOCHS", 10)
    found = predictors.fit("graph-network", store, target=measured.target, space=corner)
    forced = replace(found.model, trust=1.0)
    table, _ = tabulated.tabulate(forced, corner, measured.target, progress=lambda done, total: None)
    archs = corner.everything[corner.is_valid(corner.everything)][::17]
    paths = [tmp_path / f"{i}.onnx" for i in range(len(archs))]
    for path, cell in zip(paths, corner.cells(archs), strict=True):
        path.write_bytes(onnx_bytes(corner.base, cell))
    by_file = forced.predict([fused_graph(path, measured.target) for path in paths])
    assert table.predict(archs) == pytest.approx(by_file.value, rel=1e-5)
    assert table.interval(archs)[0] == pytest.approx(by_file.low, rel=1e-5)
    assert table.interval(archs)[1] == pytest.approx(by_file.high, rel=1e-5)
    assert by_file.value != pytest.approx(forced.base.predict([fused_graph(p, measured.target) for p in paths]).value)


# -- memory


BRANCH = OperatorGraph(
    (
        Node(CONVS[1], ("x", "w"), ("a",)),
        Node(OTHERS[0], ("a",), ("b",)),
        Node(Operator("", "Add", (), (IMAGE, IMAGE), (IMAGE,)), ("a", "b"), ("y",)),
    ),
    (("x", IMAGE),),
    ("y",),
    "fake",
)
BYTES = 4 * 8 * 8 * 8


def test_memory_by_hand():
    """Weights of 8 x 8 x 3 x 3 numbers; at the sum three images are alive."""
    found = Simulation().predict([BRANCH])
    assert found.value.tolist() == [4 * 8 * 8 * 9 + 3 * BYTES] and found.unit == "bytes"
    assert found.low is None and found.coverage.tolist() == [1.0] and found.missing == ((),)


@pytest.mark.parametrize("runtime", ["fake", "onnxruntime", "torch"])
def test_memory_is_that_of_the_runtime_of_the_graph(runtime):
    graph = replace(BRANCH, runtime=runtime)
    plan = simulate(graph, runtime)
    assert Simulation().predict([graph]).value.tolist() == [plan.weight_bytes + plan.allocator_peak_bytes]


@pytest.mark.parametrize(("count", "has"), [(0, False), (8, False), (9, True), (30, True)])
def test_nine_measured_networks_make_an_interval(chain, count, has):
    graphs = [chain(CONVS[: 1 + i % 4]) for i in range(count)]
    truth = np.array([simulated_bytes(graph) for graph in graphs]) * np.linspace(1.01, 1.1, count)
    networks = samples(graphs, truth, "bytes")
    found = Simulation.fit(KERNELS.take([]), networks)
    errors = np.linspace(0.01, 0.1, count)
    assert found.half_width == (pytest.approx(intervals.relative_half_width(errors)) if has else None)
    assert Simulation.fit(KERNELS.take([]), networks, sure=False).half_width is None
    assert (found.predict([BRANCH]).low is not None) == has


def test_memory_when_idle_is_the_input():
    assert Simulation().idle(catalogue_of([BRANCH], "fake")) == BYTES


@pytest.mark.parametrize(
    "content",
    [None, "", "[]", "{}", '{"schema": "hwnas.simulation/9", "half_width": null}', '{"schema": "hwnas.simulation/1"}',
     '{"schema": "hwnas.simulation/1", "half_width": "wide"}'],
)  # fmt: skip
def test_damaged_simulations_are_refused(tmp_path, content):
    Simulation(0.1).save(tmp_path)
    assert Simulation.load(tmp_path) == Simulation(0.1)
    (tmp_path / "simulation.json").unlink()
    if content is not None:
        (tmp_path / "simulation.json").write_text(content)
    with pytest.raises(SchemaMismatch, match=r"simulation\.json"):
        Simulation.load(tmp_path)


@pytest.fixture
def weighed(hand_made, conditions):
    """A store of twelve chains whose allocator peak is up to 12 % above the plan."""
    networks = [[*CONVS[: 1 + i % 4], *OTHERS[: 1 + i % 3]] for i in range(12)]
    store = hand_made(networks, np.full((12, 1), 1e6), lambda op: 1e5)
    process = store.start_process(conditions, "two", seed=9)
    for i in range(12):
        name = f"n{i:03}"
        peak = simulate(store.fused(name, conditions), "fake").allocator_peak_bytes
        store.add_profile(process, ProfileRow(name, [], round(peak * (1 + i / 100)), 400_000))
    return store


def test_the_table_of_memory_is_its_graphs(weighed, measured, corner, tmp_path):
    """Weights of blocks that repeat count each time: in a table, in graphs, in files."""
    from nas.spaces.export import onnx_bytes

    found = predictors.fit("simulation", weighed, target=measured.target, space=corner, cost="memory")
    archs = corner.everything[corner.is_valid(corner.everything)][::17]
    for i, cell in enumerate(corner.cells(archs)):
        (tmp_path / f"{i}.onnx").write_bytes(onnx_bytes(corner.base, cell))
    graphs = [fused_graph(tmp_path / f"{i}.onnx", measured.target) for i in range(len(archs))]
    by_arch, by_graph = found.predict(archs), found.predict(graphs)
    assert by_graph.value.tolist() == [simulated_bytes(graph) for graph in graphs] and by_graph.unit == "bytes"
    for field in ("value", "low", "high", "coverage"):
        assert getattr(by_arch, field) == pytest.approx(getattr(by_graph, field), rel=1e-12)


def test_memory_from_a_store_to_a_table(weighed, measured, corner, tmp_path):
    found = predictors.fit("simulation", weighed, target=measured.target, space=corner, cost="memory")
    card = found.card
    assert (card.predictor, card.cost, card.unit, card.kernels) == ("simulation", "memory", "bytes", 0)
    assert len(card.trained_on) == 12 and 0 < card.half_width < 0.12 and card.half_width == found.model.half_width
    archs = corner.everything[corner.is_valid(corner.everything)]
    by_arch = found.predict(archs)
    assert by_arch.high == pytest.approx(by_arch.value * (1 + card.half_width)) and by_arch.unit == "bytes"
    dead = found.predict(corner.everything[~corner.is_valid(corner.everything)])
    assert (dead.value == 4 * 3 * 8 * 8).all() and (dead.coverage == 0).all(), "the image alone"
    found.save(tmp_path / "p")
    back = predictors.load(tmp_path / "p")
    assert back.card == card and back.predict(archs).value.tolist() == by_arch.value.tolist()
    scores = predictors.evaluate(back, weighed).scores
    assert scores.n == 12 and 0.01 < scores.mape < 0.12 and scores.interval_coverage > 0.8


def test_memory_takes_no_other_predictor(weighed, measured):
    for name in set(registry.names()) - {"simulation"}:
        with pytest.raises(UsageError, match="memory") as caught:
            predictors.fit(name, weighed, target=measured.target, cost="memory")
        assert "simulation" in caught.value.hint


def test_the_base_of_a_graph_network_is_the_composition_of_trees(quick):
    assert isinstance(quick.base, network.NetworkModel) and isinstance(quick.base.kernels, LIGHTGBM)
