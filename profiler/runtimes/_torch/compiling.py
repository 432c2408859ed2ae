"""Graphs as lists of calls without arguments: each node is built and run once against the values that it will see.

What does not depend on what the model is given is computed here, and is no call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from device_profiles.errors import HwnasError, InvalidModel, UnsupportedOperator
from profiler.runtimes._torch import control, definitions
from profiler.runtimes._torch.graph import Graph, GraphNode
from profiler.runtimes._torch.node import Attributes, Call, Node
from profiler.runtimes._torch.operators import BUILDERS

Step = Callable[[], None]


@dataclass(frozen=True)
class Program:
    """A compiled graph.

    Attributes:
        values: tensors by name: what the graph is given, constants that steps read, outputs.
        steps: one for each node that depends on what the graph is given.
        nodes: name and operator of each step.
        constants: names of values that are alike in all runs.
        given: names of what the graph gets in each run.
        outputs: names of what it gives.
    """

    values: dict[str, Any]
    steps: Sequence[Step]
    nodes: Sequence[tuple[str, str]]
    constants: frozenset[str]
    given: tuple[str, ...]
    outputs: tuple[str, ...]

    def results(self) -> list[Tensor]:
        """The outputs of the run before."""
        return [self.values[name] for name in self.outputs]

    def call(self, tensors: Iterable[Tensor | None]) -> list[Tensor]:
        """One run as a part of another graph; nothing of it stays but constants."""
        values = self.values
        values.update(zip(self.given, tensors, strict=True))
        for step in self.steps:
            step()
        results = self.results()
        self.forget()
        return results

    def forget(self) -> None:
        """Drop all that is not a constant."""
        for name in [name for name in self.values if name not in self.constants]:
            del self.values[name]


@dataclass(frozen=True)
class Compiler:
    """How the graphs of one file are compiled.

    Attributes:
        file: its name, for messages.
        opset: version of ONNX's operator set.
        supported: whether ONNX finds nothing wrong with a node, given its inputs: then it is torch that cannot run it.
    """

    file: str
    opset: int
    supported: Callable[[GraphNode, Sequence[Tensor | None]], bool]

    def compile(self, graph: Graph, given: Mapping[str, Tensor | None], constant: Iterable[str] = ()) -> Program:
        """Compile a graph for what it is given.

        Args:
            graph: what to compile.
            given: its inputs and what it takes from around it; the tensors of the first run.
            constant: which of these are alike in all runs.

        Raises:
            UnsupportedOperator: torch cannot run a node; the message names it.
            InvalidModel: a node cannot be run by anybody.
        """
        values: dict[str, Any] = {"": None, **graph.weights, **given}
        constants, kept = {"", *graph.weights, *constant}, {"", *graph.outputs}
        steps, nodes, computed = [], [], set[str]()
        for node in graph.nodes:
            folded = all(name in constants for name in node.reads)
            (constants if folded else computed).update(node.writes)
            step = self._step(node, values, constants, computed)
            if not folded:
                kept.update(node.reads)
                steps.append(step)
                nodes.append((node.name, node.op_type))
        for name in (constants & values.keys()) - kept:
            del values[name]
        absent = [name for name in graph.outputs if name not in values]
        if absent:
            raise InvalidModel(f"{self.file}: nothing writes the output {absent[0]!r}", hint="Export it again.")
        return Program(values, steps, nodes, frozenset(constants), tuple(given), graph.outputs)

    def _step(self, node: GraphNode, values: dict[str, Any], constants: set[str], computed: set[str]) -> Step:
        """Build a node and run it once."""
        where = f"node {node.name!r} ({node.op_type})"
        absent = [name for name in node.reads if name not in values]
        if absent:
            raise InvalidModel(
                f"{self.file}: {where} does not run: nothing before it writes its input {absent[0]!r}",
                hint="Check the file with onnx.checker.check_model, and export it again.",
            )
        tensors = tuple(values[name] for name in node.reads)
        try:
            call = self._call(node, tensors, tuple(name in constants for name in node.reads))
            step = _as_step(call, node, tuple(name for name in node.drops if name in computed), values)
            step()
        except HwnasError:  # of a graph inside of the node
            raise
        except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            refused = isinstance(error, NotImplementedError)
            if refused or (not isinstance(error, LookupError) and self.supported(node, tensors[: node.inputs])):
                reason = str(error).split("\n", maxsplit=1)[0]
                raise UnsupportedOperator(
                    f"the runtime torch cannot run {node.op_type} of {self.file} (node {node.name!r}): {reason}",
                    hint="Change the operator's attributes, or measure with the runtime onnxruntime.",
                ) from error
            raise InvalidModel(
                f"{self.file}: {where} does not run: {error}",
                hint="Check the file with onnx.checker.check_model, and export it again.",
            ) from error
        return step

    def _call(self, node: GraphNode, tensors: tuple[Tensor | None, ...], constant: tuple[bool, ...]) -> Call:
        if node.op_type in control.BUILDERS:
            return control.BUILDERS[node.op_type](node, tensors, constant, self.opset, self.compile)
        attributes = Attributes(node.attributes)
        operator = Node(node.op_type, attributes, tensors, constant, node.outputs, len(node.writes), self.opset)
        call = BUILDERS[node.op_type](operator)
        ignored = definitions.without_effect(node.op_type, self.opset, node.attributes, attributes.unseen())
        if ignored:
            raise NotImplementedError(f"the attribute {ignored[0]}")
        return call


def _as_step(call: Call, node: GraphNode, drops: tuple[str, ...], values: dict[str, Any]) -> Step:
    """One node as a call without arguments, so that running a model is a loop over calls."""
    reads, writes = node.reads, node.writes
    if len(writes) > 1:

        def step() -> None:
            values.update(zip(writes, call(*[values[name] for name in reads]), strict=False))
            for name in drops:
                del values[name]

        def step_with_gaps() -> None:
            step()
            values[""] = None

        return step_with_gaps if "" in writes else step
    (write,) = writes

    def step_of_one() -> None:
        values[write] = call(*[values[name] for name in reads])
        for name in drops:
            del values[name]

    return step_of_one
