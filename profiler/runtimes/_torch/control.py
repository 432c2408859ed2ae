"""If, Loop and Scan: the graphs inside are compiled for the values that they get.

A session's inputs are the same in every run, so branches that are taken and numbers of iterations are, too. Each
iteration is compiled by itself, since what a node is built for (a slice's bounds, a shape) may change from one to the
next; weights are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from profiler.runtimes._torch.graph import Graph, GraphNode
from profiler.runtimes._torch.node import Call

if TYPE_CHECKING:
    from profiler.runtimes._torch.compiling import Program

Tensors = tuple[Tensor | None, ...]
Compile = Callable[..., "Program"]
Builder = Callable[[GraphNode, Tensors, tuple[bool, ...], int, Compile], Call]

#: More iterations than this are refused: each keeps its own calls.
MOST_ITERATIONS = 10_000


def _if(node: GraphNode, tensors: Tensors, constant: tuple[bool, ...], _: int, compile_graph: Compile) -> Call:
    condition = tensors[0]
    assert condition is not None
    branch: Graph = node.attributes["then_branch" if bool(condition.item()) else "else_branch"]
    outer = [(position, name) for position, name in enumerate(node.reads) if position and name in branch.outer]
    program = compile_graph(
        branch,
        {name: tensors[position] for position, name in outer},
        [name for position, name in outer if constant[position]],
    )
    program.forget()
    positions, several = [position for position, _ in outer], len(node.writes) > 1

    def call(*tensors: Tensor | None) -> Any:
        results = program.call([tensors[position] for position in positions])
        return results if several else results[0]

    return call


class _Iterations:
    """The body of a loop, compiled for one iteration after the other."""

    def __init__(
        self, body: Graph, outer: Mapping[str, Tensor | None], constant: set[str], compile_graph: Compile
    ) -> None:
        self._body, self._outer, self._constant, self._compile = body, outer, constant, compile_graph
        self.programs: list[Program] = []
        self._constant_results: tuple[bool, ...] = ()

    def add(self, given: Tensors, constant: tuple[bool, ...]) -> tuple[list[Tensor], tuple[bool, ...]]:
        """Compile the next iteration; its results, and which of them are constants."""
        if len(self.programs) == MOST_ITERATIONS:
            raise NotImplementedError(f"more than {MOST_ITERATIONS} iterations")
        names = self._body.inputs
        if len(names) != len(given):
            raise ValueError(f"its body has {len(names)} inputs, not {len(given)}")
        fixed = self._constant | {name for name, alike in zip(names, constant, strict=True) if alike}
        program = self._compile(self._body, {**dict(zip(names, given, strict=True)), **self._outer}, fixed)
        results = program.results()
        program.forget()
        self.programs.append(program)
        return results, tuple(name in program.constants for name in program.outputs)


def _loop(node: GraphNode, tensors: Tensors, constant: tuple[bool, ...], _: int, compile_graph: Compile) -> Call:
    body: Graph = node.attributes["body"]
    inputs = node.inputs
    limit = None if inputs < 1 or tensors[0] is None else int(tensors[0].item())
    start = tensors[1] if inputs > 1 else None
    outer = dict(zip(node.reads[inputs:], tensors[inputs:], strict=True))
    fixed = {name for name, alike in zip(node.reads[inputs:], constant[inputs:], strict=True) if alike}
    iterations = _Iterations(body, outer, fixed, compile_graph)
    yes = torch.tensor(True)
    state, alike = (
        (yes if start is None else start, *tensors[2:inputs]),
        (start is None or constant[1], *constant[2:inputs]),
    )
    carried = len(state) - 1
    numbers: list[Tensor] = []
    while (limit is None or len(numbers) < limit) and bool(_present(state[0]).item()):
        number = torch.tensor(len(numbers))
        results, steady = iterations.add((number, *state), (True, *alike))
        state, alike = tuple(results[: carried + 1]), steady[: carried + 1]
        numbers.append(number)
    scanned = len(body.outputs) - carried - 1
    if scanned and not numbers and len(node.writes) > carried:
        raise NotImplementedError("no iteration, with outputs that are gathered from iterations")
    steps, several = list(zip(numbers, iterations.programs, strict=True)), len(node.writes) > 1

    def call(*tensors: Tensor | None) -> Any:
        condition = tensors[1] if inputs > 1 and tensors[1] is not None else yes
        state: list[Tensor | None] = [condition, *tensors[2:inputs]]
        gathered: list[list[Tensor]] = []
        for number, program in steps:
            results = program.call([number, *state, *tensors[inputs:]])
            state = list(results[: carried + 1])
            gathered.append(results[carried + 1 :])
        given: list[Any] = [*state[1:], *(torch.stack(parts) for parts in zip(*gathered, strict=True))]
        return given if several else given[0]

    return call


def _scan(node: GraphNode, tensors: Tensors, constant: tuple[bool, ...], opset: int, compile_graph: Compile) -> Call:
    if opset < 9:
        raise NotImplementedError("a batch of sequences, as operator sets before 9 have it")
    body: Graph = node.attributes["body"]
    inputs, scanned = node.inputs, node.attributes["num_scan_inputs"]
    carried = inputs - scanned
    gained = len(body.outputs) - carried
    axes = list(node.attributes.get("scan_input_axes") or [0] * scanned)
    backward = list(node.attributes.get("scan_input_directions") or [0] * scanned)
    out_axes = list(node.attributes.get("scan_output_axes") or [0] * gained)
    out_backward = list(node.attributes.get("scan_output_directions") or [0] * gained)
    outer = dict(zip(node.reads[inputs:], tensors[inputs:], strict=True))
    fixed = {name for name, alike in zip(node.reads[inputs:], constant[inputs:], strict=True) if alike}
    iterations = _Iterations(body, outer, fixed, compile_graph)
    lengths = {_present(data).shape[axis] for data, axis in zip(tensors[carried:inputs], axes, strict=True)}
    if len(lengths) != 1:
        raise ValueError(f"it scans lengths of {sorted(lengths)}")
    (length,) = lengths
    if not length:
        raise NotImplementedError("no iteration")

    def parts(tensors: Tensors, at: int) -> list[Tensor]:
        return [
            _present(data).select(axis, length - 1 - at if turned else at)
            for data, axis, turned in zip(tensors[carried:inputs], axes, backward, strict=True)
        ]

    state, alike = tensors[:carried], constant[:carried]
    for at in range(length):
        results, steady = iterations.add((*state, *parts(tensors, at)), (*alike, *constant[carried:inputs]))
        state, alike = tuple(results[:carried]), steady[:carried]
    programs, several = iterations.programs, len(node.writes) > 1

    def call(*tensors: Tensor | None) -> Any:
        state: list[Tensor | None] = list(tensors[:carried])
        gathered: list[list[Tensor]] = []
        for at, program in enumerate(programs):
            results = program.call([*state, *parts(tensors, at), *tensors[inputs:]])
            state = list(results[:carried])
            gathered.append(results[carried:])
        stacked = (
            torch.stack(items[::-1] if turned else items, axis)
            for items, axis, turned in zip(zip(*gathered, strict=True), out_axes, out_backward, strict=True)
        )
        given: list[Any] = [*state, *stacked]
        return given if several else given[0]

    return call


def _present(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError("an input is left out")
    return tensor


BUILDERS: dict[str, Builder] = {"If": _if, "Loop": _loop, "Scan": _scan}
