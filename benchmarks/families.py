"""Families of networks that a predictor was not fitted on: what it says of them is what it is worth.

    from benchmarks import families

    subjects = families.sample("resnet", 30, seed=0)

The proportions are those of the published networks (stem, stages of half the resolution, head), scaled until one CPU
thread takes about 0.5 to 15 ms; those of NAS-Bench-201 are as they are. Widths, resolutions and variants of blocks come
from short tables, so 40 networks of a family have about 60 distinct blocks and are exported in about a minute. Weights
are random: this is for latency, not for accuracy.

Sources: MobileNetV3 (Howard et al., ICCV 2019, section 5), ResNet (He et al., CVPR 2016, section 3), EfficientNet
(Tan and Le, ICML 2019, sections 3 and 4), ViT (Dosovitskiy et al., ICLR 2021, section 3.1), BERT (Devlin et al.,
NAACL 2019, section 3), NAS-Bench-201 (Dong and Yang, ICLR 2020, section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.errors import UnknownName, UsageError
from profiler.assembly import INPUT, Assembly, Block
from profiler.subjects import Subject

if TYPE_CHECKING:
    from torch import Tensor, nn

CLASSES = 1000
#: Draws without a new network after which a family counts as exhausted.
_TRIES = 1000


@dataclass(frozen=True)
class Architecture:
    """A network of a family.

    Attributes:
        name: its choices as text, such as `"resnet w=24 d=2,2,2 r=64 bottleneck"`; unique in its family.
        assembly: its blocks.
    """

    name: str
    assembly: Assembly


def names() -> list[str]:
    """The families that can be sampled."""
    return sorted(_FAMILIES)


def architectures(family: str, n: int, seed: int) -> list[Architecture]:
    """Distinct networks of a family, without exporting anything.

    Args:
        family: one of `names()`.
        n: at least 1. A shorter list with the same seed is the beginning of a longer one.
        seed: not negative; equal seeds give equal networks.

    Raises:
        UnknownName: there is no such family.
        UsageError: `n` or `seed` is out of range, or the family has fewer networks.
    """
    if family not in _FAMILIES:
        raise UnknownName("family", family, _FAMILIES)
    if n < 1 or seed < 0:
        raise UsageError(f"n={n} and seed={seed}: n must be at least 1, the seed at least 0", hint="Ask for n=30.")
    found: dict[str, Architecture] = {}
    tries = 0
    for architecture in _FAMILIES[family](np.random.default_rng(seed)):
        tries = tries + 1 if architecture.name in found else 0
        found.setdefault(architecture.name, architecture)
        if len(found) == n:
            return list(found.values())
        if tries == _TRIES:
            break
    raise UsageError(f"the family {family!r} gave {len(found)} distinct networks of {n}", hint="Ask for fewer.")


def sample(family: str, n: int, seed: int) -> list[Subject]:
    """Distinct networks of a family as something to measure, exported block by block at first need.

    Args:
        family: one of `names()`.
        n: at least 1. A shorter list with the same seed is the beginning of a longer one.
        seed: not negative; equal seeds give equal networks.

    Raises:
        UnknownName: there is no such family.
        UsageError: `n` or `seed` is out of range, or the family has fewer networks.
    """
    return [_subject(family, architecture) for architecture in architectures(family, n, seed)]


def _subject(family: str, architecture: Architecture) -> Subject:
    """Reads the graph from a model whose equal blocks share weights; the real one is made when it is wanted."""
    from profiler.capture import BlockCache, stitch
    from profiler.onnx_graph import read_graph

    graph = read_graph(stitch(architecture.assembly, BlockCache.default(), shared=True))

    def onnx() -> bytes:
        content: bytes = stitch(architecture.assembly, BlockCache.default()).SerializeToString()
        return content

    space, arch = (family, architecture.name) if family == "nasbench201" else (None, None)
    return Subject(graph.digest, architecture.name, graph, onnx, space=space, arch=arch)


# -- the families: each an endless stream of draws


def _nasbench201(rng: np.random.Generator) -> Iterator[Architecture]:
    import nas

    space = nas.spaces.load("nasbench201")
    for arch in space.sample(5000, rng):  # distinct; the space has 6466 networks whose output is not constant
        yield Architecture(space.format(arch), space.assembly(arch))


#: Width of the network as a factor, and resolution of its input.
_MOBILE_TRUNKS = ((0.5, 96), (1.0, 128), (0.75, 192), (1.5, 224))
#: Width, stride and largest depth of the stages after the first.
_MOBILE_STAGES = ((24, 2, 3), (40, 2, 4), (80, 2, 4), (160, 2, 3))
#: Kernel, expansion, squeeze-and-excite, activation. A stage of a trunk has one or two of them to choose from.
_MOBILE_BLOCKS = (
    (3, 4, False, "relu"),
    (5, 3, True, "hswish"),
    (7, 3, False, "hswish"),
    (3, 6, True, "relu"),
    (5, 6, False, "relu"),
    (7, 4, True, "hswish"),
    (3, 3, True, "hswish"),
    (5, 4, False, "hswish"),
)


def _mobilenetv3(rng: np.random.Generator) -> Iterator[Architecture]:
    while True:
        trunk = int(rng.integers(len(_MOBILE_TRUNKS)))
        factor, resolution = _MOBILE_TRUNKS[trunk]
        channels = _eights(16 * factor)
        parts = [
            _part("ConvBnAct", 3, channels, 3, 2, "hswish"),
            _part("MbConv", channels, channels, channels, 3, 1, 0, "relu", "hardsigmoid"),
        ]
        text = []
        for number, (width, stride, deepest) in enumerate(_MOBILE_STAGES):
            variant = (3 * trunk + 2 * number + int(rng.integers(1 + (number + trunk) % 2))) % 8
            kernel, expansion, excite, activation = _MOBILE_BLOCKS[variant]
            depth = int(rng.integers(1, deepest, endpoint=True))
            for position in range(depth):
                hidden, out = _eights(expansion * channels), _eights(width * factor)
                squeezed = _eights(hidden / 4) if excite else 0
                step = stride if position == 0 else 1
                parts.append(_part("MbConv", channels, hidden, out, kernel, step, squeezed, activation, "hardsigmoid"))
                channels = out
            text.append(f"{depth}xk{kernel}e{expansion}{'se' if excite else ''}-{activation}")
        parts.append(_part("ConvHead", channels, 6 * channels, 1280, "hswish"))
        name = f"mobilenetv3 w={factor:g} r={resolution} {' '.join(text)}"
        yield Architecture(name, _chain((1, 3, resolution, resolution), parts))


#: Kind of block, width of the first stage, resolution, number of stages, largest depth of a stage. Three stages follow
#: the stem of the networks for CIFAR (one 3x3 convolution), four that of the networks for ImageNet (7x7 and a pool).
_RESNET_TRUNKS = (
    ("basic", 24, 32, 3, 5),
    ("basic", 32, 48, 3, 3),
    ("basic", 32, 96, 4, 4),
    ("basic", 64, 128, 4, 2),
    ("bottleneck", 16, 32, 3, 4),
    ("bottleneck", 24, 128, 4, 4),
    ("bottleneck", 40, 112, 4, 3),
)


def _resnet(rng: np.random.Generator) -> Iterator[Architecture]:
    while True:
        kind, width, resolution, stages, deepest = _RESNET_TRUNKS[int(rng.integers(len(_RESNET_TRUNKS)))]
        shallowest = 2 if stages == 3 else 1
        depths = [int(depth) for depth in rng.integers(shallowest, deepest, size=stages, endpoint=True)]
        stem = _part("ConvBnAct", 3, width, 3, 1, "relu") if stages == 3 else _part("PooledStem", width)
        parts, channels = [stem], width
        for stage, depth in enumerate(depths):
            inner = width << stage
            out = inner if kind == "basic" else 4 * inner
            for position in range(depth):
                stride = 2 if stage and position == 0 else 1
                parts.append(_part("Residual", kind, channels, inner, out, stride))
                channels = out
        parts.append(_part("PoolHead", channels))
        name = f"resnet w={width} d={','.join(map(str, depths))} r={resolution} {kind}"
        yield Architecture(name, _chain((1, 3, resolution, resolution), parts))


#: Factor of width, resolution, and the factors of depth that go with them.
_EFFICIENT_TRUNKS = (
    (0.5, 96, (0.5, 0.8)),
    (0.75, 128, (0.5, 0.8, 1.0)),
    (0.5, 192, (0.5, 0.8, 1.0)),
    (1.25, 208, (0.5, 0.8)),
)
#: Kernel, expansion, stride, width and depth of the stages of EfficientNet-B0 (Tan and Le, table 1).
_EFFICIENT_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 6, 2, 24, 2),
    (5, 6, 2, 40, 2),
    (3, 6, 2, 80, 3),
    (5, 6, 1, 112, 3),
    (5, 6, 2, 192, 4),
    (3, 6, 1, 320, 1),
)


def _efficientnet(rng: np.random.Generator) -> Iterator[Architecture]:
    while True:
        factor, resolution, deep = _EFFICIENT_TRUNKS[int(rng.integers(len(_EFFICIENT_TRUNKS)))]
        scale = deep[int(rng.integers(len(deep)))]
        channels = _eights(32 * factor)
        parts, depths = [_part("ConvBnAct", 3, channels, 3, 2, "silu")], []
        for kernel, expansion, stride, width, layers in _EFFICIENT_STAGES:
            nudge = int(rng.integers(-1, 1, endpoint=True)) if layers > 1 else 0
            depth = max(1, int(np.ceil(scale * layers)) + nudge)
            for position in range(depth):
                out, step = _eights(width * factor), stride if position == 0 else 1
                squeezed = max(channels // 4, 4)
                parts.append(
                    _part("MbConv", channels, expansion * channels, out, kernel, step, squeezed, "silu", "sigmoid")
                )
                channels = out
            depths.append(depth)
        parts.append(_part("ConvHead", channels, _eights(1280 * factor), 0, "silu"))
        name = f"efficientnet w={factor:g} d={','.join(map(str, depths))} r={resolution}"
        yield Architecture(name, _chain((1, 3, resolution, resolution), parts))


#: Width, resolution and patch of encoders of images; both numbers of heads that go with them; largest depth.
_VIT_TRUNKS = (
    (96, 160, 16, (3, 6), 12),
    (192, 112, 16, (3, 6), 12),
    (256, 128, 16, (4, 8), 8),
    (384, 224, 32, (6, 12), 6),
    (128, 64, 8, (2, 4), 12),
)
#: Width and number of tokens of encoders of text; both numbers of heads; largest depth.
_BERT_TRUNKS = (
    (128, 32, (2, 4), 12),
    (128, 128, (2, 8), 10),
    (256, 64, (4, 8), 8),
    (312, 48, (6, 12), 6),
    (512, 16, (8, 4), 6),
)


def _transformer(rng: np.random.Generator) -> Iterator[Architecture]:
    while True:
        image = bool(rng.integers(2))
        shape: tuple[int, ...]
        if image:
            width, resolution, patch, heads, deepest = _VIT_TRUNKS[int(rng.integers(len(_VIT_TRUNKS)))]
            tokens, shape = (resolution // patch) ** 2 + 1, (1, 3, resolution, resolution)
            first, head = _part("Patches", width, patch, tokens), _part("TokenHead", width)
        else:
            width, tokens, heads, deepest = _BERT_TRUNKS[int(rng.integers(len(_BERT_TRUNKS)))]
            shape = (1, tokens, width)
            first, head = _part("Positions", width, tokens), _part("PooledTokenHead", width)
        count, ratio = heads[int(rng.integers(2))], (2, 4)[int(rng.integers(2))]
        depth = int(rng.integers(2, deepest, endpoint=True))
        layer = [
            _part("FusedAttention" if image else "Attention", width, count),
            _part("PreNormMlp" if image else "PostNormMlp", width, ratio * width),
        ]
        kind = f"vit r={resolution} p={patch}" if image else f"bert t={tokens}"
        name = f"transformer {kind} w={width} h={count} mlp={ratio} d={depth}"
        yield Architecture(name, _chain(shape, [first, *layer * depth, head]))


_FAMILIES: dict[str, Callable[[np.random.Generator], Iterator[Architecture]]] = {
    "efficientnet": _efficientnet,
    "mobilenetv3": _mobilenetv3,
    "nasbench201": _nasbench201,
    "resnet": _resnet,
    "transformer": _transformer,
}


# -- blocks

Part = tuple[str, Callable[[], Any]]


def _part(kind: str, *arguments: Any) -> Part:
    """A key and what builds its module: a class of `_classes` and its arguments."""
    return f"families {kind} {' '.join(map(str, arguments))}", partial(_module, kind, *arguments)


def _module(kind: str, *arguments: Any) -> nn.Module:
    module: nn.Module = _classes()[kind](*arguments)
    return module


def _chain(input_shape: tuple[int, ...], parts: Sequence[Part]) -> Assembly:
    """Blocks that run one after another; branches are inside of blocks."""
    blocks = tuple(Block(f"b{i}", key, (f"b{i - 1}" if i else INPUT,), build) for i, (key, build) in enumerate(parts))
    return Assembly(blocks, input_shape)


def _eights(width: float) -> int:
    """The nearest multiple of 8, at least 8."""
    return max(8, round(width / 8) * 8)


@cache
def _classes() -> dict[str, Any]:
    """All modules, by the names that keys of blocks have; images are `(1, c, h, w)`, sequences `(1, t, d)`."""
    import torch
    from torch import nn
    from torch.nn import functional

    activations = {"relu": nn.ReLU, "hswish": nn.Hardswish, "silu": nn.SiLU}
    gates = {"sigmoid": nn.Sigmoid, "hardsigmoid": nn.Hardsigmoid}

    def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [convolution, nn.BatchNorm2d(outputs)]

    class ConvBnAct(nn.Sequential):
        def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, activation: str) -> None:
            super().__init__(*conv_bn(inputs, outputs, kernel, stride), activations[activation]())

    class MbConv(nn.Module):
        """Expand, filter by channel, squeeze and excite, project; with a skip where the shapes allow one."""

        def __init__(
            self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int, squeezed: int, act: str, gate: str
        ) -> None:
            super().__init__()
            expand = [*conv_bn(inputs, hidden, 1), activations[act]()] if hidden != inputs else []
            depthwise = [*conv_bn(hidden, hidden, kernel, stride, hidden), activations[act]()]
            self.filter = nn.Sequential(*expand, *depthwise)
            # MobileNetV3 has ReLU between the two layers of the gate, EfficientNet its own SiLU.
            between = nn.SiLU if act == "silu" else nn.ReLU
            self.gate = None
            if squeezed:
                narrow, widen = nn.Conv2d(hidden, squeezed, 1), nn.Conv2d(squeezed, hidden, 1)
                self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), narrow, between(), widen, gates[gate]())
            self.project = nn.Sequential(*conv_bn(hidden, outputs, 1))
            self.skip = stride == 1 and inputs == outputs

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.filter(x)
            if self.gate is not None:
                y = y * self.gate(y)
            y = self.project(y)
            return x + y if self.skip else y

    class ConvHead(nn.Sequential):
        """A 1x1 convolution, the average over the image, a layer of `inner` where it is not 0, the classifier."""

        def __init__(self, inputs: int, wide: int, inner: int, act: str) -> None:
            dense = [nn.Linear(wide, inner), activations[act]()] if inner else []
            pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            classifier = nn.Linear(inner or wide, CLASSES)
            super().__init__(*conv_bn(inputs, wide, 1), activations[act](), *pooled, *dense, classifier)

    class PooledStem(nn.Sequential):
        def __init__(self, width: int) -> None:
            super().__init__(*conv_bn(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))

    class Residual(nn.Module):
        def __init__(self, kind: str, inputs: int, inner: int, outputs: int, stride: int) -> None:
            super().__init__()
            if kind == "basic":
                layers = [*conv_bn(inputs, inner, 3, stride), nn.ReLU(), *conv_bn(inner, outputs, 3)]
            else:
                layers = [*conv_bn(inputs, inner, 1), nn.ReLU(), *conv_bn(inner, inner, 3, stride), nn.ReLU()]
                layers += conv_bn(inner, outputs, 1)
            self.main = nn.Sequential(*layers)
            same = stride == 1 and inputs == outputs
            self.shortcut = nn.Identity() if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.main(x) + self.shortcut(x))

    class PoolHead(nn.Sequential):
        def __init__(self, inputs: int) -> None:
            super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))

    class Dense(nn.Module):
        """A linear layer of a sequence, its weight as it is multiplied: `nn.Linear` has it transposed.

        Of an `nn.Linear` on three dimensions the exporter transposes the weight ahead of time, which no trained weight
        can be put into; the runtime is given the same product either way.
        """

        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(inputs, outputs) / inputs**0.5)
            self.bias = nn.Parameter(torch.zeros(outputs))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight + self.bias

    class Patches(nn.Module):
        """Patches of the image, the class token in front, positions."""

        def __init__(self, width: int, patch: int, tokens: int) -> None:
            super().__init__()
            self.project = nn.Conv2d(3, width, patch, patch)
            self.token = nn.Parameter(torch.zeros(1, 1, width))
            self.position = nn.Parameter(torch.zeros(1, tokens, width))

        def forward(self, x: Tensor) -> Tensor:
            patches: Tensor = self.project(x).flatten(2).transpose(1, 2)
            return torch.cat([self.token, patches], dim=1) + self.position

    class Positions(nn.Module):
        """Embedded tokens come from outside, since a table of them costs nothing to read."""

        def __init__(self, width: int, tokens: int) -> None:
            super().__init__()
            self.position = nn.Parameter(torch.zeros(1, tokens, width))
            self.norm = nn.LayerNorm(width)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(x + self.position)
            return y

    class FusedAttention(nn.Module):
        """As in ViT: the norm first, one projection for queries, keys and values, PyTorch's own attention."""

        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.norm = nn.LayerNorm(width)
            self.project = Dense(width, 3 * width)
            self.out = Dense(width, width)

        def forward(self, x: Tensor) -> Tensor:
            _, tokens, width = x.shape
            split = self.project(self.norm(x)).reshape(1, tokens, 3, self.heads, width // self.heads)
            query, key, value = split.permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(query, key, value)
            y: Tensor = self.out(mixed.transpose(1, 2).reshape(1, tokens, width))
            return x + y

    class Attention(nn.Module):
        """As in BERT: three projections, products of matrices, the norm last."""

        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads = heads
            self.query, self.key, self.value = (Dense(width, width) for _ in range(3))
            self.out = Dense(width, width)
            self.norm = nn.LayerNorm(width)

        def forward(self, x: Tensor) -> Tensor:
            _, tokens, width = x.shape
            each = width // self.heads
            query, key, value = (
                layer(x).reshape(1, tokens, self.heads, each).transpose(1, 2)
                for layer in (self.query, self.key, self.value)
            )
            weights = torch.softmax(query @ key.transpose(2, 3) / each**0.5, dim=-1)
            mixed = (weights @ value).transpose(1, 2).reshape(1, tokens, width)
            y: Tensor = self.norm(x + self.out(mixed))
            return y

    class PreNormMlp(nn.Module):
        def __init__(self, width: int, hidden: int) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(width)
            self.layers = nn.Sequential(Dense(width, hidden), nn.GELU(), Dense(hidden, width))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layers(self.norm(x))
            return x + y

    class PostNormMlp(PreNormMlp):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(x + self.layers(x))
            return y

    class TokenHead(nn.Module):
        """The norm and the classifier, of the class token alone."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(width)
            self.classifier = nn.Linear(width, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.classifier(self.norm(x)[:, 0])
            return y

    class PooledTokenHead(nn.Module):
        """A layer with tanh on the first token, and two classes."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.pooler = nn.Linear(width, width)
            self.classifier = nn.Linear(width, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.classifier(torch.tanh(self.pooler(x[:, 0])))
            return y

    return {name: found for name, found in locals().items() if isinstance(found, type)}
