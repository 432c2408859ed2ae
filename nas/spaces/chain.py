"""Chains: one operator is chosen for each layer of a row, and nothing else.

Source: Wu et al., "FBNet: hardware-aware efficient ConvNet design via differentiable neural architecture search", CVPR
    2019, section 3.1, tables 1 and 2; with 7 operators, Cai, Zhu & Han, "ProxylessNAS: direct neural architecture
    search on target task and hardware", ICLR 2019, section 4.2, and widths as in its published code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces._parts import mobile as blocks
from nas.spaces._parts.image_sizes import divisible, reduced
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import INPUT, Assembly, Block, Cut

SKIP = "skip"
_LETTER = re.compile(r"[a-z]")


class _Stage(NamedTuple):
    """Layers of one width, of which the first has the stride."""

    width: int
    layers: int
    stride: int


class _Macro(NamedTuple):
    """What surrounds the layers of which operators are chosen.

    Attributes:
        operators: by name kernel, expansion and groups; the last is the skip.
        projects: whether skips are options where the shape changes, as 1x1 convolutions with batch norm.
        stem: width of the first convolution.
        first: width of an inverted residual without expansion behind it; 0 without one.
        stages: of the layers.
        head: width of the last convolution.
        activation: a class of `torch.nn`.
    """

    operators: dict[str, tuple[int, int, int]]
    projects: bool
    stem: int
    first: int
    stages: tuple[_Stage, ...]
    head: int
    activation: str


_FBNET = _Macro(
    {
        "k3e1": (3, 1, 1), "k3g2": (3, 1, 2), "k3e3": (3, 3, 1), "k3e6": (3, 6, 1),
        "k5e1": (5, 1, 1), "k5g2": (5, 1, 2), "k5e3": (5, 3, 1), "k5e6": (5, 6, 1), SKIP: (0, 0, 1),
    },
    projects=True,
    stem=16,
    first=0,
    stages=(
        _Stage(16, 1, 1), _Stage(24, 4, 2), _Stage(32, 4, 2), _Stage(64, 4, 2), _Stage(112, 4, 1), _Stage(184, 4, 2),
        _Stage(352, 1, 1),
    ),
    head=1504,
    activation="ReLU",
)  # fmt: skip
_PROXYLESS = _Macro(
    {
        "k3e3": (3, 3, 1), "k5e3": (5, 3, 1), "k7e3": (7, 3, 1),
        "k3e6": (3, 6, 1), "k5e6": (5, 6, 1), "k7e6": (7, 6, 1), SKIP: (0, 0, 1),
    },
    projects=False,
    stem=32,
    first=16,
    stages=(
        _Stage(24, 4, 2), _Stage(40, 4, 2), _Stage(80, 4, 2), _Stage(96, 4, 1), _Stage(192, 4, 2), _Stage(320, 1, 1),
    ),
    head=1280,
    activation="ReLU6",
)  # fmt: skip
#: By the number of their operators.
_MACROS = {9: _FBNET, 7: _PROXYLESS}


class _Layer(NamedTuple):
    """A place for an operator; `side` is that of its input."""

    stage: int
    before: int
    width: int
    stride: int
    side: int

    @property
    def keeps(self) -> bool:
        """Whether the output has the input's shape, so that a skip is a wire."""
        return self.stride == 1 and self.before == self.width


@dataclass(frozen=True)
class Chain(ProductSpace):
    """FBNet's or ProxylessNAS' row of layers; the defaults are FBNet's.

    Attributes:
        operators: 9, FBNet's, or 7, ProxylessNAS'; they bring their widths and strides.
        layers: of each stage, at most; both papers have up to 4.
        resolution: of the square input.
        width: of all layers, in percent, rounded to multiples of 8.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    operators: int = 9
    layers: int = 4
    resolution: int = 224
    width: int = 100
    classes: int = 1000
    image_channels: int = 3

    name = "chain"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.operators not in _MACROS:
            raise UsageError(
                f"space option operators must be one of {', '.join(map(str, _MACROS))}, got {self.operators}",
                hint="9 are FBNet's, 7 ProxylessNAS'.",
            )

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The operator of each layer."""
        every = tuple(self._macro.operators)
        return tuple(
            Gene(f"layer{number}", every if layer.keeps or self._macro.projects else every[:-1])
            for number, layer in enumerate(self._layers, start=1)
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One image."""
        return (1, self.image_channels, self.resolution, self.resolution)

    def canonical(self, archs: Archs) -> Archs:
        """Skips last among layers in a row that keep the shape, `(n, d)`; the others keep their order."""
        archs = self.checked(archs).copy()
        for run in self._runs:
            order = np.argsort(archs[:, run] == self.operators - 1, axis=1, kind="stable")
            archs[:, run] = np.take_along_axis(archs[:, run], order, axis=1)
        return archs

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """The canonical genes, then counts of the network, `(n, f)`.

        For each operator the layers that have it; for each stage the layers that are no wires, the sum of their
        kernels, and natural logarithms of 1 and their parameters and of 1 and their multiply-accumulates; those of the
        whole network, which are exact.
        """
        archs = self.canonical(archs)
        uses = np.stack([(archs == operator).sum(axis=1) for operator in range(self.operators)], axis=1)
        picked = self._tables[np.arange(len(self._layers)), archs]
        stage_of = np.array([layer.stage for layer in self._layers])
        stages = np.stack([picked[:, stage_of == s].sum(axis=1) for s in range(len(self._macro.stages))], axis=2)
        whole = stages[:, 2:].sum(axis=2) + self._fixed
        logs = np.log1p(stages[:, 2:]).reshape(len(archs), 2 * len(self._macro.stages))
        columns = [super().features(archs), uses, stages[:, 0], stages[:, 1], logs, np.log(whole)]
        return np.concatenate(columns, axis=1).astype(np.float64)

    def format(self, arch: Archs) -> str:
        """The operators of each stage with dashes between, and spaces between stages."""
        named = [(layer.stage, gene) for layer, gene in zip(self._layers, self.values(arch).values(), strict=True)]
        return " ".join("-".join(op for at, op in named if at == s) for s in range(len(self._macro.stages)))

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, from `gene=option ...`, or from integers with commas.

        Raises:
            UsageError: the text is none of them, or an operator is not one of its layer's.
        """
        if "=" in text or not _LETTER.search(text):
            return super().parse(text)
        words = [word.split("-") for word in text.split()]
        if [len(word) for word in words] != [min(stage.layers, self.layers) for stage in self._macro.stages]:
            raise UsageError(
                f"{text!r} is no chain of {len(self._layers)} layers in {len(self._macro.stages)} stages",
                hint=f"Write it like {self._example()!r}.",
            )
        found = [operator for word in words for operator in word]
        return super().parse(" ".join(f"layer{number}={operator}" for number, operator in enumerate(found, start=1)))

    def assembly(self, arch: Archs) -> Assembly:
        """The network of the canonical genome as blocks; skips are wires where the shape stays."""
        macro, stem, first = self._macro, self._wide(self._macro.stem), self._first
        act = macro.activation
        build = partial(blocks.conv_norm, self.image_channels, stem, 3, stride=2, activation=act, after_relu=False)
        parts = [Block("stem", f"chain stem {self.image_channels}->{stem} {act}", (INPUT,), build)]
        if first:
            parts.append(Block("first", f"chain {first.key}", ("stem",), first.build))
        options = tuple(macro.operators)
        for number, (layer, gene) in enumerate(zip(self._layers, self.canonical(arch[None])[0], strict=True), start=1):
            name, entry, operator = f"l{number}", (parts[-1].name,), options[int(gene)]
            if operator != SKIP:
                inverted = self._inverted(layer, operator)
                cut = partial(self._cut, layer, inverted)
                parts.append(Block(name, f"chain {inverted.key}", entry, inverted.build, cut))
            elif not layer.keeps:
                key = f"chain projection {layer.before}->{layer.width} s{layer.stride} {act}"
                project = partial(blocks.conv_norm, layer.before, layer.width, stride=layer.stride, activation=act)
                parts.append(Block(name, key, entry, project, partial(self._cut, layer, None)))
        last, wide = self._layers[-1].width, self._wide(macro.head)
        key = f"chain head {last}->{wide}->{self.classes} {act}"
        parts.append(Block("head", key, (parts[-1].name,), partial(blocks.head, last, wide, self.classes, act)))
        return Assembly(tuple(parts), self.input_shape)

    @property
    def _macro(self) -> _Macro:
        return _MACROS[self.operators]

    def _wide(self, width: int) -> int:
        return divisible(width * self.width / 100)

    @property
    def _first(self) -> blocks.Inverted | None:
        """The inverted residual before the layers."""
        if not self._macro.first:
            return None
        stem, width = self._wide(self._macro.stem), self._wide(self._macro.first)
        return blocks.Inverted(stem, width, stem, 3, expand=False, activation=self._macro.activation)

    @cached_property
    def _layers(self) -> tuple[_Layer, ...]:
        before = self._wide(self._macro.first or self._macro.stem)
        side = reduced(self.resolution, 2)
        found = []
        for number, stage in enumerate(self._macro.stages):
            for layer in range(min(stage.layers, self.layers)):
                stride = 1 if layer else stage.stride
                found.append(_Layer(number, before, self._wide(stage.width), stride, side))
                before, side = found[-1].width, reduced(side, stride)
        return tuple(found)

    @cached_property
    def _runs(self) -> tuple[list[int], ...]:
        """Places of layers in a row that keep the shape."""
        runs: list[list[int]] = [[]]
        for place, layer in enumerate(self._layers):
            if layer.keeps:
                runs[-1].append(place)
            else:
                runs.append([])
        return tuple(run for run in runs if len(run) > 1)

    def _inverted(self, layer: _Layer, operator: str) -> blocks.Inverted:
        return self._residual(layer, *self._macro.operators[operator])

    def _cut(self, layer: _Layer, inverted: blocks.Inverted | None) -> Cut:
        """All operators of a layer, and its projection, which is None, are cut out of the widest."""
        kernels, expansions, _ = zip(*self._macro.operators.values(), strict=True)
        widest = self._residual(layer, max(kernels), max(expansions), 1)
        return inverted.shared(widest, "chain ") if inverted else widest.straight("chain ")

    def _residual(self, layer: _Layer, kernel: int, expansion: int, groups: int) -> blocks.Inverted:
        hidden, activation = layer.before * expansion, self._macro.activation
        return blocks.Inverted(layer.before, layer.width, hidden, kernel, layer.stride, groups, activation=activation)

    @cached_property
    def _tables(self) -> NDArray[np.float64]:
        """`(d, operators, 4)`: whether it is no wire, kernel, parameters, multiply-accumulates."""
        found = np.zeros((len(self._layers), self.operators, 4))
        for place, layer in enumerate(self._layers):
            for at, (operator, (kernel, _, _)) in enumerate(self._macro.operators.items()):
                if operator != SKIP:
                    found[place, at] = [1, kernel, *self._inverted(layer, operator).counts(layer.side)]
                elif not layer.keeps:
                    side = reduced(layer.side, layer.stride)
                    found[place, at] = [1, 1, *blocks.conv_counts(layer.before, layer.width, 1, side)]
        return found

    @property
    def _fixed(self) -> NDArray[np.float64]:
        """Parameters and multiply-accumulates, `(2,)`, of what all networks have."""
        side, last, wide = reduced(self.resolution, 2), self._layers[-1], self._wide(self._macro.head)
        found = blocks.conv_counts(self.image_channels, self._wide(self._macro.stem), 3, side)
        if self._first:
            found = found + self._first.counts(side)
        found = found + blocks.conv_counts(last.width, wide, 1, reduced(last.side, last.stride))
        return found + np.array([(wide + 1) * self.classes, wide * self.classes], dtype=np.float64)


SPACE = Chain
