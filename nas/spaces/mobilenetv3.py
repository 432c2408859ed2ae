"""Once-for-all's space: MobileNetV3 whose stages differ in depth, and whose layers differ in kernel and expansion.

Source: Cai et al., "Once-for-all: train one network and specialize it for efficient deployment", ICLR 2020, section
    4.1; widths, strides and activations are those of its published network, after Howard et al., "Searching for
    MobileNetV3", ICCV 2019, table 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces._parts import mobile as blocks
from nas.spaces._parts.image_sizes import divisible, reduced, resized, resolutions
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import INPUT, Assembly, Block, Cut


class _Stage(NamedTuple):
    """Layers of one width; the first has the stride."""

    width: int
    stride: int
    activation: str
    squeeze: bool


_STAGES = (
    _Stage(24, 2, "ReLU", False),
    _Stage(40, 2, "ReLU", True),
    _Stage(80, 2, "Hardswish", False),
    _Stage(112, 1, "Hardswish", True),
    _Stage(160, 2, "Hardswish", True),
)
_STEM = 16
_HEAD = (960, 1280)
_SHALLOWEST = 2
_KERNELS = (3, 5, 7)
_EXPANSIONS = (3, 4, 6)
_WORD = re.compile(r"(\d+)\(([^()]*)\)")
_LAYER = re.compile(r"k(\d+)e(\d+)")


@dataclass(frozen=True)
class MobileNetV3(ProductSpace):
    """Rows of inverted residuals in five stages, run on images of a chosen resolution; the defaults are the paper's.

    Attributes:
        stages: 1 to 5.
        layers: of each stage, at most; at least 2, with which the choice of depths begins.
        resolution: of the square input, and the largest of those that networks run on.
        smallest: of these.
        step: between them.
        width: of all layers, in percent, rounded to multiples of 8.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    stages: int = 5
    layers: int = 4
    resolution: int = 224
    smallest: int = 128
    step: int = 4
    width: int = 100
    classes: int = 1000
    image_channels: int = 3

    name = "mobilenetv3"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages > len(_STAGES):
            raise UsageError(f"space option stages must be 1 to {len(_STAGES)}, got {self.stages}")
        if self.layers < _SHALLOWEST:
            raise UsageError(f"space option layers must be at least {_SHALLOWEST}, got {self.layers}")
        resolutions(self.resolution, self.smallest, self.step)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The resolution, depths of stages, kernels of layers, expansions of layers; all in an order."""
        places = [f"{stage}_{layer}" for stage in self._numbers for layer in range(1, self.layers + 1)]
        return (
            Gene("resolution", self._resolutions, ordered=True),
            *(Gene(f"depth{i}", tuple(range(_SHALLOWEST, self.layers + 1)), ordered=True) for i in self._numbers),
            *(Gene(f"kernel{at}", _KERNELS, ordered=True) for at in places),
            *(Gene(f"expansion{at}", _EXPANSIONS, ordered=True) for at in places),
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One image of the largest resolution; networks of others begin with making it smaller."""
        return (1, self.image_channels, self.resolution, self.resolution)

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False for kernels and expansions of layers that are left out."""
        archs = self.checked(archs)
        live = self._live(archs).reshape(len(archs), self.stages * self.layers)
        always = np.ones((len(archs), 1 + self.stages), dtype=np.bool_)
        return np.concatenate([always, live, live], axis=1)

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """The canonical genes, then counts of the network, `(n, f)`.

        For each stage the sums of kernels and of expansions over its layers, and natural logarithms of its parameters
        and multiply-accumulates; for the network its layers, and both logarithms. All counts are exact.
        """
        archs = self.canonical(archs)
        kernel, expansion = self._layers(archs)
        live = self._live(archs)
        size = archs[:, 0, None, None]
        counts = self._tables[size, np.arange(self.stages)[:, None], np.arange(self.layers), kernel, expansion]
        stages = (counts * live[..., None]).sum(axis=2)
        whole = stages.sum(axis=1) + self._fixed[archs[:, 0]]
        sums = [(np.array(of)[at] * live).sum(axis=2) for of, at in ((_KERNELS, kernel), (_EXPANSIONS, expansion))]
        logs = np.log(stages).reshape(len(archs), 2 * self.stages)
        columns = [super().features(archs), *sums, logs, live.sum(axis=(1, 2))[:, None], np.log(whole)]
        return np.concatenate(columns, axis=1).astype(np.float64)

    def format(self, arch: Archs) -> str:
        """`r224 3(k3e4+k5e6+k3e3+k7e6) ...`: the resolution, and of each stage its depth and all its layers.

        Layers that are left out are written too.
        """
        of = self.values(arch)
        words = [f"r{of['resolution']}"]
        for i in self._numbers:
            layers = (f"k{of[f'kernel{i}_{j}']}e{of[f'expansion{i}_{j}']}" for j in range(1, self.layers + 1))
            words.append(f"{of[f'depth{i}']}({'+'.join(layers)})")
        return " ".join(words)

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, from `gene=option ...`, or from integers with commas.

        Raises:
            UsageError: the text is none of them, or an option is not one.
        """
        if "(" not in text:
            return super().parse(text)
        first, *words = text.split()
        stages = [_WORD.fullmatch(word) for word in words]
        layers = [[_LAYER.fullmatch(layer) for layer in stage[2].split("+")] for stage in stages if stage]
        shape = [len(stage) for stage in layers]
        if not all(stages) or shape != [self.layers] * self.stages or not all(map(all, layers)):
            raise UsageError(f"{text!r} is no network of {self.spec}", hint=f"Write it like {self._example()!r}.")
        wanted = [f"resolution={first.removeprefix('r')}"]
        for i, (stage, members) in enumerate(zip(filter(None, stages), layers, strict=True), start=1):
            wanted.append(f"depth{i}={stage[1]}")
            for j, layer in enumerate(filter(None, members), start=1):
                wanted += [f"kernel{i}_{j}={layer[1]}", f"expansion{i}_{j}={layer[2]}"]
        return super().parse(" ".join(wanted))

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks: the image made smaller, the stem, a first residual, the layers, the head."""
        of = self.values(self.checked(np.asarray(arch)[None])[0])
        stem, first = self._wide(_STEM), self._first
        parts = resized(of["resolution"], self.resolution)
        build = partial(
            blocks.conv_norm, self.image_channels, stem, 3, stride=2, activation="Hardswish", after_relu=False
        )
        entry = parts[-1].name if parts else INPUT
        parts.append(Block("stem", f"mobilenetv3 stem {self.image_channels}->{stem}", (entry,), build))
        parts.append(Block("first", f"mobilenetv3 {first.key}", ("stem",), first.build))
        for stage in range(self.stages):
            for layer in range(of[f"depth{stage + 1}"]):
                name = f"{stage + 1}_{layer + 1}"
                inverted = self._inverted(stage, layer, of[f"kernel{name}"], of[f"expansion{name}"])
                cut, key = partial(self._cut, stage, layer, inverted), f"mobilenetv3 {inverted.key}"
                parts.append(Block(f"s{name}", key, (parts[-1].name,), inverted.build, cut))
        sizes = (self._widths[-1], *map(self._wide, _HEAD), self.classes)
        key = f"mobilenetv3 head {'->'.join(map(str, sizes))}"
        parts.append(Block("head", key, (parts[-1].name,), partial(blocks.mixing_head, *sizes)))
        return Assembly(tuple(parts), self.input_shape)

    @property
    def _numbers(self) -> range:
        return range(1, self.stages + 1)

    @cached_property
    def _resolutions(self) -> tuple[int, ...]:
        return resolutions(self.resolution, self.smallest, self.step)

    def _wide(self, width: int) -> int:
        return divisible(width * self.width / 100)

    @cached_property
    def _widths(self) -> tuple[int, ...]:
        """Of the stem and the stages."""
        return (self._wide(_STEM), *(self._wide(stage.width) for stage in _STAGES[: self.stages]))

    @property
    def _first(self) -> blocks.Inverted:
        """The inverted residual before the stages."""
        return blocks.Inverted(self._widths[0], self._widths[0], self._widths[0], 3, expand=False)

    def _inverted(self, stage: int, layer: int, kernel: int, expansion: int) -> blocks.Inverted:
        """A layer; stages and layers from 0."""
        of, width = _STAGES[stage], self._widths[stage + 1]
        before, stride = (width, 1) if layer else (self._widths[stage], of.stride)
        settings: dict[str, Any] = {"activation": of.activation, "squeeze": of.squeeze}
        return blocks.Inverted(before, width, before * expansion, kernel, stride, **settings)

    def _cut(self, stage: int, layer: int, inverted: blocks.Inverted) -> Cut:
        """All kinds of a layer are cut out of the widest, with the largest kernel."""
        return inverted.shared(self._inverted(stage, layer, max(_KERNELS), max(_EXPANSIONS)), "mobilenetv3 ")

    def _live(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, stages, layers)`: which are there."""
        return np.asarray(np.arange(self.layers) < _SHALLOWEST + archs[:, 1 : 1 + self.stages, None])

    def _layers(self, archs: Archs) -> tuple[Archs, Archs]:
        """Kernels and expansions, each `(n, stages, layers)` of indices."""
        genes = archs[:, 1 + self.stages :].reshape(len(archs), 2, self.stages, self.layers)
        return genes[:, 0], genes[:, 1]

    @cached_property
    def _tables(self) -> NDArray[np.float64]:
        """Parameters and multiply-accumulates, `(resolutions, stages, layers, kernels, expansions, 2)`."""
        shape = (len(self._resolutions), self.stages, self.layers, len(_KERNELS), len(_EXPANSIONS), 2)
        found = np.zeros(shape)
        for at, resolution in enumerate(self._resolutions):
            side = reduced(resolution, 2)
            for stage in range(self.stages):
                for place in np.ndindex(shape[2:-1]):
                    layer, kernel, expansion = place
                    inverted = self._inverted(stage, layer, _KERNELS[kernel], _EXPANSIONS[expansion])
                    inside = reduced(side, _STAGES[stage].stride) if layer else side
                    found[at, stage, layer, kernel, expansion] = inverted.counts(inside)
                side = reduced(side, _STAGES[stage].stride)
        return found

    @cached_property
    def _fixed(self) -> NDArray[np.float64]:
        """Parameters and multiply-accumulates of what all networks have, `(resolutions, 2)`."""
        wide, wider = map(self._wide, _HEAD)
        linear = np.array([wide * wider + (wider + 1) * self.classes, wide * wider + wider * self.classes])
        found = []
        for resolution in self._resolutions:
            side = reduced(resolution, 2)
            early = blocks.conv_counts(self.image_channels, self._widths[0], 3, side) + self._first.counts(side)
            for stage in _STAGES[: self.stages]:
                side = reduced(side, stage.stride)
            found.append(early + blocks.conv_counts(self._widths[-1], wide, 1, side) + linear)
        return np.array(found)


SPACE = MobileNetV3
