"""The largest and the smallest network of a space, by work that is counted and not run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from device_profiles.errors import ConstantNetwork, UsageError
from nas.arrays import Archs
from nas.spaces.protocol import Space
from nas.weights.keyed import Keyed
from profiler.assembly import INPUT, Block

#: Random networks among those that an ascent may start from, where genes have no order, and how many of all do.
_RANDOM, _STARTS = 16, 2
#: Spaces whose extremes are kept.
_KEPT = 16

#: Multiply-accumulates and parameters; compared in this order.
Size = tuple[int, int]


@dataclass(frozen=True)
class Extremes:
    """Two networks of a space.

    Attributes:
        largest: `(d,)`, with a function.
        smallest: `(d,)`, likewise.
    """

    largest: Archs
    smallest: Archs


def of(space: Space) -> Extremes:
    """The networks with the most and the fewest multiply-accumulates; of equal ones, by parameters.

    One gene after the other is set to its best option, of ordered ones to one beside it, until nothing is better:
    coordinate ascent on the count. It starts from the two best of a few: ordered genes at their ends with each option
    of the others, and, where there are others, random networks. Where genes add up, or do not turn each other's order
    round, that is the extreme of the whole space; in other spaces it need not be.

    Raises:
        UsageError: no network of the space was found that has a function.
    """
    import torch

    with torch.random.fork_rng(devices=[]):  # modules are made, on whose first weights nothing depends
        return _found(Keyed(space))


def size(space: Space, arch: Archs) -> Size:
    """Multiply-accumulates and parameters of one network `(d,)` with a function, for one input."""
    import torch

    with torch.random.fork_rng(devices=[]):
        return _Counter(space).size(np.asarray(arch, dtype=np.int64))


@lru_cache(_KEPT)
def _found(spec: Keyed) -> Extremes:
    counter = _Counter(spec.space)
    found = []
    for sign in (1, -1):

        def value(arch: Archs, sign: int = sign) -> Size:
            return _signed(counter.size(arch), sign)

        starts = sorted(_starts(spec.space, sign), key=value, reverse=True)[:_STARTS]
        if not starts:
            raise UsageError(f"no network of {spec.space.spec} was found that has a function")
        best = max((_ascend(counter, start, sign) for start in starts), key=value)
        best.setflags(write=False)
        found.append(best)
    return Extremes(*found)


def _starts(space: Space, sign: int) -> Iterator[Archs]:
    """Networks with a function to start from, `(d,)`."""
    choices, ordered = np.array(space.choices), np.array(space.ordered)
    rows = []
    for option in range(int(choices[~ordered].max(initial=1))):
        rows.append(np.where(ordered, choices - 1 if sign > 0 else 0, np.minimum(option, choices - 1)))
    found = np.array(rows, dtype=np.int64)
    valid = space.is_valid(found)
    yield from found[valid]
    if not ordered.all() or not valid.any():
        yield from space.sample(_RANDOM, np.random.default_rng(0))


def _ascend(counter: _Counter, arch: Archs, sign: int) -> Archs:
    """The network `(d,)` that no change of one gene improves."""
    space, here = counter.space, np.asarray(arch).copy()
    best = _signed(counter.size(here), sign)
    gene = since = 0
    while since < len(space.choices):
        options = np.arange(space.choices[gene])
        options = options[np.abs(options - here[gene]) == 1] if space.ordered[gene] else np.delete(options, here[gene])
        near = np.repeat(here[None, :], len(options), axis=0)
        near[:, gene] = options
        since += 1
        for row in near[space.is_valid(near)]:
            value = _signed(counter.size(row), sign)
            if value > best:
                best, here, since = value, row.copy(), 1
        gene = (gene + 1) % len(space.choices)
    return here


def _signed(found: Size, sign: int) -> Size:
    return sign * found[0], sign * found[1]


@dataclass
class _Counter:
    """Counts of networks; each kind of block is looked at once for each shape that it reads."""

    space: Space
    sizes: dict[bytes, Size] = field(default_factory=dict)
    blocks: dict[Any, tuple[tuple[int, ...], int, int]] = field(default_factory=dict)

    def size(self, arch: Archs) -> Size:
        """See `size`."""
        key = arch.tobytes()
        if key not in self.sizes:
            self.sizes[key] = self._count(arch)
        return self.sizes[key]

    def _count(self, arch: Archs) -> Size:
        try:
            assembly = self.space.assembly(arch)
        except ConstantNetwork:
            return 0, 0
        shapes = {INPUT: assembly.input_shape}
        macs = parameters = 0
        for block in assembly.blocks:
            read = tuple(shapes[name] for name in block.inputs)
            kinds = tuple(assembly.input_dtype if name == INPUT else "float32" for name in block.inputs)
            key = (block.key, read, kinds)
            if key not in self.blocks:
                self.blocks[key] = _looked_at(block, read, kinds)
            shapes[block.name], *counts = self.blocks[key]
            macs += counts[0]
            parameters += counts[1]
        return macs, parameters


def _looked_at(block: Block, shapes: tuple[tuple[int, ...], ...], kinds: tuple[str, ...]) -> tuple[Any, int, int]:
    """The shape that a block gives, its multiply-accumulates and parameters.

    Tensors without memory run through it, and nothing is computed; where a module cannot do that, zeros do.
    """
    import torch

    with torch.no_grad():
        try:
            return _counted(block, shapes, kinds, "meta")
        except (NotImplementedError, RuntimeError):
            return _counted(block, shapes, kinds, "cpu")


def _counted(
    block: Block, shapes: tuple[tuple[int, ...], ...], kinds: tuple[str, ...], place: str
) -> tuple[Any, int, int]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device(place):
        module = block.build().train()  # as written: in eval mode torch fuses attention, and its counter misses it
        for part in module.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.eval()  # which takes a batch of one
        inputs = [torch.zeros(shape, dtype=getattr(torch, kind)) for shape, kind in zip(shapes, kinds, strict=True)]
        with FlopCounterMode(display=False) as counter:
            given = module(*inputs)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return tuple(given.shape), counter.get_total_flops() // 2, parameters
