"""How networks of a factory's module are put together from blocks; composing one of them needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nas.sources import digest
from profiler.assembly import INPUT, Block

if TYPE_CHECKING:
    from torch import nn

#: Names that a `torch.nn.ModuleDict` has for itself, or an assembly for its input, are not those of blocks.
_TAKEN = frozenset({INPUT, "training", "forward", "keys", "items", "values", "pop", "clear", "update", "type", "half"})

Make = Callable[["Piece"], "nn.Module"]


@dataclass(frozen=True)
class Piece:
    """A part without choices.

    Attributes:
        name: of the block.
        key: of the block.
        inputs: names of values.
        path: of a module, whole.
        graph: of `torch.fx`, in place of one module; its targets are paths from the network's root.
        constants: tensors that the graph reads, by their names.
        chosen: genes inside, where the part has choices that could not be cut.
    """

    name: str
    key: str
    inputs: tuple[str, ...]
    path: str
    graph: Any = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    chosen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pick:
    """A choice: one of several plans."""

    name: str
    gene: str
    inputs: tuple[str, ...]
    options: Mapping[str, ModulePlan]


@dataclass(frozen=True)
class Row:
    """A repeat: the first so many of its plans, one after the other."""

    name: str
    gene: str
    inputs: tuple[str, ...]
    blocks: tuple[ModulePlan, ...]


@dataclass(frozen=True)
class ModulePlan:
    """A network, or a part of one.

    Attributes:
        inputs: names of values that it is given.
        steps: in order.
        output: name of the value that it gives: of a step, or of an input.
    """

    inputs: tuple[str, ...]
    steps: tuple[Piece | Pick | Row, ...]
    output: str


def blocks(plan: ModulePlan, values: Mapping[str, Any], make: Make) -> tuple[list[Block], str]:
    """The blocks of one network.

    Args:
        plan: of the whole network, with one input.
        values: what is chosen, by gene.
        make: the module of a piece.

    Returns:
        Its blocks, and the name of the one that gives the output; `INPUT` if none does.
    """
    found: list[Block] = []
    return found, _compose(plan, (INPUT,), values, "", found, make)


def _compose(
    plan: ModulePlan, given: tuple[str, ...], values: Mapping[str, Any], prefix: str, found: list[Block], make: Make
) -> str:
    at = dict(zip(plan.inputs, given, strict=True))
    for step in plan.steps:
        read = tuple(at[name] for name in step.inputs)
        place = f"{prefix}_{step.name}".strip("_")
        if isinstance(step, Piece):
            said = [f"{gene}={values[gene]}" for gene in step.chosen]
            key = f"{step.key} {digest(*said)}" if said else step.key
            name = _free(place, found)
            found.append(Block(name, key, read, lambda step=step: make(step)))  # type: ignore[misc]
            at[step.name] = name
        elif isinstance(step, Pick):
            at[step.name] = _compose(step.options[values[step.gene]], read, values, place, found, make)
        else:
            for number, block in enumerate(step.blocks[: values[step.gene]]):
                read = (_compose(block, read, values, f"{place}_{number}", found, make),)
            at[step.name] = read[0]
    return at[plan.output]


def _free(name: str, found: list[Block]) -> str:
    """The name, or one that is like it and may be a block's."""
    taken = {block.name for block in found}
    name = name or "block"
    name = f"{name}_" if name in _TAKEN else name
    number, wanted = 1, name
    while wanted in taken:
        number += 1
        wanted = f"{name}_{number}"
    return wanted
