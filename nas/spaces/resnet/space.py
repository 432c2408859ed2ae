"""Macro hyper-parameters of ResNet-50: depth, widths, and how narrow bottlenecks are.

Source: the space of once-for-all's published ResNet-50 (Cai et al., "Once-for-all: train one network and specialize it
    for efficient deployment", ICLR 2020), in the form of ResNet-D (He et al., "Bag of tricks for image classification
    with convolutional neural networks", CVPR 2019, section 4.2); searched in Lu et al., "Neural architecture search as
    multiobjective optimization benchmarks", IEEE TEVC 28(2), 2024.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces._parts.image_sizes import divisible, reduced, resized, resolutions
from nas.spaces._parts.slices import Kind, sliced
from nas.spaces.product import Gene, ProductSpace
from nas.spaces.resnet import blocks
from profiler.assembly import INPUT, Assembly

Numbers = NDArray[np.float64]

#: Of each stage the width, the least depth, and the stride of its first block.
_STAGES = ((256, 2, 1), (512, 2, 2), (1024, 4, 2), (2048, 2, 2))
_STEM = 64
_MULTIPLIERS = (0.65, 0.8, 1.0)
_DEEPER = 2
_EXPANSIONS = (0.2, 0.25, 0.35)
_STEM_DEPTHS = (2, 3)
_FIRST = re.compile(r"r(\d+) stem(\d+)\((\d+)-(\d+)\) (.*)")
_WORD = re.compile(r"(\d+)w(\d+)\(([^()]*)\)")


@dataclass(frozen=True)
class ResNet(ProductSpace):
    """Residual networks of bottlenecks, run on images of a chosen resolution.

    Attributes:
        stages: 1 to 4.
        resolution: of the square input, and the largest of those that networks run on.
        smallest: of these.
        step: between them.
        width: of all layers, in percent, rounded to multiples of 8.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    stages: int = 4
    resolution: int = 256
    smallest: int = 128
    step: int = 16
    width: int = 100
    classes: int = 1000
    image_channels: int = 3

    name = "resnet"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages > len(_STAGES):
            raise UsageError(f"space option stages must be 1 to {len(_STAGES)}, got {self.stages}")
        resolutions(self.resolution, self.smallest, self.step)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The resolution, the stem, depths and widths of stages, expansions of blocks; all in an order."""
        found: dict[str, tuple[int | float, ...]] = {
            "resolution": self._resolutions,
            "stem_depth": _STEM_DEPTHS,
            "stem_inner": self._inner,
            "stem_width": self._widths[0],
        }
        for i in self._numbers:
            shallowest = _STAGES[i - 1][1]
            found[f"depth{i}"] = tuple(range(shallowest, shallowest + _DEEPER + 1))
        found |= {f"width{i}": self._widths[i] for i in self._numbers}
        for i in self._numbers:
            found |= {f"expansion{i}_{j}": _EXPANSIONS for j in range(1, self._most(i) + 1)}
        return tuple(Gene(name, options, ordered=True) for name, options in found.items())

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One image of the largest resolution; networks of others begin with making it smaller."""
        return (1, self.image_channels, self.resolution, self.resolution)

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False for expansions of blocks that are left out."""
        archs = self.checked(archs)
        found = np.ones(archs.shape, dtype=np.bool_)
        for i in self._numbers:
            found[:, self._blocks(i)] = self._live(archs, i)
        return found

    def canonical(self, archs: Archs) -> Archs:
        """Expansions that are not there are 0; those that round to one width are the first of them, `(n, d)`."""
        archs = super().canonical(archs)
        for i in self._numbers:
            hidden = np.array([[self._hidden(width, e) for e in _EXPANSIONS] for width in self._widths[i]])
            first = (hidden[:, :, None] == hidden[:, None, :]).argmax(axis=2)
            at = self._blocks(i)
            archs[:, at] = first[archs[:, [self.place(f"width{i}")]], archs[:, at]]
        return archs

    def features(self, archs: Archs) -> Numbers:
        """The canonical genes, then counts of the network, `(n, f)`.

        For each stage the channels within its bottlenecks, summed over blocks, and natural logarithms of its parameters
        and multiply-accumulates; for the network its blocks, and both logarithms. All counts are exact.
        """
        archs = self.canonical(archs)
        counts, hidden, depth = [], [], np.zeros(len(archs))
        for i in self._numbers:
            live = self._live(archs, i)
            size, before, width = (archs[:, [at]] for at in (0, self._width_at(i - 1), self._width_at(i)))
            picked = self._tables[i - 1][
                size, before, width, np.arange(live.shape[1]).clip(max=1), archs[:, self._blocks(i)]
            ]
            summed = (picked * live[..., None]).sum(axis=1)
            counts.append(summed[:, :2])
            hidden.append(summed[:, 2])
            depth += live.sum(axis=1)
        whole = sum(counts) + self._outside(archs)
        columns = [super().features(archs), np.stack(hidden, axis=1), np.log(np.concatenate(counts, axis=1))]
        return np.concatenate([*columns, depth[:, None], np.log(whole)], axis=1).astype(np.float64)

    def format(self, arch: Archs) -> str:
        """`r224 stem3(32-64) 3w256(0.25+0.25+0.25+0.25) ...`.

        That is the resolution; the stem's convolutions, the width within and behind it; of each stage its depth, width,
        and the expansions of all its blocks. Blocks that are left out are written too.
        """
        of = self.values(arch)
        words = [f"r{of['resolution']} stem{of['stem_depth']}({of['stem_inner']}-{of['stem_width']})"]
        for i in self._numbers:
            expansions = "+".join(str(of[f"expansion{i}_{j}"]) for j in range(1, self._most(i) + 1))
            words.append(f"{of[f'depth{i}']}w{of[f'width{i}']}({expansions})")
        return " ".join(words)

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, from `gene=option ...`, or from integers with commas.

        Raises:
            UsageError: the text is none of them, or an option is not one.
        """
        if "(" not in text:
            return super().parse(text)
        whole = _FIRST.fullmatch(" ".join(text.split()))
        stages = [_WORD.fullmatch(word) for word in whole[5].split()] if whole else []
        expansions = [stage[3].split("+") for stage in stages if stage]
        shape = [len(stage) for stage in expansions]
        if whole is None or not all(stages) or shape != [self._most(i) for i in self._numbers]:
            raise UsageError(f"{text!r} is no network of {self.spec}", hint=f"Write it like {self._example()!r}.")
        names = ("resolution", "stem_depth", "stem_inner", "stem_width")
        wanted = [f"{name}={option}" for name, option in zip(names, whole.groups(), strict=False)]
        for i, (stage, members) in enumerate(zip(filter(None, stages), expansions, strict=True), start=1):
            wanted += [f"depth{i}={stage[1]}", f"width{i}={stage[2]}"]
            wanted += [f"expansion{i}_{j}={option}" for j, option in enumerate(members, start=1)]
        return super().parse(" ".join(wanted))

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks: the image made smaller, the stem, a bottleneck for each layer, the head."""
        of = self.values(self.checked(np.asarray(arch)[None])[0])
        inner, width, channels = of["stem_inner"], of["stem_width"], self.image_channels
        parts = resized(of["resolution"], self.resolution)
        most, widest = max(self._inner), max(self._widths[0])
        entry = parts[-1].name if parts else INPUT
        parts.append(sliced("stem1", (entry,), _stem(channels, inner), _stem(channels, most)))
        if of["stem_depth"] == _STEM_DEPTHS[1]:
            parts.append(sliced("stem2", ("stem1",), _added(inner), _added(most)))
        parts.append(sliced("stem3", (parts[-1].name,), _entry(inner, width), _entry(most, widest)))
        for i in self._numbers:
            before, width = width, of[f"width{i}"]
            for j in range(1, of[f"depth{i}"] + 1):
                shape = self._bottleneck(i, before if j == 1 else width, width, j, of[f"expansion{i}_{j}"])
                kind, whole = _bottleneck(shape), _bottleneck(self._widest(i, j))
                parts.append(sliced(f"s{i}_{j}", (parts[-1].name,), kind, whole))
        last = max(self._widths[-1])
        parts.append(sliced("head", (parts[-1].name,), _head(width, self.classes), _head(last, self.classes)))
        return Assembly(tuple(parts), self.input_shape)

    @property
    def _numbers(self) -> range:
        return range(1, self.stages + 1)

    @cached_property
    def _resolutions(self) -> tuple[int, ...]:
        return resolutions(self.resolution, self.smallest, self.step)

    def _multiples(self, width: int) -> tuple[int, ...]:
        """A width by the multipliers; those that round to one are one."""
        return tuple(dict.fromkeys(divisible(width * self.width / 100 * factor) for factor in _MULTIPLIERS))

    @cached_property
    def _inner(self) -> tuple[int, ...]:
        """Widths within the stem."""
        return tuple(dict.fromkeys(divisible(width // 2) for width in self._multiples(_STEM)))

    @cached_property
    def _widths(self) -> tuple[tuple[int, ...], ...]:
        """Of the stem and the stages."""
        return (self._multiples(_STEM), *(self._multiples(width) for width, _, _ in _STAGES[: self.stages]))

    def _width_at(self, stage: int) -> int:
        return self.place(f"width{stage}" if stage else "stem_width")

    @staticmethod
    def _most(stage: int) -> int:
        return _STAGES[stage - 1][1] + _DEEPER

    def _blocks(self, stage: int) -> slice:
        """Columns of the expansions of a stage."""
        first = self.place(f"expansion{stage}_1")
        return slice(first, first + self._most(stage))

    def _live(self, archs: Archs, stage: int) -> NDArray[np.bool_]:
        """`(n, blocks)`: which of a stage are there."""
        depth = _STAGES[stage - 1][1] + archs[:, [self.place(f"depth{stage}")]]
        return np.asarray(np.arange(self._most(stage)) < depth)

    @staticmethod
    def _hidden(width: int, expansion: float) -> int:
        return divisible(round(width * expansion))

    def _bottleneck(self, stage: int, before: int, width: int, number: int, expansion: float) -> blocks.Bottleneck:
        stride = _STAGES[stage - 1][2] if number == 1 else 1
        return blocks.Bottleneck(before, width, self._hidden(width, expansion), stride)

    def _widest(self, stage: int, number: int) -> blocks.Bottleneck:
        """What all bottlenecks at a place are cut out of."""
        before, width = max(self._widths[stage - (number == 1)]), max(self._widths[stage])
        return self._bottleneck(stage, before, width, number, max(_EXPANSIONS))

    def _side(self, resolution: int, stage: int) -> int:
        """Of the input of a stage; of the stem's convolutions if it is 0."""
        side = reduced(resolution, 2)
        for _, _, stride in ((0, 0, 2), *_STAGES)[:stage]:
            side = reduced(side, stride)
        return side

    @cached_property
    def _tables(self) -> tuple[Numbers, ...]:
        """Of each stage parameters, multiply-accumulates and channels within a block.

        Each is `(resolutions, widths before, widths, 2, expansions, 3)`; the fourth is 0 for the first block.
        """
        found = []
        for i in self._numbers:
            befores, widths = self._widths[i - 1], self._widths[i]
            table = np.zeros((len(self._resolutions), len(befores), len(widths), 2, len(_EXPANSIONS), 3))
            for at in np.ndindex(table.shape[:-1]):
                size, before, width, later, expansion = at
                read = widths[width] if later else befores[before]
                shape = self._bottleneck(i, read, widths[width], later + 1, _EXPANSIONS[expansion])
                side = self._side(self._resolutions[size], i + later)
                table[at] = [*shape.counts(side), shape.hidden]
            found.append(table)
        return tuple(found)

    def _outside(self, archs: Archs) -> Numbers:
        """Parameters and multiply-accumulates of stem and head, `(n, 2)`."""
        names = ("stem_depth", "stem_inner", "stem_width", f"width{self.stages}")
        columns = (np.array(self.genes[at].options)[archs[:, at]] for at in map(self.place, names))
        depth, inner, width, last = columns
        pixels = np.array([self._side(resolution, 0) ** 2 for resolution in self._resolutions])[archs[:, 0]]
        more = (depth == _STEM_DEPTHS[1]).astype(np.float64)
        weights = 9 * (self.image_channels * inner + more * inner**2 + inner * width)
        norms = 2 * ((1 + more) * inner + width)
        linear = last * self.classes
        return np.stack([weights + norms + linear + self.classes, pixels * weights + linear], axis=1)


SPACE = ResNet


def _stem(channels: int, inner: int) -> Kind:
    return f"resnet stem {channels}->{inner}", partial(blocks.conv_relu, channels, inner, 3, stride=2, after_relu=False)


def _added(inner: int) -> Kind:
    return f"resnet stem added {inner}", partial(blocks.added_conv, inner)


def _entry(inner: int, width: int) -> Kind:
    return f"resnet entry {inner}->{width}", partial(blocks.entry, inner, width)


def _bottleneck(shape: blocks.Bottleneck) -> Kind:
    return f"resnet {shape.key}", shape.build


def _head(width: int, classes: int) -> Kind:
    return f"resnet head {width}->{classes}", partial(blocks.head, width, classes)
