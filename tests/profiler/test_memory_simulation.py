"""Liveness and allocators on graphs by hand and on random ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.memory import planned_peak_bytes, runtimes_with_rules, simulate
from profiler.memory.arena import FIRST_REGION_BYTES, Arena, OffsetPlan, rounded
from profiler.memory.liveness import alive_at
from profiler.operators import Node, Operator, OperatorGraph, Tensor

IN_PLACE = ("Relu", "Sigmoid", "Clip")
SEPARATE = ("Exp", "Neg", "Add", "Sum")
RUNTIMES = ("fake", "onnxruntime", "torch", "nothing-known")


def node(kind: str, inputs: dict[str, Tensor], outputs: dict[str, Tensor], name: str = "") -> Node:
    operator = Operator("", kind, (), tuple(inputs.values()), tuple(outputs.values()))
    return Node(operator, tuple(inputs), tuple(outputs), name)


def chain(kinds: list[str], size: int = 100, weight: int = 0) -> OperatorGraph:
    """x -> ... -> y, values of `size` floats; each node reads a weight of `weight` floats, if any."""
    tensor = Tensor((size,))
    names = ["x", *(f"v{i}" for i in range(len(kinds) - 1)), "y"]
    more = {"w": Tensor((weight,), constant=True)} if weight else {}
    nodes = [
        node(k, {a: tensor, **more}, {b: tensor}, f"n{i}")
        for i, (k, a, b) in enumerate(zip(kinds, names, names[1:], strict=False))
    ]
    return OperatorGraph(tuple(nodes), (("x", tensor),), ("y",))


@st.composite
def graphs(draw: st.DrawFn, kinds: tuple[str, ...] = IN_PLACE + SEPARATE) -> OperatorGraph:
    """Random graphs: each node reads one to three earlier values and writes one or two; sizes are arbitrary."""
    values = {f"in{i}": Tensor((draw(st.integers(1, 400)),)) for i in range(draw(st.integers(1, 2)))}
    inputs = tuple(values.items())
    nodes = []
    for index in range(draw(st.integers(1, 14))):
        reads = draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3))
        same = draw(st.booleans())
        size = values[reads[0]].shape[0] if same else draw(st.integers(1, 400))
        outputs = {f"v{index}.{i}": Tensor((size,)) for i in range(draw(st.integers(1, 2)))}
        operator = Operator(
            "", draw(st.sampled_from(kinds)), (), tuple(values[r] for r in reads), tuple(outputs.values())
        )
        nodes.append(Node(operator, tuple(reads), tuple(outputs), f"n{index}"))
        values |= outputs
    written = [name for n in nodes for name in n.outputs]
    outputs_drawn = draw(st.lists(st.sampled_from(written), min_size=1, max_size=2, unique=True))
    return OperatorGraph(tuple(nodes), inputs, tuple(outputs_drawn))


def sizes_of(graph: OperatorGraph) -> dict[str, int]:
    found = {name: tensor.bytes for name, tensor in graph.inputs}
    for n in graph.nodes:
        found |= {name: tensor.bytes for name, tensor in zip(n.outputs, n.operator.outputs, strict=True)}
    return found


def alive_by_definition(graph: OperatorGraph, index: int) -> set[str]:
    """A value is there while a node runs if it was written by then, and is written or read there or later, or stays."""
    alive = set()
    for name in sizes_of(graph):
        writer = next((i for i, n in enumerate(graph.nodes) if name in n.outputs), -1)
        readers = [i for i, n in enumerate(graph.nodes) if name in n.inputs]
        until = len(graph.nodes) if name in graph.outputs else max([writer, 0, *readers])
        if writer <= index <= until:
            alive.add(name)
    return alive


@given(graphs())
def test_liveness_equals_its_definition(graph: OperatorGraph) -> None:
    sizes = sizes_of(graph)
    expected = [sum(sizes[name] for name in alive_by_definition(graph, i)) for i in range(len(graph.nodes))]
    plan = simulate(graph, "fake")
    assert list(plan.timeline) == expected
    assert plan.activation_peak_bytes == max(expected) == planned_peak_bytes(graph)
    assert plan.peak_index == expected.index(max(expected)) and plan.peak_name == f"n{plan.peak_index}"
    assert {live.name for live in plan.peak_tensors} == alive_by_definition(graph, plan.peak_index)
    assert sum(live.bytes for live in plan.peak_tensors) == plan.activation_peak_bytes
    assert [live.bytes for live in plan.peak_tensors] == sorted((t.bytes for t in plan.peak_tensors), reverse=True)


@given(graphs())
def test_the_peak_lies_between_one_node_and_everything(graph: OperatorGraph) -> None:
    sizes = sizes_of(graph)
    footprints = [sum(sizes[name] for name in {*n.inputs, *n.outputs}) for n in graph.nodes]
    assert max(footprints) <= simulate(graph, "fake").activation_peak_bytes <= sum(sizes.values())


@pytest.mark.parametrize("runtime", RUNTIMES)
@given(graph=graphs())
def test_names_do_not_matter(runtime: str, graph: OperatorGraph) -> None:
    def other(name: str) -> str:
        return f"z{hash(name) % 1000}-{name[::-1]}"

    renamed = OperatorGraph(
        tuple(
            replace(n, inputs=tuple(map(other, n.inputs)), outputs=tuple(map(other, n.outputs))) for n in graph.nodes
        ),
        tuple((other(name), tensor) for name, tensor in graph.inputs),
        tuple(map(other, graph.outputs)),
    )
    one, two = simulate(graph, runtime), simulate(renamed, runtime)
    assert (one.timeline, one.allocator_timeline) == (two.timeline, two.allocator_timeline)
    assert one.allocator_peak_bytes == two.allocator_peak_bytes


@given(graphs(), st.data())
def test_a_larger_tensor_never_lowers_the_peak(graph: OperatorGraph, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(sizes_of(graph))))
    more = data.draw(st.integers(1, 1000))

    def grown(names: tuple[str, ...], tensors: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
        return tuple(Tensor((t.shape[0] + more,)) if n == name else t for n, t in zip(names, tensors, strict=True))

    larger = OperatorGraph(
        tuple(
            replace(
                n,
                operator=replace(
                    n.operator, inputs=grown(n.inputs, n.operator.inputs), outputs=grown(n.outputs, n.operator.outputs)
                ),
            )
            for n in graph.nodes
        ),
        tuple((n, Tensor((t.shape[0] + more,)) if n == name else t) for n, t in graph.inputs),
        graph.outputs,
    )
    before, after = simulate(graph, "fake"), simulate(larger, "fake")
    assert before.activation_peak_bytes <= after.activation_peak_bytes <= before.activation_peak_bytes + 4 * more


@given(graphs(SEPARATE))
def test_an_allocator_without_reuse_in_place_needs_what_is_alive(graph: OperatorGraph) -> None:
    """The caller's inputs are not the arena's; all else that is alive lies in it, rounded up."""
    inputs = {name for name, _ in graph.inputs}
    sizes = sizes_of(graph)
    needed = [
        sum(rounded(sizes[name]) for name in alive_by_definition(graph, i) - inputs) for i in range(len(graph.nodes))
    ]
    plan = simulate(graph, "onnxruntime")
    assert all(used >= need for used, need in zip(plan.allocator_timeline, needed, strict=True))
    assert plan.allocator_peak_bytes >= max(needed)


@given(graphs())
def test_in_place_never_goes_below_what_one_node_needs(graph: OperatorGraph) -> None:
    inputs = {name for name, _ in graph.inputs}
    sizes = sizes_of(graph)
    plan = simulate(graph, "onnxruntime")
    for used, n in zip(plan.allocator_timeline, graph.nodes, strict=True):
        own = [name for name in set(n.inputs) if name not in inputs]
        outputs = [rounded(sizes[name]) for name in n.outputs]
        assert used >= max(sum(rounded(sizes[name]) for name in own), *outputs)
        if n.operator.op_type in IN_PLACE and len(own) == 1:
            assert used >= rounded(sizes[own[0]]) + sum(outputs[1:]), "only the first output is written in place"


def test_a_chain_in_place_takes_one_buffer_and_the_output() -> None:
    size = 100 * 256
    in_place = simulate(chain(["Exp", "Relu", "Relu", "Sigmoid", "Exp"], size // 4), "onnxruntime")
    assert in_place.allocator_peak_bytes == 2 * size, "v0 to v3 share a buffer, y has its own"
    apart = simulate(chain(["Exp", "Exp", "Exp", "Exp", "Exp"], size // 4), "onnxruntime")
    assert apart.allocator_peak_bytes == 3 * size, "two buffers in turn; from the second run on one block, and y"
    assert apart.activation_peak_bytes == in_place.activation_peak_bytes == 2 * size


def test_a_value_that_is_read_later_is_not_written_over() -> None:
    t = Tensor((6400,))
    nodes = (
        node("Exp", {"x": t}, {"a": t}),
        node("Relu", {"a": t}, {"b": t}),
        node("Add", {"a": t, "b": t}, {"c": t}),
        node("Exp", {"c": t}, {"y": t}),
    )
    graph = OperatorGraph(nodes, (("x", t),), ("y",))
    assert simulate(graph, "onnxruntime").allocator_timeline[1] == 2 * t.bytes


def test_aliases_share_a_buffer_and_keep_it_alive() -> None:
    t, flat = Tensor((64, 100)), Tensor((6400,))
    nodes = (
        node("Exp", {"x": t}, {"a": t}),
        node("Reshape", {"a": t, "s": Tensor((1,), "int64", True)}, {"b": flat}),
        node("Exp", {"a": t}, {"c": t}),
        node("Exp", {"b": flat}, {"y": flat}),
        node("Exp", {"c": t}, {"z": t}),
    )
    graph = OperatorGraph(nodes, (("x", t),), ("y", "z"))
    plan = simulate(graph, "onnxruntime")
    assert plan.allocator_resident_bytes == 8, "the small constant lies in the arena"
    assert [used - 8 for used in plan.allocator_timeline] == [t.bytes, t.bytes, 2 * t.bytes, 3 * t.bytes, 3 * t.bytes]
    torch = simulate(graph, "torch")
    assert [used - 2 * t.bytes for used in torch.allocator_timeline[:3]] == [t.bytes, t.bytes, 2 * t.bytes]


def test_weights_are_counted_once_by_name() -> None:
    plan = simulate(chain(["Add", "Add", "Add"], 10, weight=7), "fake")
    assert plan.weight_bytes == 28 and plan.activation_peak_bytes == 80


def test_equal_weights_of_several_nodes_are_packed_once() -> None:
    x, w, y = Tensor((2, 24)), Tensor((24, 30), constant=True), Tensor((2, 30))
    graph = OperatorGraph(
        (node("MatMul", {"x": x, "w": w}, {"a": y}), node("MatMul", {"x": x, "w": w}, {"b": y})),
        (("x", x),),
        ("a", "b"),
    )
    plan = simulate(graph, "onnxruntime")
    assert plan.allocator_resident_bytes == 24 * 32 * 4, "30 columns are filled up to 32"
    assert plan.replaced_weight_bytes == plan.weight_bytes == 24 * 30 * 4


def test_a_runtime_without_rules_says_so() -> None:
    graph = chain(["Relu", "Exp"])
    plan = simulate(graph, "tensorrt")
    assert plan.allocator_peak_bytes == plan.activation_peak_bytes == 800
    assert plan.runtime == "tensorrt" and "no rules are known of the allocator of 'tensorrt'" in plan.notes[0]
    assert simulate(graph, "fake").notes == () and runtimes_with_rules() == ("fake", "onnxruntime", "torch")


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_what_is_not_known_of_an_operator_is_said(runtime: str) -> None:
    plan = simulate(chain(["Relu", "Mystery"]), runtime)
    assert "Mystery" in plan.notes[0] and "not known and counted as 0" in plan.notes[0]
    assert "Relu" not in plan.notes[0]


def test_no_nodes_no_peak_node() -> None:
    plan = simulate(OperatorGraph((), (("x", Tensor((10,))),), ("x",)), "fake")
    assert plan.activation_peak_bytes == 40 and plan.peak_index is None
    assert plan.peak_name == "" and plan.peak_tensors == () and plan.timeline == ()


def test_what_is_alive_is_readable() -> None:
    graph = chain(["Exp", "Exp"])
    assert [str(live) for live in alive_at(graph, 0)] == ["v0 100 (400 bytes)", "x 100 (400 bytes)"]


def test_what_is_handed_out_too_large_is_not_touched() -> None:
    """A tensor of 1.25 MiB gets the whole region of 2 MiB; a process has what is written."""
    size = 5 << 18
    plan = simulate(chain(["Exp"], size // 4), "onnxruntime")
    assert plan.allocator_peak_bytes == 2 << 20 and plan.allocator_touched_bytes == size
    assert plan.replaced_weight_bytes == 0 and simulate(chain(["Exp"]), "torch").allocator_touched_bytes > 0


def test_the_arena_rounds_splits_and_merges() -> None:
    arena = Arena()
    first = arena.allocate(1)
    assert arena.in_use_bytes == 256 and arena.held_bytes == FIRST_REGION_BYTES
    assert arena.allocate(0) is None and arena.in_use_bytes == 256
    second, third = arena.allocate(1000), arena.allocate(300_000)
    for place in (first, third, second):
        arena.free(place)
    assert arena.in_use_bytes == 0
    assert arena.allocate(FIRST_REGION_BYTES) == 0 and arena.held_bytes == FIRST_REGION_BYTES, "one chunk again"


def test_a_chunk_of_less_than_twice_the_size_is_handed_out_whole() -> None:
    arena = Arena()
    arena.allocate(FIRST_REGION_BYTES // 2 + 256)
    assert arena.in_use_bytes == FIRST_REGION_BYTES
    arena.allocate(3 * FIRST_REGION_BYTES)
    assert arena.held_bytes == 5 * FIRST_REGION_BYTES and arena.peak_bytes == 5 * FIRST_REGION_BYTES


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3_000_000)), max_size=60))
def test_the_arena_never_hands_out_memory_twice(steps: list[tuple[int, int]]) -> None:
    arena, places = Arena(), []
    for choice, size in steps:
        if choice == 0 and places:
            arena.free(places.pop(size % len(places))[0])
            continue
        place = arena.allocate(size)
        if place is not None:
            assert all(place + size <= a or a + s <= place for a, s in places), "overlap"
            places.append((place, size))
        used = sum(rounded(s) for _, s in places)
        assert used <= arena.in_use_bytes <= arena.peak_bytes <= arena.held_bytes
        assert sum(s for _, s in places) <= arena.touched_bytes <= arena.held_bytes
    for place, _ in places:
        arena.free(place)
    assert arena.in_use_bytes == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), max_size=40))
def test_a_block_holds_what_is_alive_at_once(steps: list[tuple[bool, int]]) -> None:
    plan, alive, most = OffsetPlan(), Counter[str](), 0
    for index, (drop, size) in enumerate(steps):
        if drop and alive:
            name = sorted(alive)[size % len(alive)]
            plan.free(name)
            del alive[name]
        else:
            plan.allocate(f"b{index}", size)
            alive[f"b{index}"] = rounded(size)
            most = max(most, sum(alive.values()))
    assert most <= plan.block_bytes <= sum(rounded(size) for _, size in steps)


def test_a_block_takes_the_tightest_gap() -> None:
    plan = OffsetPlan()
    for name, size in (("a", 1024), ("b", 256), ("c", 512), ("d", 256)):
        plan.allocate(name, size)
    plan.free("a")
    plan.free("c")
    plan.allocate("e", 512)  # into the place of c, not of a
    plan.allocate("f", 1024)  # into the place of a
    assert plan.block_bytes == 1024 + 256 + 512 + 256
