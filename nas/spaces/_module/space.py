"""A space from a function that builds a torch module with choices inside."""

from __future__ import annotations

import copy
import re
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidModel, UsageError
from nas.arrays import Archs
from nas.sources import describe, digest
from nas.spaces import live
from nas.spaces._module import checks, genes, structure
from nas.spaces._module.cutting import Cutter
from nas.spaces._module.genes import Factory, Genes
from nas.spaces._module.plan import ModulePlan, Piece, blocks
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import INPUT, INPUT_DTYPES, Assembly, Block

if TYPE_CHECKING:
    from torch import nn

#: Plans that are kept, one for each values of the options.
_MOST_PLANS = 256


@dataclass(frozen=True)
class ModuleAssembly(Assembly):
    """A network of a module space; as a module it takes one run of the factory, not one for each block."""

    space: ModuleSpace = field(kw_only=True, compare=False, repr=False)
    values: dict[str, Any] = field(kw_only=True, compare=False, repr=False)

    def to_module(self) -> nn.Module:
        """See `Assembly.to_module`."""
        return self.space.assembled(self.values, self.space.chosen_by(self.values))


@dataclass(frozen=True, eq=False)
class ModuleSpace(ProductSpace):
    """A space made by `from_module`.

    Attributes:
        factory: makes a network with choices inside.
        shape: of its input.
        dtype: of its input.
        title: for people.
        found: its genes.
        mark: digest of the factory's source and of the structure of its first network.
        notes: what could not be cut into blocks, and why.
    """

    factory: Factory
    shape: tuple[int, ...]
    dtype: str
    title: str
    found: Genes
    mark: str
    notes: tuple[str, ...] = ()
    plans: OrderedDict[tuple[Any, ...], ModulePlan] = field(default_factory=OrderedDict)

    name = "module"

    def __post_init__(self) -> None:
        """Its fields are no options."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModuleSpace) and other.spec == self.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    @property
    def spec(self) -> str:
        """What the space is; `nas.spaces.load` knows it where the factory was given to `from_module` before."""
        return f"{self.name}:{self.title}-{self.mark}"

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Options, choices and repeats."""
        return self.found.genes

    @property
    def input_shape(self) -> tuple[int, ...]:
        """As given."""
        return self.shape

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False for what stands in layers that are left out, and in options that are not chosen."""
        return self.found.active(archs)

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks: the module's direct children, the choices, and what is computed between them."""
        values = self._values(arch)
        return ModuleAssembly(self._blocks(values), self.shape, self.dtype, space=self, values=values)

    def assembled(self, values: dict[str, Any], source: nn.Module) -> nn.Module:
        """The network of these choices, by gene, of parts of one of the factory's own, which is used up."""
        return Assembly(self._blocks(values, source), self.shape, self.dtype).to_module()

    def chosen(self, arch: Archs) -> nn.Module:
        """The factory's own module with the choices of an architecture `(d,)`, all other options still inside."""
        return self.chosen_by(self._values(arch))

    def chosen_by(self, values: dict[str, Any]) -> nn.Module:
        """The factory's own module with these choices, by gene, and fresh weights.

        Raises:
            InvalidModel: the factory fails.
            UsageError: it has other genes with these options than with the first ones.
        """
        from nas.nn.choices import choose

        given = {name: values[name] for name in self.found.options}
        module, found = genes.build(self.factory, given)
        genes.require_same(self.found, found, given)
        return choose(module, {name: value for name, value in values.items() if name not in given})

    def inherit(self, module: nn.Module, arch: Archs) -> nn.Module:
        """The network of an architecture `(d,)` alone, with a copy of the weights of the factory's own module.

        Args:
            module: of the factory, with the architecture's options; what it chooses does not matter, and it stays.
            arch: `(d,)`.
        """
        from nas.nn.choices import choose

        values = self._values(arch)
        source = copy.deepcopy(module)
        choose(source, {name: value for name, value in values.items() if name not in self.found.options})
        return self.assembled(values, source).train(module.training)

    def _options(self) -> dict[str, Any]:
        """None: the factory has all of them."""
        return {}

    def _values(self, arch: Archs) -> dict[str, Any]:
        return self.values(self.canonical(np.asarray(arch)[None])[0])

    def _blocks(self, values: dict[str, Any], source: nn.Module | None = None) -> tuple[Block, ...]:
        """Blocks whose modules come from one network of the factory, or each from a new one."""

        def make(piece: Piece) -> nn.Module:
            return _part(self.chosen_by(values) if source is None else source, piece)

        found, output = blocks(self._plan(values), values, make)
        return (*found, Block("wire", "module wire", (INPUT,), _wire)) if output == INPUT else tuple(found)

    def _plan(self, values: dict[str, Any]) -> ModulePlan:
        at = tuple(values[name] for name in self.found.options)
        if at not in self.plans:
            self.plans[at], _ = plan(self.chosen_by(values), self.shape, self.dtype)
            if len(self.plans) > _MOST_PLANS:
                self.plans.popitem(last=False)
        self.plans.move_to_end(at)
        return self.plans[at]


def from_module(
    factory: Factory, input_shape: Sequence[int], *, input_dtype: str = "float32", name: str | None = None
) -> ModuleSpace:
    """Make a space of a function that builds a torch module with `nas.nn` choices inside.

    It is run once for each value of each option, to see that all of them work. In this process `nas.spaces.load` knows
    the space by its spec from then on; another process knows it after the same call.

    Args:
        factory: without arguments, makes the module with fresh weights.
        input_shape: of one input, the batch of 1 included.
        input_dtype: of the input, `float32` or `int64`.
        name: of the space, for people; the factory's own if None.

    Raises:
        InvalidModel: the module does not run, options give different shapes, a choice is never run, or what it does
            depends on the input's content.
        UsageError: nothing is to be chosen, two choices have one name, an option is no value, or what there is to
            choose depends on an option.
    """
    shape = tuple(int(extent) for extent in input_shape)
    if input_dtype not in INPUT_DTYPES or not shape or min(shape) < 1:
        raise UsageError(
            f"an input is of {' or '.join(INPUT_DTYPES)} and has a shape such as (1, 3, 32, 32), got {input_dtype}, "
            f"{input_shape}"
        )
    called = str(name or getattr(factory, "__name__", type(factory).__name__))
    title = re.sub(r"\W+", "_", called).strip("_") or "network"
    first, found = genes.of_factory(factory, lambda module, given: checks.check(module, shape, input_dtype, given))
    mark = digest(structure.text(first), describe(factory), str(found.genes), str(shape), input_dtype)[:12]
    start = {gene.name: gene.options[0] for gene in found.genes}
    begun, notes = plan(first, shape, input_dtype)
    if notes:
        _require_exportable(first, shape, input_dtype, notes[0])
        warnings.warn(f"{title}: {'; '.join(notes)}. Its networks share no blocks there.", stacklevel=2)
    space = ModuleSpace(factory, shape, input_dtype, title, found, mark, tuple(notes))
    space.plans[tuple(start[option] for option in found.options)] = begun
    live.keep(space)
    return space


def plan(module: nn.Module, shape: tuple[int, ...], dtype: str) -> tuple[ModulePlan, list[str]]:
    """How networks are cut into blocks, and what could not be cut."""
    from nas.nn.choices import found, name_of

    names: dict[int, str] = {}
    for path, part in found(module):
        names.setdefault(id(part), name_of(path, part))
    cutter = Cutter(module.eval(), names)
    return cutter.cut(checks.example(shape, dtype)), cutter.notes


def _require_exportable(module: nn.Module, shape: tuple[int, ...], dtype: str, note: str) -> None:
    """Refuse a module of which torch makes no graph at all.

    Raises:
        InvalidModel: it is so.
    """
    import torch

    try:
        torch.export.export(module.eval(), (checks.example(shape, dtype),), strict=False)
    except Exception as error:  # torch raises many types, and code of the user any
        raise InvalidModel(
            f"torch makes no graph of the network: what it does depends on the input's content. {note}",
            hint="Decide with nas.nn.Choice, or with operations on tensors such as torch.where.",
        ) from error


def _part(module: nn.Module, piece: Piece) -> nn.Module:
    """The module of a piece, out of a network of the factory."""
    from torch import fx

    from nas.nn.choices import plain

    if piece.graph is None:
        found = module.get_submodule(piece.path)
        return plain(found) if piece.chosen else found
    for path, constant in piece.constants.items():
        owner, _, name = path.rpartition(".")
        setattr(module.get_submodule(owner), name, constant)
    return fx.GraphModule(module, copy.deepcopy(piece.graph))


def _wire() -> nn.Module:
    from torch import nn

    return nn.Identity()
