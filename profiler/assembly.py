"""A network as a graph of blocks: one description gives the torch module, the stitched ONNX model and the cache keys.

A space says how a network is put together from blocks; equal `key` and equal input shapes mean equal graphs. The
exporter then sees each distinct block once (3-6 s for a whole network, and a campaign has hundreds), and the same
blocks make the module that is trained, so the network that is measured is the network that is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from device_profiles.errors import InvalidModel

if TYPE_CHECKING:
    from torch import Tensor, nn

#: The name that stands for the input of the network in `Block.inputs`.
INPUT = "input"
#: What the input of a network may be: real numbers, or whole ones such as tokens.
INPUT_DTYPES = ("float32", "int64")


@dataclass(frozen=True)
class Cut:
    """Where the weights of a block come from when networks share them: they are cut out of those of a wider block.

    Attributes:
        key: of the wider block, which may be the block itself. Blocks of one name and one wider block have their
            weights in common.
        build: makes the wider module.
        take: from the wider module's parameters, by name, the block's that come from them, by name.
    """

    key: str
    build: Callable[[], nn.Module]
    take: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class Block:
    """One block of a network.

    Attributes:
        name: unique in the network; a valid key of an `nn.ModuleDict` (no dots).
        key: what it is, such as `"conv3x3 16->32 s2"`; equal keys build equal modules, whatever their weights.
        inputs: names of the blocks it reads, in the order of its forward's arguments; `INPUT` is the network's input.
        build: makes the module, called only when torch is needed.
        cut: tells what its weights are cut out of where networks share them; None where it has weights of its own.
    """

    name: str
    key: str
    inputs: tuple[str, ...]
    build: Callable[[], nn.Module]
    cut: Callable[[], Cut] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Assembly:
    """A network of blocks in topological order; the last block is the output.

    Attributes:
        blocks: every block reads only `INPUT` and blocks before it.
        input_shape: shape of one input, the batch included: `(1, 3, 32, 32)`.
        input_dtype: of the input, one of `INPUT_DTYPES`; what blocks give is float32.

    Raises:
        InvalidModel: a name is used twice, a block reads one that is not before it, or the input has another dtype.
    """

    blocks: tuple[Block, ...]
    input_shape: tuple[int, ...]
    input_dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.input_dtype not in INPUT_DTYPES:
            raise InvalidModel(
                f"the input of a network is {self.input_dtype}; it must be one of {', '.join(INPUT_DTYPES)}",
                hint="Give whole numbers as int64, all others as float32.",
            )
        seen = {INPUT}
        for block in self.blocks:
            if block.name in seen or not seen.issuperset(block.inputs):
                unknown = [name for name in block.inputs if name not in seen]
                raise InvalidModel(
                    f"block {block.name!r} reads {unknown or 'nothing new'}: "
                    "names must be unique, inputs must come earlier",
                    hint="List the blocks in topological order.",
                )
            seen.add(block.name)

    @property
    def key(self) -> str:
        """The network's structure as text.

        Equal keys are equal networks, whatever the names of their blocks and weights.
        """
        position = {INPUT: 0} | {block.name: i for i, block in enumerate(self.blocks, start=1)}
        wiring = (f"{block.key}({','.join(str(position[name]) for name in block.inputs)})" for block in self.blocks)
        dtype = "" if self.input_dtype == "float32" else f"{self.input_dtype} "
        return f"{dtype}{'x'.join(map(str, self.input_shape))}:" + ";".join(wiring)

    def of_batch(self, batch: int) -> Assembly:
        """The same network with so many inputs in one inference."""
        return replace(self, input_shape=(batch, *self.input_shape[1:]))

    def to_module(self) -> nn.Module:
        """The network as a torch module; its parameters are named `blocks.<block name>.<parameter>`."""
        return _module_class()(self)


@dataclass
class Merged:
    """Which blocks of a network give the same value: equal ones without weights that read the same values.

    A runtime that eliminates common subexpressions runs one of them for all, so their readers read one value.

    Attributes:
        of: for each block that was added, and for the input, the name of the first that gives its value.
    """

    of: dict[str, str] = field(default_factory=lambda: {INPUT: INPUT})
    _first: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict, repr=False)

    def add(self, block: Block, *, weighted: bool, wire: int | None = None) -> str:
        """The first block that gives what one gives whose inputs were added before it.

        Args:
            block: in the order of the network.
            weighted: it has weights, so that no other one gives the same.
            wire: which of its inputs it hands on as it is, if it does.
        """
        read = tuple([self.of[name] for name in block.inputs])
        if wire is not None:
            first = read[wire]
        else:
            first = block.name if weighted else self._first.setdefault((block.key, read), block.name)
        self.of[block.name] = first
        return first


def _module_class() -> Callable[[Assembly], nn.Module]:
    from torch import nn

    class AssembledNetwork(nn.Module):
        """The blocks of an assembly, run in order."""

        def __init__(self, assembly: Assembly) -> None:
            super().__init__()
            self.assembly = assembly
            self.blocks = nn.ModuleDict({block.name: block.build() for block in assembly.blocks})

        def forward(self, x: Tensor) -> Tensor:
            values = {INPUT: x}
            for block in self.assembly.blocks:
                values[block.name] = self.blocks[block.name](*(values[name] for name in block.inputs))
            return values[self.assembly.blocks[-1].name]

    return AssembledNetwork
