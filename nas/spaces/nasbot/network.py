"""The graph behind a genome of `nasbot`: its widths and resolutions, its work, its blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats
from nas.spaces._parts import dag
from nas.spaces._parts.slices import Kind, sliced
from nas.spaces.nasbot import blocks
from profiler.assembly import INPUT, Assembly, Block

if TYPE_CHECKING:
    from torch import nn

Build = Callable[[], "nn.Module"]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Layers by kind; pools come last.
KINDS = ("conv3", "conv5", "conv7", "res3", "res5", "res7", "skip", "max-pool", "avg-pool")
SKIP, FIRST_POOL = 6, 7
#: By how kinds begin, that with the largest kernel.
_LARGEST = {"conv": "conv7", "res": "res7"}
#: Convolutions of a kind, and the side of their kernels.
_DEPTHS, _KERNELS = (1, 1, 1, 2, 2, 2, 0, 0, 0), (3, 5, 7, 3, 5, 7, 0, 0, 0)


@dataclass(frozen=True)
class Columns:
    """Where the genes of a genome are.

    Attributes:
        kinds: of each layer.
        units: of each layer.
        edges: of each edge.
        sources: of each edge, the node that is read.
        targets: of each edge, the node that reads.
    """

    kinds: list[int]
    units: list[int]
    edges: list[int]
    sources: list[int]
    targets: list[int]


@dataclass(frozen=True)
class Graphs:
    """Networks without what is on no path; node 0 is the input, the last the output.

    Attributes:
        edges: `(n, k, k)`, 1 where the second node reads the first.
        live: `(n, k)`.
        kinds: `(n, k)`, index into `KINDS`; pools that cannot halve are skips.
        channels: `(n, k)`.
        sides: `(n, k)`, pixels along a side of what a layer computes on.
        gives: `(n, k)`, pixels along a side of what it gives; half of `sides` for pools.
        full: `(n, 2)`, units of the fully connected layers, 0 without.
        classes: of the output.
    """

    edges: Ints
    live: Bools
    kinds: Ints
    channels: Ints
    sides: Ints
    gives: Ints
    full: Ints
    classes: int


def flow(edges: Ints, kinds: Ints, resolution: int) -> tuple[Ints, Ints, Ints]:
    """Kinds without pools that cannot halve, and sides and gives of `Graphs`, each `(n, k)`; edges are pruned."""
    kinds = kinds.copy()
    sides, gives = np.full((2, *kinds.shape), resolution, dtype=np.int64)
    for node in range(1, kinds.shape[1]):
        seen = np.where(edges[:, :node, node] != 0, gives[:, :node], resolution)
        sides[:, node] = seen.min(axis=1)
        pool, even = kinds[:, node] >= FIRST_POOL, sides[:, node] % 2 == 0
        kinds[:, node] = np.where(pool & ~even, SKIP, kinds[:, node])
        gives[:, node] = np.where(pool & even, sides[:, node] // 2, sides[:, node])
    return kinds, sides, gives


def work(graphs: Graphs) -> tuple[Floats, Floats]:
    """Parameters and multiply-accumulate operations of convolutions and linear maps, `(n,)` each, exact."""
    c, on = graphs.channels.astype(np.float64), graphs.live[:, 1:-1]
    pixels = graphs.sides.astype(np.float64) ** 2
    projected = (graphs.edges != 0) & (c[:, :, None] != c[:, None, :])
    projected[:, :, -1] = False
    products = c[:, :, None] * c[:, None, :] * projected
    parameters = (products + 2 * c[:, None, :] * projected).sum(axis=(1, 2))
    macs = (products * pixels[:, None, :]).sum(axis=(1, 2))
    kinds, inner = graphs.kinds[:, 1:-1], c[:, 1:-1]
    depths = np.array(_DEPTHS, dtype=np.float64)[kinds] * on
    weights = depths * np.array(_KERNELS, dtype=np.float64)[kinds] ** 2 * inner**2
    parameters += (weights + 2 * depths * inner).sum(axis=1)
    macs += (weights * pixels[:, 1:-1]).sum(axis=1)
    reads = graphs.edges[:, :, -1] != 0
    units = np.concatenate([graphs.full, np.full((len(c), 1), graphs.classes)], axis=1).astype(np.float64)
    first = np.where(units[:, 0] > 0, units[:, 0], units[:, 2])
    second = np.where(units[:, 1] > 0, units[:, 1], units[:, 2]) * (units[:, 0] > 0)
    third = units[:, 2] * (units[:, 1] > 0) * (units[:, 0] > 0)
    maps = first * (c * reads).sum(axis=1) + first * second + units[:, 1] * third
    return parameters + maps + first * reads.sum(axis=1) + second + third, macs + maps


def structure(graphs: Graphs) -> Floats:
    """What a surrogate of accuracy and cost wants to know, `(n, 22)`.

    Live layers of each kind, live layers, edges, layers that the output reads; log of the paths, layers and
    convolutions on the longest path; sums over layers of kernels and of the log of widths, the widest; times that the
    resolution is halved, where the output reads most and least; logs of the values between layers, of parameters, and
    of multiply-accumulate operations.
    """
    on = graphs.live[:, 1:-1]
    kinds = graphs.kinds[:, 1:-1]
    counts = np.stack([(on & (kinds == kind)).sum(axis=1) for kind in range(len(KINDS))], axis=1)
    reads = graphs.edges[:, :, -1] != 0
    weights = np.zeros(graphs.edges.shape)
    weights[:, :, 1:-1] = 1.0
    depth = dag.longest(weights, graphs.edges)
    weights[:, :, 1:-1] = np.array(_DEPTHS)[kinds][:, None, :]
    width = np.log2(np.maximum(graphs.channels[:, 1:-1], 1)) * on
    halved = np.log2(graphs.sides[:, :1] / graphs.gives)
    values = (graphs.channels * graphs.gives**2)[:, 1:-1] * on
    parameters, macs = work(graphs)
    columns = [
        on.sum(axis=1),
        (graphs.edges != 0).sum(axis=(1, 2)),
        reads.sum(axis=1),
        np.log1p(dag.paths(graphs.edges.astype(np.float64))),
        depth,
        dag.longest(weights, graphs.edges),
        (np.array(_KERNELS)[kinds] * on).sum(axis=1),
        width.sum(axis=1),
        width.max(axis=1),
        np.where(reads, halved, 0.0).max(axis=1),
        np.where(reads, halved, np.inf).min(axis=1, initial=64.0),
        np.log1p(values.sum(axis=1)),
        np.log1p(parameters),
        np.log1p(macs),
    ]
    return np.concatenate([counts, np.stack(columns, axis=1)], axis=1).astype(np.float64) * graphs.live[:, :1]


def assembly(graphs: Graphs, input_shape: tuple[int, ...], widest: int) -> Assembly:
    """The one network of `graphs` as blocks.

    Weights of layers are slices of those of the widest with the largest kernel, convolutions and residuals apart; what
    joins layers of two widths is a slice of what joins two of the widest.

    Args:
        graphs: of one row.
        input_shape: `(1, channels, side, side)`.
        widest: channels of the widest layers of the space.
    """
    kinds, channels = graphs.kinds[0].tolist(), graphs.channels[0].tolist()
    parts: list[Block] = []
    given = {0: INPUT}
    for node in np.flatnonzero(graphs.live[0])[1:-1].tolist():
        terms = []
        width, side = channels[node], int(graphs.sides[0, node])
        for source in np.flatnonzero(graphs.edges[0, :, node]).tolist():
            name, wide, factor = given[source], channels[source], int(graphs.gives[0, source]) // side
            if factor > 1:
                shrink: Build = partial(blocks.shrink, factor)
                name = _put(parts, f"s{source}_{node}", f"mean {factor}", (name,), shrink)
            if wide != width:
                whole = _projection(widest if source else wide, widest)
                parts.append(sliced(f"p{source}_{node}", (name,), _projection(wide, width), whole))
                name = parts[-1].name
            terms.append(name)
        given[node] = _summed(parts, terms, f"a{node}")
        if kinds[node] != SKIP:
            kind = KINDS[kinds[node]]
            key, build = _layer(kind, width)
            if kinds[node] >= FIRST_POOL:
                parts.append(Block(f"n{node}", key, (given[node],), build))
            else:
                whole = _layer(_LARGEST[kind[:-1]], widest)
                parts.append(sliced(f"n{node}", (given[node],), (key, build), whole))
            given[node] = f"n{node}"
    _head(parts, graphs, given, widest)
    return Assembly(tuple(parts), input_shape)


def _projection(wide: int, width: int) -> Kind:
    return f"nasbot project {wide}->{width}", partial(blocks.convolution, wide, width, 1)


def _layer(kind: str, width: int) -> Kind:
    return f"nasbot {kind} {width}", partial(blocks.layer, kind, width)


def _linear(wide: int, width: int) -> Kind:
    return f"nasbot linear {wide}->{width}", partial(blocks.linear, wide, width)


def _head(parts: list[Block], graphs: Graphs, given: dict[int, str], widest: int) -> None:
    """What the output does with what it reads."""
    full = [int(count) for count in graphs.full[0]]
    units = [*(full[: full.index(0)] if 0 in full else full), graphs.classes]
    terms = []
    for source in np.flatnonzero(graphs.edges[0, :, -1]).tolist():
        wide = int(graphs.channels[0, source])
        name = _put(parts, f"f{source}", "flatten", (given[source],), blocks.flatten)
        parts.append(sliced(f"l{source}", (name,), _linear(wide, units[0]), _linear(widest, units[0])))
        terms.append(f"l{source}")
    name = _summed(parts, terms, "out")
    for number, (wide, width) in enumerate(pairwise(units), start=1):
        name = _put(parts, f"fc{number}", f"hidden {wide}->{width}", (name,), partial(blocks.hidden, wide, width))


def _put(parts: list[Block], name: str, key: str, inputs: tuple[str, ...], build: Build) -> str:
    parts.append(Block(name, f"nasbot {key}", inputs, build))
    return name


def _summed(parts: list[Block], terms: list[str], prefix: str) -> str:
    total = terms[0]
    for number, term in enumerate(terms[1:], start=1):
        total = _put(parts, f"{prefix}_{number}", "add", (total, term), blocks.add)
    return total
