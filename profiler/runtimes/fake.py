"""A runtime without a device: costs are a formula, noise and slow states are made, and time is a counter.

It goes through the same loop as the real ones, so the protocol can be tested against a known truth.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from device_profiles.errors import InvalidModel, UnsupportedOperator
from profiler.runtimes.protocol import (
    KernelTime,
    Option,
    Profile,
    RuntimeOptions,
    Sentinel,
    Traits,
    require_options,
    require_precision,
)

#: Cost of a node: launching it, and each MAC and element it handles.
NODE_NS = 4_000.0
WEIGHT_NS = 0.5
SENTINEL_NS = 400_000.0
#: Operations and bytes of its sentinels.
SENTINEL_WORK = {"gemm": (2.1e7, 0.0), "alu": (0.0, 0.0), "memory": (0.0, 1.7e7)}
#: Elements of a tensor that no real machine has room for: 32 GiB of fp32.
MOST_ELEMENTS = 2**33


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


#: Options of the target; see `FakeMachine`.
OPTIONS = {
    "seed": Option("a whole number of at least 0", lambda value: type(value) is int and value >= 0),
    "noise": Option("a number in 0..10", lambda value: _number(value, 0.0, 10.0)),
    "slow": Option("a chance in 0..1", lambda value: _number(value, 0.0, 1.0)),
    "slowdown": Option("a factor in 0.001..1000", lambda value: _number(value, 1e-3, 1e3)),
    "unsupported": Option("the name of an operator", lambda value: isinstance(value, str)),
}


class FakeMachine:
    """A clock, and a state that makes everything slower.

    Options of the target: `seed`; `noise`, the relative noise of a call; `slow`, the chance that a process runs in the
    slow state; `slowdown`, by how much; `unsupported`, an operator that it refuses.
    """

    def __init__(self) -> None:
        self.now_ns = 0.0
        self.options: Mapping[str, Any] = {}
        self._rng: np.random.Generator | None = None
        self._factor = 1.0

    def configure(self, options: Mapping[str, Any]) -> None:
        """Take the target's options; the first call draws the state of this process."""
        if self._rng is None:
            self.options = dict(options)
            process = int(os.environ.get("HWNAS_PROCESS", "0"))
            self._rng = np.random.default_rng([int(options.get("seed", 0)), process])
            slow = self._rng.random() < float(options.get("slow", 0.0))
            self._factor = float(options.get("slowdown", 1.25)) if slow else 1.0

    def spend(self, cost_ns: float) -> None:
        """Let time pass for a piece of work."""
        rng = self._rng or np.random.default_rng(0)
        noise = float(self.options.get("noise", 0.01))
        self.now_ns += cost_ns * self._factor * (1.0 + noise * abs(float(rng.standard_normal())))

    def clock(self) -> int:
        """The time of this machine; reading it takes 20 ns."""
        self.now_ns += 20.0
        return int(self.now_ns)


class FakeSession:
    """A model whose nodes have known costs."""

    def __init__(self, model: Path, machine: FakeMachine) -> None:
        self._machine = machine
        self._costs = node_costs_ns(model, str(machine.options.get("unsupported", "")))
        self._total_ns = sum(cost for _, _, cost in self._costs)

    def run(self) -> None:
        """Let the model's time pass."""
        self._machine.spend(self._total_ns)

    @property
    def call(self) -> Callable[[], object]:
        """The same."""
        return self.run

    def outputs(self) -> list[Any]:
        """Nothing is computed."""
        return []

    def profile(self, runs: int) -> Profile | None:
        """The true cost of each node, 10 % up: profilers perturb."""
        return Profile(tuple(KernelTime(name, op, 1.1 * cost, runs) for name, op, cost in self._costs), None)

    def close(self) -> None:
        """Nothing is held."""


class FakeRuntime:
    """Runs nothing, on a machine that does not exist."""

    traits: ClassVar[Traits] = Traits(times="a formula", calls_cost=False, simulated=True)

    def __init__(self) -> None:
        self._machine = FakeMachine()

    @property
    def version(self) -> str:
        """Always `fake 1`."""
        return "fake 1"

    @property
    def clock(self) -> Callable[[], int]:
        """The machine's own clock."""
        return self._machine.clock

    def sentinels(self) -> Mapping[str, Sentinel] | None:
        """Work that slows down with the machine."""
        return {
            name: Sentinel(lambda: self._machine.spend(SENTINEL_NS), operations, read)
            for name, (operations, read) in SENTINEL_WORK.items()
        }

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> FakeSession:
        """Read the costs of a model."""
        _require(options)
        self._machine.configure(options.options)
        return FakeSession(model, self._machine)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """Nodes stay as they are."""
        _require(options)
        node_costs_ns(model, str(options.options.get("unsupported", "")))
        return None


RUNTIME = FakeRuntime


def node_costs_ns(model: Path, unsupported: str = "") -> list[tuple[str, str, float]]:
    """Name, operator and true cost of each node: 4 us and 0.5 ns for each element of its weights.

    Raises:
        InvalidModel: the file is not ONNX, or no runtime could run it: nodes wait for each other, read what nobody
            makes, or make what is there already; a tensor's size is negative, or more than any machine has.
        UnsupportedOperator: it holds the operator `unsupported`.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(model, load_external_data=False).graph
    except DecodeError as error:
        raise InvalidModel(f"{model.name} is not an ONNX model: {error}", hint="Export it again.") from error
    _require_order(model, graph)
    _require_sizes(model, graph)
    sizes = {weight.name: math.prod(weight.dims) for weight in graph.initializer}
    if unsupported and any(node.op_type == unsupported for node in graph.node):
        raise UnsupportedOperator(
            f"the fake runtime was told to refuse {unsupported}, and the model has one",
            hint="Take the option 'unsupported' away.",
        )
    return [
        (node.name, node.op_type, NODE_NS + WEIGHT_NS * sum(sizes.get(name, 0) for name in node.input))
        for node in graph.node
    ]


def _require_order(model: Path, graph: Any) -> None:
    """Refuse nodes that cannot run one after another."""
    there = {value.name for value in graph.input} | {weight.name for weight in graph.initializer} | {""}
    made: set[str] = set()
    for name in (name for node in graph.node for name in node.output if name):
        if name in made or name in there:
            raise InvalidModel(f"{model.name}: {name[:60]!r} is made twice", hint="Export it again.")
        made.add(name)
    waiting = [(node, _reads(node)) for node in graph.node]
    for node, reads in waiting:
        absent = sorted(reads - made - there)
        if absent:
            raise InvalidModel(
                f"{model.name}: node {node.name[:60]!r} reads {absent[0][:60]!r}, which nobody makes",
                hint="Export it again.",
            )
    readers: dict[str, list[int]] = {}
    for place, (_, reads) in enumerate(waiting):
        for name in reads - there:
            readers.setdefault(name, []).append(place)
    missing = [len(reads - there) for _, reads in waiting]
    ready = [place for place, count in enumerate(missing) if count == 0]
    for place in ready:  # grows while it is walked
        for name in waiting[place][0].output:
            for reader in readers.get(name, ()):
                missing[reader] -= 1
                if missing[reader] == 0:
                    ready.append(reader)
    if len(ready) < len(waiting):
        stuck = next(node for place, (node, _) in enumerate(waiting) if missing[place])
        raise InvalidModel(
            f"{model.name}: node {stuck.name[:60]!r} waits for itself: the nodes run in a circle",
            hint="Export it again.",
        )
    absent = sorted({value.name for value in graph.output} - made - there)
    if absent:
        raise InvalidModel(f"{model.name}: nobody makes the output {absent[0][:60]!r}", hint="Export it again.")


def _reads(node: Any) -> set[str]:
    """What a node reads, its branches and bodies included."""
    reads = set(node.input)
    for attribute in node.attribute:
        for body in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            own = {value.name for value in body.input} | {weight.name for weight in body.initializer}
            own |= {name for inner in body.node for name in inner.output}
            needed = {name for inner in body.node for name in _reads(inner)} | {value.name for value in body.output}
            reads |= needed - own
    return reads - {""}


def _require_sizes(model: Path, graph: Any) -> None:
    """Refuse tensors that no machine could hold."""
    known = [(weight.name, list(weight.dims)) for weight in graph.initializer]
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.HasField("tensor_type"):
            dims = value.type.tensor_type.shape.dim
            known.append((value.name, [dim.dim_value for dim in dims if dim.HasField("dim_value")]))
    for name, extents in known:
        if any(extent < 0 for extent in extents) or math.prod(extents) > MOST_ELEMENTS:
            raise InvalidModel(
                f"{model.name}: {name[:60]!r} has the shape {extents[:8]}; a tensor has 0 to {MOST_ELEMENTS} elements",
                hint="Export it with the shapes that it runs with.",
            )


def _require(options: RuntimeOptions) -> None:
    require_precision("fake", FakeRuntime.traits, options.precision)
    require_options("fake", options.options, OPTIONS)
