"""Networks of a normal and a reduction cell: which of their layers matter, their blocks, their work.

Source: Zoph, Vasudevan, Shlens & Le, "Learning transferable architectures for scalable image recognition", CVPR 2018,
    section 3.1; Liu, Simonyan & Yang, "DARTS", ICLR 2019, section 3.1.1 and appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats
from nas.spaces._nasnet import blocks
from nas.spaces._nasnet.cells import Bools, Cells, counts, outputs, reads
from nas.spaces._parts.slices import Kind, sliced
from profiler.assembly import INPUT, Assembly, Block

if TYPE_CHECKING:
    from torch import nn

NORMAL, REDUCTION = 0, 1
#: The stem is this many times as wide as the first cells.
STEM = 3
#: Operators whose kernels of different sizes are parts of each other.
_ENTANGLED = ("sep", "dil")


@dataclass(frozen=True)
class Skeleton:
    """What all networks of a space have in common.

    Attributes:
        operators: names of the operators.
        layers: cells in a row; those at a third and at two thirds halve the resolution and double the width.
        channels: of the nodes of the first cells.
        resolution: of the square input.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    operators: tuple[str, ...]
    layers: int
    channels: int
    resolution: int
    classes: int
    image_channels: int

    def kind(self, layer: int) -> int:
        """Whether a layer is a normal or a reduction cell; before the first there is the stem, which is neither."""
        return REDUCTION if layer in (self.layers // 3, 2 * self.layers // 3) else NORMAL

    def scale(self, layer: int) -> int:
        """By how much a layer's output is smaller than the image, and wider than the first cells: 1, 2 or 4."""
        return 1 << len({place for place in (self.layers // 3, 2 * self.layers // 3) if place <= layer})


@cache
def live_layers(skeleton: Skeleton) -> Bools:
    """`(2, 2, 2, 2, layers)`: the layers that the output depends on.

    By whether normal cells read their inputs 0 and 1, and whether reduction cells do.
    """
    found = np.zeros((2, 2, 2, 2, skeleton.layers), dtype=np.bool_)
    for reading in np.ndindex(2, 2, 2, 2):
        on = {skeleton.layers - 1}
        for layer in reversed(range(skeleton.layers)):
            before, last = np.reshape(reading, (2, 2))[skeleton.kind(layer)]
            if layer in on:
                on |= ({layer - 2} if before else set()) | ({layer - 1} if last else set())
        found[reading] = [layer in on for layer in range(skeleton.layers)]
    return found


def live(skeleton: Skeleton, kinds: tuple[Cells, Cells]) -> Bools:
    """`(n, layers)`: the layers that the output depends on; some cells read one input only."""
    flags = np.concatenate([reads(cells) for cells in kinds], axis=1).astype(np.int64)
    return np.asarray(live_layers(skeleton)[tuple(flags.T)])


def matters(skeleton: Skeleton, kinds: tuple[Cells, Cells]) -> Bools:
    """`(n, 2)`: whether the output depends on any normal cell, and on any reduction cell."""
    kind = np.array([skeleton.kind(layer) for layer in range(skeleton.layers)])
    on = live(skeleton, kinds)
    return np.stack([on[:, kind == NORMAL].any(axis=1), on[:, kind == REDUCTION].any(axis=1)], axis=1)


def work(skeleton: Skeleton, kinds: tuple[Cells, Cells]) -> tuple[Floats, Floats]:
    """Multiply-accumulates of one image, `(n,)`, and parameters, `(n,)`: both exact, of the layers that matter."""
    on, reading = live(skeleton, kinds), [reads(cells) for cells in kinds]
    width = [outputs(cells).sum(axis=1) for cells in kinds]
    number = [counts(cells, len(skeleton.operators)) for cells in kinds]
    wide = STEM * skeleton.channels
    macs = np.full(len(on), 9.0 * skeleton.image_channels * wide * skeleton.resolution**2)
    parameters = np.full(len(on), 9.0 * skeleton.image_channels * wide + 2 * wide)
    given: list[float | NDArray[np.int64]] = [wide, wide]
    for layer in range(skeleton.layers):
        kind, scale = skeleton.kind(layer), skeleton.scale(layer)
        channels, here = skeleton.channels * scale, (skeleton.resolution // scale) ** 2
        entry = here * (4 if kind == REDUCTION else 1)
        for place, source in enumerate(given[-2:]):
            used = on[:, layer] & reading[kind][:, place]
            macs += used * entry * source * channels
            parameters += used * (source * channels + 2 * channels)
        strided, plain = (_costs(skeleton.operators, channels, stride) for stride in (1 + kind, 1))
        inner, outer = number[kind][:, 0], number[kind][:, 1]
        macs += on[:, layer] * here * (inner @ plain[0] + outer @ strided[0])
        parameters += on[:, layer] * (inner @ plain[1] + outer @ strided[1])
        given.append(width[kind] * channels)
    macs += given[-1] * skeleton.classes
    parameters += given[-1] * skeleton.classes + skeleton.classes
    return macs, parameters


def assembly(skeleton: Skeleton, kinds: tuple[Cells, Cells]) -> Assembly:
    """The network of one normal and one reduction cell (batches of one) as blocks, without what does not matter."""
    on, reading, last = live(skeleton, kinds)[0], [reads(c)[0] for c in kinds], [outputs(c)[0] for c in kinds]
    wide = STEM * skeleton.channels
    first = partial(blocks.stem, skeleton.image_channels, wide)
    parts = [Block("stem", f"nasnet stem {skeleton.image_channels}->{wide}", (INPUT,), first)]
    states, widths = ["stem", "stem"], [wide, wide]
    for layer in range(skeleton.layers):
        kind, channels = skeleton.kind(layer), skeleton.channels * skeleton.scale(layer)
        states.append("")
        widths.append(int(last[kind].sum()) * channels)
        if on[layer]:
            entries = ["", ""]
            for place in np.flatnonzero(reading[kind]):
                entries[place] = f"c{layer}p{place}"
                key, build = entry(skeleton, layer, int(place), widths[layer + place], channels)
                parts.append(Block(entries[place], key, (states[layer + place],), build))
            added, states[-1] = _cell(skeleton.operators, kinds[kind], entries, f"c{layer}", channels, 1 + kind)
            parts += added
    build = partial(blocks.head, widths[-1], skeleton.classes)
    parts.append(Block("head", f"nasnet head {widths[-1]}->{skeleton.classes}", (states[-1],), build))
    return Assembly(tuple(parts), (1, skeleton.image_channels, skeleton.resolution, skeleton.resolution))


def entry(skeleton: Skeleton, layer: int, place: int, width: int, channels: int) -> tuple[str, partial[nn.Module]]:
    """Key and builder of what brings an input of a cell to its width and side.

    The state before the last one is larger by the reduction that lies between.
    """
    halves = place == 0 and layer > 0 and skeleton.kind(layer - 1) == REDUCTION
    make, name = (blocks.halve, "halve") if halves else (blocks.relu_conv_bn, "relu-conv-bn")
    return f"nasnet {name} {width}->{channels}", partial(make, width, channels)


@lru_cache(maxsize=4096)
def _operator(operator: str, channels: int, stride: int) -> Kind:
    """Key and builder of an operator's block."""
    return f"nasnet {operator} {channels} s{stride}", partial(blocks.operator, operator, channels, stride)


def edge(operators: tuple[str, ...], operator: str, name: str, source: str, channels: int, stride: int) -> Block | None:
    """The block of an edge; None for a skip that keeps the resolution, which is a wire.

    Kernels of separable convolutions are the middle of the largest one of the space's operators, likewise those of
    dilated ones; other operators share nothing.

    Source: Sukthanker, Krishnakumar, Safari & Hutter, "Weight-entanglement meets gradient-based neural architecture
        search", 2023, which entangles these kernels in DARTS' cells (and, unlike here, adds them up before they are run
        where they are mixed).
    """
    if operator == "skip" and stride == 1:
        return None
    kind = _operator(operator, channels, stride)
    if operator[:3] not in _ENTANGLED:
        return Block(name, kind[0], (source,), kind[1])
    largest = max(other for other in operators if other[:3] == operator[:3])
    return sliced(name, (source,), kind, _operator(largest, channels, stride))


def _cell(
    operators: tuple[str, ...], cells: Cells, entries: list[str], prefix: str, channels: int, stride: int
) -> tuple[list[Block], str]:
    """Blocks of one cell, and the name of what it gives on; skips are wires where they keep the resolution."""
    parts: list[Block] = []
    states = list(entries)
    for node, (sources, kinds) in enumerate(zip(cells.sources[0].tolist(), cells.operators[0].tolist(), strict=True)):
        terms = []
        for number, (source, kind) in enumerate(zip(sources, kinds, strict=True)):
            name, step = operators[kind], stride if source < 2 else 1
            block = edge(operators, name, f"{prefix}n{node}e{number}", states[source], channels, step)
            terms.append(block.name if block else states[source])
            parts += [block] if block else []
        states.append(f"{prefix}n{node}")
        parts.append(Block(states[-1], "nasnet add", tuple(terms), blocks.add))
    gives = tuple([states[node + 2] for node in np.flatnonzero(outputs(cells)[0]).tolist()])
    if len(gives) == 1:
        return parts, gives[0]
    parts.append(Block(f"{prefix}out", f"nasnet concatenate {len(gives)}", gives, blocks.concatenate))
    return parts, f"{prefix}out"


@cache
def _costs(operators: tuple[str, ...], channels: int, stride: int) -> tuple[Floats, Floats]:
    """Of each operator the multiply-accumulates for each pixel that it gives, and the parameters, `(operators,)`."""
    macs, parameters = [], []
    for name in operators:
        kernel = int(name[-1]) if name[-1].isdigit() else 1
        separable, full = kernel**2 * channels + channels**2, kernel * channels**2
        pixel, held = {
            "sep": (2 * separable, 2 * separable + 4 * channels),
            "dil": (separable, separable + 2 * channels),
            "rec": (full * (stride + 1), 2 * full + 2 * channels),
            "ski": (channels**2, channels**2 + 2 * channels) if stride > 1 else (0, 0),
        }.get(name[:3], (0, 0))
        macs.append(float(pixel))
        parameters.append(float(held))
    return np.array(macs), np.array(parameters)
