"""A runtime without a device: costs are a formula, noise and slow states are made, and time is a counter.

It goes through the same loop as the real ones, so the protocol can be tested against a known truth.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import InvalidModel, UnsupportedOperator
from profiler.runtimes.protocol import KernelTime, Profile, RuntimeOptions

#: Cost of a node: launching it, and each MAC and element it handles.
NODE_NS = 4_000.0
WEIGHT_NS = 0.5
SENTINEL_NS = 400_000.0


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

    def sentinels(self) -> Mapping[str, Callable[[], None]] | None:
        """Work that slows down with the machine."""
        return {name: lambda: self._machine.spend(SENTINEL_NS) for name in ("gemm", "alu", "memory")}

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> FakeSession:
        """Read the costs of a model."""
        self._machine.configure(options.options)
        return FakeSession(model, self._machine)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """Nodes stay as they are."""
        node_costs_ns(model, str(options.options.get("unsupported", "")))
        return None

    def empty_model(self) -> bytes | None:
        """Calls cost nothing."""
        return None

    def kernel_model(self, operator: list[Any], copies: int, values: Mapping[int, Any] | None = None) -> bytes | None:
        """Kernels are not replayed."""
        return None


RUNTIME = FakeRuntime


def node_costs_ns(model: Path, unsupported: str = "") -> list[tuple[str, str, float]]:
    """Name, operator and true cost of each node: 4 us and 0.5 ns for each element of its weights.

    Raises:
        InvalidModel: the file is not ONNX.
        UnsupportedOperator: it holds the operator `unsupported`.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(model, load_external_data=False).graph
    except DecodeError as error:
        raise InvalidModel(f"{model.name} is not an ONNX model: {error}", hint="Export it again.") from error
    sizes = {weight.name: int(np.prod(weight.dims)) for weight in graph.initializer}
    if unsupported and any(node.op_type == unsupported for node in graph.node):
        raise UnsupportedOperator(
            f"the fake runtime was told to refuse {unsupported}, and the model has one",
            hint="Take the option 'unsupported' away.",
        )
    return [
        (node.name, node.op_type, NODE_NS + WEIGHT_NS * sum(sizes.get(name, 0) for name in node.input))
        for node in graph.node
    ]
