"""A space from a table of choices and a function that builds the network: for spaces that need no file of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces.product import Gene, Option, ProductSpace
from nas.spaces.registry import REGISTRY
from profiler.assembly import INPUT, Assembly, Block

if TYPE_CHECKING:
    from torch import nn

Build = Callable[[dict[str, Any]], "nn.Module | Assembly"]


@dataclass(frozen=True)
class ChoiceTable(ProductSpace):
    """A space made by `from_choices`.

    Attributes:
        name: of the space.
        choice_table: its genes.
        build: from a dictionary of options to a module or an assembly.
        shape: of one input.
    """

    name: str  # type: ignore[misc]
    choice_table: tuple[Gene, ...]
    build: Build = field(repr=False)
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        names = [gene.name for gene in self.choice_table]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"a space needs genes with distinct names, got {names}")

    @property
    def spec(self) -> str:
        """The name."""
        return self.name

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """As given."""
        return self.choice_table

    @property
    def input_shape(self) -> tuple[int, ...]:
        """As given."""
        return self.shape

    def assembly(self, arch: Archs) -> Assembly:
        """What `build` gives; a module becomes one block."""
        built = self.build(self.values(arch))
        if isinstance(built, Assembly):
            return built
        key = f"{self.name} {self.format(np.asarray(arch))}"
        make: Any = partial(self.build, self.values(arch))  # a module, as this one is
        return Assembly((Block("network", key, (INPUT,), make),), self.shape)


def from_choices(
    choices: Mapping[str, Sequence[Option]],
    build: Build,
    *,
    input_shape: tuple[int, ...],
    name: str = "mine",
) -> ChoiceTable:
    """Make a space from a table of choices, and register it under its name in this process.

    Args:
        choices: by name the options of each gene. Numbers that ascend or descend are an order, all else are categories.
        build: from a dictionary such as `{"kernel": 3, "width": 16}` to a torch module, or to an
            `profiler.assembly.Assembly`, whose blocks are exported once for all networks.
        input_shape: of one input, the batch of 1 included.
        name: of the space.

    Returns:
        A space like those that ship.

    Raises:
        UsageError: there is no gene, or one without options.
    """
    genes = tuple(Gene(gene, tuple(options), _graded(options)) for gene, options in choices.items())
    space = ChoiceTable(name, genes, build, tuple(input_shape))
    REGISTRY.register(name, lambda: space)
    return space


def _graded(options: Sequence[Option]) -> bool:
    if not all(isinstance(option, (int, float)) for option in options):
        return False
    steps = np.diff(np.array(options, dtype=np.float64))
    return bool((steps > 0).all() or (steps < 0).all())
