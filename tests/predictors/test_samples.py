"""What is learned from a store: kernels matched with their times, networks, the speed of light."""

import numpy as np
import pytest
from scipy import stats

from device_profiles.errors import InvalidData
from predictors import samples
from predictors.testing import convolution
from profiler.meters.protocol import Energy
from profiler.operators import Operator, Tensor
from profiler.store import ModelRow, ProfileRow, Store
from profiler.summary import latencies

IMAGE = Tensor((1, 4, 6, 6))
RELU = Operator("", "Relu", (), (IMAGE,), (IMAGE,))
SMALL, LARGE = convolution(4, 4, 6, 1), convolution(4, 4, 6, 3)


# -- profiles


def test_kernels_are_matched_by_name_in_any_order(chain):
    graph = chain([SMALL, RELU, LARGE], names=["a", "b", "c"])
    profile = [["c", "Conv", 3e6, 20], ["a", "Conv", 1e6, 20], ["b", "Relu", 2e6, 20]]
    assert samples.match(graph, profile) == [(LARGE, 3.0), (SMALL, 1.0), (RELU, 2.0)]


def test_where_operators_agree_one_by_one_their_order_counts_and_no_name(chain):
    """Names that the runtime makes up are other nodes' names in the next session."""
    names = ["ReorderOutput_token_151", "r", "ReorderOutput_token_152"]
    graph = chain([SMALL, RELU, LARGE], names=names)
    profile = [
        [name, kind, ns, 20]
        for name, kind, ns in zip(names[::-1], ("Conv", "Relu", "Conv"), (1e6, 2e6, 3e6), strict=True)
    ]
    assert samples.match(graph, profile) == [(SMALL, 1.0), (RELU, 2.0), (LARGE, 3.0)]


def test_where_the_order_differs_only_names_that_both_have_once_are_matched(chain):
    graph = chain([SMALL, RELU, LARGE, LARGE], names=["twice", "r", "twice", "once"])
    profile = [
        ["r", "Relu", 2e6, 20],
        ["twice", "Conv", 1e6, 20],
        ["twice", "Conv", 3e6, 20],
        ["once", "Conv", 4e6, 20],
    ]
    assert samples.match(graph, profile) == [(RELU, 2.0), (LARGE, 4.0)]
    assert samples.match(graph, [["twice", "Conv", 1e6, 20], ["once", "Conv", 4e6, 20]]) == [(LARGE, 4.0)]


def test_names_that_a_runtime_makes_up_are_never_matched(chain):
    graph = chain([SMALL, RELU], names=["made_token_17", "r"])
    profile = [["r", "Relu", 2e6, 20], ["made_token_17", "Conv", 1e6, 20], ["b", "Memcpy", 9e6, 20]]
    assert samples.match(graph, profile) == [(RELU, 2.0)]


def test_a_name_of_another_operator_is_not_matched(chain):
    graph = chain([SMALL, RELU], names=["a", "b"])
    assert samples.match(graph, [["b", "Conv", 1e6, 20]]) == []


def test_nodes_without_names_are_matched_by_their_order(chain):
    graph = chain([SMALL, LARGE, RELU], names=["", "", ""])
    profile = [["k0", "Conv", 1e6, 20], ["k1", "Conv", 3e6, 20], ["k2", "Relu", 2e6, 20]]
    assert samples.match(graph, profile) == [(SMALL, 1.0), (LARGE, 3.0), (RELU, 2.0)]


def test_kernels_that_are_in_no_graph_are_left_out(chain):
    graph = chain([SMALL], names=["a"])
    profile = [["a", "Conv", 1e6, 20], ["copy", "Memcpy", 9e6, 20], ["b", "Conv", 9e6, 20]]
    assert samples.match(graph, profile) == [(SMALL, 1.0)]


# -- kernels


def test_a_kernels_time_is_the_median_over_the_profiles_that_have_it(hand_made, conditions):
    times = iter([1e6, 2e6, 9e6, 5e6])
    store = hand_made([[SMALL], [SMALL], [SMALL], [LARGE]], np.full((4, 1), 1e7), lambda op: next(times))
    found = samples.kernels(store, conditions)
    assert dict(zip(found.operators, found.cost, strict=True)) == {SMALL: 2.0, LARGE: 5.0}
    assert dict(zip(found.operators, found.weights, strict=True)) == {SMALL: 3.0, LARGE: 1.0}


def test_only_the_networks_named_are_learned_from(hand_made, conditions):
    store = hand_made([[SMALL], [LARGE], [RELU, LARGE]], np.full((3, 1), 1e7), lambda op: 1e6)
    assert samples.kernels(store, conditions, ["n000"]).operators == (SMALL,)
    assert set(samples.kernels(store, conditions, ["n002"]).operators) == {RELU, LARGE}
    assert samples.kernels(store, conditions, []).operators == ()
    assert samples.kernels(store, conditions, ["another"]).cost.shape == (0,)


def test_profiles_of_a_slow_state_count_as_in_the_usual_one(hand_made, conditions):
    store = hand_made([[SMALL]], np.full((1, 1), 1e7), lambda op: 3e6, sentinel_ns=600_000)
    assert samples.kernels(store, conditions).cost == pytest.approx([2.0])


def test_some_kernels_keep_their_rows(hand_made, conditions):
    store = hand_made([[SMALL, LARGE, RELU]], np.full((1, 1), 1e7), lambda op: {SMALL: 1e6, LARGE: 2e6, RELU: 3e6}[op])
    whole = samples.kernels(store, conditions)
    some = whole.take([2, 0])
    assert some.operators == (whole.operators[2], whole.operators[0])
    assert some.cost.tolist() == [whole.cost[2], whole.cost[0]] and some.device == whole.device


# -- kernels alone


def test_where_no_network_was_profiled_kernels_that_were_measured_alone_are_learned_from(chain, conditions):
    """Runtimes that time no kernels in the graph replay them."""
    from profiler.agent.protocol import Block

    with Store("sqlite://") as store:
        store.bind("fake", "{}", conditions)
        rows = {
            "n000": (ModelRow("n000", "n000", None, None), [SMALL]),
            "n001": (ModelRow("n001", "n001", None, None), [LARGE]),
            "small": (ModelRow("small", "small", None, None, SMALL, 10), [SMALL]),
            "large": (ModelRow("large", "large", None, None, LARGE, 5), [LARGE]),
        }
        for name, (row, operators) in rows.items():
            store.add_model(row, chain(operators))
            store.add_fused(name, conditions, chain(operators))
        for number in range(3):
            process = store.start_process(conditions, "one", seed=number)
            for index in range(3):
                for name, ns in (("n000", 40e6), ("n001", 50e6), ("small", 200e6), ("large", 300e6)):
                    store.add_block(process, Block(name, index, 10, int(ns), 400_000, 400_000))
            facts = [{"event": "state", "gemm_ns": 300_000.0, "memory_ns": 2_000_000.0}]
            store.end_process(process, state="finished", device_s=1.5, facts=facts)
        found = samples.kernels(store, conditions)
        assert dict(zip(found.operators, found.cost, strict=True)) == pytest.approx({SMALL: 2.0, LARGE: 6.0})
        assert samples.kernels(store, conditions, ["n001"]).operators == (LARGE,)
        process = store.start_process(conditions, "two", seed=9)
        store.add_profile(process, ProfileRow("n000", [["node0", "Conv", 1e6, 20]], None, 400_000))
        assert samples.kernels(store, conditions).operators == (SMALL,)  # what is profiled in the graph comes first


# -- networks


def test_a_networks_time_is_the_median_over_its_processes(hand_made, conditions):
    latency = np.array([[2e6, 3e6, 7e6], [1e6, 1e6, 1e6]])
    store = hand_made([[SMALL], [LARGE]], latency, lambda op: 1e6)
    found = samples.networks(store, conditions)
    assert found.ids == ("n000", "n001")
    assert found.cost == pytest.approx([3.0, 1.0])
    shown = latencies(store, conditions)
    assert found.repeats.tolist() == [shown[name].spread for name in found.ids] and found.repeats[0] > found.repeats[1]
    assert [graph.operators for graph in found.graphs] == [(SMALL,), (LARGE,)]


def test_some_networks_keep_their_rows(hand_made, conditions):
    store = hand_made([[SMALL], [LARGE], [RELU]], np.array([[1e6, 1e6], [2e6, 2e6], [3e6, 3e6]]), lambda op: 1e6)
    some = samples.networks(store, conditions).take([2, 0])
    assert some.ids == ("n002", "n000") and some.cost == pytest.approx([3.0, 1.0])
    assert some.graphs[0].operators == (RELU,) and len(some.spaces) == len(some.archs) == len(some.repeats) == 2


def test_kernels_alone_are_no_networks(hand_made, chain, conditions):
    from profiler.agent.protocol import Block

    store = hand_made([[SMALL]], [[2e6]], lambda op: 1e6)
    store.add_model(ModelRow("alone", "alone", None, None, SMALL, 8), chain([SMALL]))
    store.add_fused("alone", conditions, chain([SMALL]))
    process = store.start_process(conditions, "two", seed=9)
    store.add_block(process, Block("alone", 0, 10, 10_000_000, 400_000, 400_000))
    assert samples.networks(store, conditions).ids == ("n000",)


def test_a_store_without_blocks_has_no_networks(conditions):
    with Store("sqlite://") as store:
        store.bind("fake", "{}", conditions)
        found = samples.networks(store, conditions)
    assert found.ids == () and found.cost.shape == found.repeats.shape == (0,)


# -- energy and memory


def test_energy_is_of_networks_and_of_kernels_alone(hand_made, chain, conditions):
    store = hand_made([[SMALL], [LARGE], [RELU]], np.full((3, 1), 1e6), lambda op: 1e6)
    store.add_model(ModelRow("alone", "alone", None, None, SMALL, 8), chain([SMALL]))
    process = store.start_process(conditions, "two", seed=9)
    for model, windows in {"n000": [2.0, 4.0, 9.0], "n002": [5.0], "alone": [8.0, 16.0, 80.0]}.items():
        for net_mj in windows:
            store.add_energy(process, model, Energy(2 * net_mj, net_mj, "made up", 1.0))
    found = samples.networks(store, conditions, "energy")
    assert found.ids == ("n000", "n002") and found.cost.tolist() == [4.0, 5.0] and found.unit == "mJ"
    error = np.std([2, 4, 9], ddof=1) / 4 / np.sqrt(3)
    assert found.repeats == pytest.approx([stats.t.ppf(0.95, 2) * np.sqrt(2) * error, 0.0])
    kernels = samples.kernels(store, conditions, cost="energy")
    assert kernels.operators == (SMALL,) and kernels.cost.tolist() == [2.0], "of one copy"
    assert kernels.weights.tolist() == [3.0] and kernels.unit == "mJ"
    assert samples.kernels(store, conditions).unit == samples.networks(store, conditions).unit == "ms"


def test_memory_is_weights_and_what_the_allocator_handed_out(hand_made, chain, conditions):
    store = hand_made([[SMALL, LARGE], [SMALL, SMALL]], np.full((2, 1), 1e6), lambda op: 1e6)
    assert samples.networks(store, conditions, "memory").ids == (), "no peak was reported"
    process = store.start_process(conditions, "two", seed=9)
    store.add_profile(process, ProfileRow("n000", [], 5_000, 400_000))
    found = samples.networks(store, conditions, "memory")
    weights = 4 * (4 * 4 * 1 * 1 + 4 * 4 * 3 * 3)
    assert found.ids == ("n000",) and found.cost.tolist() == [5_000 + weights] and found.unit == "bytes"
    assert samples.kernels(store, conditions, cost="memory").operators == ()


# -- the speed of light


def test_the_speed_of_light_is_that_of_the_best_sentinels(conditions):
    with Store("sqlite://") as store:
        store.bind("fake", "{}", conditions)
        for gemm_ns, memory_ns in ((5e5, 1e6), (2e5, 4e6)):
            process = store.start_process(conditions, "one", seed=0)
            facts = [{"event": "state", "gemm_ns": gemm_ns, "memory_ns": memory_ns}, {"event": "other"}]
            store.end_process(process, state="finished", device_s=1.0, facts=facts)
        found = samples.device_facts(store, conditions)
    assert found.flops_per_s == pytest.approx(2 * 12 * 96**3 / 2e5 * 1e9)  # 12 products of 96 x 96
    assert found.bytes_per_s == pytest.approx(2 * 8 * 2**20 / 1e6 * 1e9)  # 8 MiB, read and written


def test_a_store_without_sentinels_has_no_speed_of_light(conditions):
    with Store("sqlite://") as store:
        store.bind("fake", "{}", conditions)
        store.start_process(conditions, "one", seed=0)
        with pytest.raises(InvalidData, match="no sentinels") as caught:
            samples.device_facts(store, conditions)
    assert caught.value.hint
