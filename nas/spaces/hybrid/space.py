"""Image networks of stages that are convolutions or attention.

Source: Dai, Liu, Le & Tan, "CoAtNet: marrying convolution and attention for all data sizes", NeurIPS 2021, section 2.2
    (what a stage is made of is a choice, and the first is always of convolutions); that depth, width, kernel and
    expansion of each stage are choices, as in Gong et al., "NASViT: neural architecture search for efficient vision
    transformers with gradient conflict aware supernet training", ICLR 2022, section 3. Widths and depths are our own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces._parts import attention
from nas.spaces._parts.slices import Groups, Kind, sliced
from nas.spaces._parts.transformer import Numbers, attention_counts, feed_counts, numbers, scaled
from nas.spaces.hybrid import blocks
from nas.spaces.product import Gene, Option, ProductSpace
from profiler.assembly import INPUT, Assembly, Block

CONV, ATTENTION = "conv", "attention"
_STEM = (32,)
#: Of each stage; multiples of 8, so that every number of heads divides them.
_WIDTHS = ((32, 48, 64), (64, 96, 128), (128, 192, 256), (256, 384, 512))
_STEP = 8
_DEPTHS = (1, 2, 3)
_KERNELS = (3, 5, 7)
_HEADS = (2, 4, 8)
_EXPANSIONS = (2, 3, 4)
_WORD = re.compile(r"(conv|attention)(\d+)w(\d+)k(\d+)(?:h(\d+))?e(\d+)")


@dataclass(frozen=True)
class Hybrid(ProductSpace):
    """Stages of inverted residuals or of self-attention, each at half the resolution of the one before.

    Attributes:
        stages: 1 to 4.
        resolution: of the square input, a multiple of `2 ** (stages + 1)`.
        width: of all layers, in percent, rounded to multiples of 8.
        classes: that the network tells apart.
        image_channels: of the input.
    """

    stages: int = 4
    resolution: int = 224
    width: int = 100
    classes: int = 1000
    image_channels: int = 3

    name = "hybrid"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages > len(_WIDTHS):
            raise UsageError(f"space option stages must be 1 to {len(_WIDTHS)}, got {self.stages}")
        if self.resolution % 2 ** (self.stages + 1):
            raise UsageError(
                f"space option resolution must be a multiple of {2 ** (self.stages + 1)} (the stem and "
                f"{self.stages} stages halve it), got {self.resolution}"
            )
        for widths in (_STEM, *_WIDTHS):
            scaled(widths, self.width, _STEP)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Of each stage what it is made of (the first is of convolutions), its depth, width, and layers' shapes."""
        found = []
        for stage in range(1, self.stages + 1):
            shapes: dict[str, tuple[Option, ...]] = {
                "operator": (CONV, ATTENTION),
                "depth": _DEPTHS,
                "width": self._widths(stage),
                "kernel": _KERNELS,
                "heads": _HEADS,
                "expansion": _EXPANSIONS,
            }
            left_out = ("operator", "heads") if stage == 1 else ()
            found += [
                Gene(f"{name}{stage}", options, ordered=name != "operator")
                for name, options in shapes.items()
                if name not in left_out
            ]
        return tuple(found)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One image."""
        return (1, self.image_channels, self.resolution, self.resolution)

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False for kernels of stages of attention, and for heads of stages of convolutions."""
        archs = self.checked(archs)
        found = np.ones(archs.shape, dtype=np.bool_)
        for stage in range(2, self.stages + 1):
            attends = archs[:, self.place(f"operator{stage}")] == 1
            found[:, self.place(f"kernel{stage}")] = ~attends
            found[:, self.place(f"heads{stage}")] = attends
        return found

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """`(n, f)`: the genes, and sums.

        For each stage its depth if it is of convolutions, and if it is of attention; then the layers of both kinds,
        the sum of kernels over layers, the elements of all scores of attention (logarithm of 1 and more), and natural
        logarithms of parameters and multiply-accumulates, of each stage and of the network.
        """
        archs = self.canonical(archs)
        depth, attends = numbers(self, archs, "depth", self.stages), self._attends(archs)
        conv, other = depth * ~attends, depth * attends
        kernels = (conv * numbers(self, archs, "kernel", self.stages)).sum(axis=1)
        scores = (other * self._heads(archs) * np.array(self._sides[1:]) ** 4).sum(axis=1)
        sums = np.stack([conv.sum(axis=1), other.sum(axis=1), kernels, np.log1p(scores)], axis=1)
        counts = self._counts(archs)
        logs = np.log(np.concatenate([*counts, counts.sum(axis=2).T], axis=1))
        return np.concatenate([super().features(archs), conv, other, sums, logs], axis=1).astype(np.float64)

    def format(self, arch: Archs) -> str:
        """For each stage `conv2w96k5h4e3` or `attention2w96k5h4e3`, with spaces between.

        That is its depth, width, kernel, heads (not in the first stage) and expansion; inactive ones are written too.
        """
        of = self.values(arch)
        words = []
        for i in range(1, self.stages + 1):
            heads = f"h{of[f'heads{i}']}" if i > 1 else ""
            kind = f"{of.get(f'operator{i}', CONV)}{of[f'depth{i}']}"
            words.append(f"{kind}w{of[f'width{i}']}k{of[f'kernel{i}']}{heads}e{of[f'expansion{i}']}")
        return " ".join(words)

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, from `gene=option ...`, or from integers with commas.

        Raises:
            UsageError: the text is none of them, or an option is not one.
        """
        if "=" in text or CONV not in text:
            return super().parse(text)
        words = [_WORD.fullmatch(word) for word in text.split()]
        if len(words) != self.stages or not all(words):
            raise UsageError(f"{text!r} is no network of {self.spec}", hint=f"Write it like {self._example()!r}.")
        genes = []
        for i, match in enumerate(filter(None, words), start=1):
            named = zip(("operator", "depth", "width", "kernel", "heads", "expansion"), match.groups(), strict=True)
            skipped = CONV if i == 1 else None
            genes += [f"{name}{i}={option}" for name, option in named if option not in (None, skipped)]
        return super().parse(" ".join(genes))

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks: of each stage the one that halves the side, then its layers."""
        of = self.values(self.checked(np.asarray(arch)[None])[0])
        width = widest = scaled(_STEM, self.width, _STEP)[0]
        stem = partial(blocks.reduction, self.image_channels, width, activate=True)
        parts = [Block("stem", f"hybrid stem {self.image_channels}->{width}", (INPUT,), stem)]
        for stage in range(1, self.stages + 1):
            entry, width = width, of[f"width{stage}"]
            most, widest = widest, max(self._widths(stage))
            parts.append(sliced(f"s{stage}", (parts[-1].name,), _reduction(entry, width), _reduction(most, widest)))
            for layer in range(1, of[f"depth{stage}"] + 1):
                name, before = f"s{stage}l{layer}", parts[-1].name
                if of.get(f"operator{stage}", CONV) == CONV:
                    kind = _convolution(width, of[f"kernel{stage}"], of[f"expansion{stage}"])
                    whole = _convolution(widest, max(_KERNELS), max(_EXPANSIONS))
                    parts.append(sliced(name, (before,), kind, whole))
                    continue
                heads = of[f"heads{stage}"]
                kind, whole = _attention(width, heads), _attention(widest, max(_HEADS))
                parts.append(sliced(f"{name}a", (before,), kind, whole, partial(_by_heads, heads)))
                kind, whole = _feed(width, of[f"expansion{stage}"]), _feed(widest, max(_EXPANSIONS))
                parts.append(sliced(f"{name}f", (f"{name}a",), kind, whole))
        parts.append(sliced("head", (parts[-1].name,), _head(width, self.classes), _head(widest, self.classes)))
        return Assembly(tuple(parts), self.input_shape)

    def _widths(self, stage: int) -> tuple[int, ...]:
        return scaled(_WIDTHS[stage - 1], self.width, _STEP)

    @property
    def _sides(self) -> tuple[int, ...]:
        """Of what the stem gives, and each stage."""
        return tuple(self.resolution >> stage for stage in range(1, self.stages + 2))

    def _attends(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, stages)`: which are of attention."""
        found = np.zeros((len(archs), self.stages), dtype=np.bool_)
        for stage in range(2, self.stages + 1):
            found[:, stage - 1] = archs[:, self.place(f"operator{stage}")] == 1
        return found

    def _heads(self, archs: Archs) -> Numbers:
        """`(n, stages)`: 1 in the first."""
        found = np.ones((len(archs), self.stages))
        for stage in range(2, self.stages + 1):
            found[:, stage - 1] = numbers(self, archs, f"heads{stage}", 0)[:, 0]
        return found

    def _counts(self, archs: Archs) -> Numbers:
        """Parameters and multiply-accumulates, `(2, n, stages)`; the stem counts to the first, the head to the last."""
        width, expansion = (numbers(self, archs, name, self.stages) for name in ("width", "expansion"))
        wide, kernel = width * expansion, numbers(self, archs, "kernel", self.stages)
        stem = scaled(_STEM, self.width, _STEP)[0]
        entry = np.concatenate([np.full((len(archs), 1), stem), width[:, :-1]], axis=1)
        found = np.zeros((2, len(archs), self.stages))
        for stage, side in enumerate(self._sides[1:]):
            pixels, here, hidden = side**2, width[:, stage], wide[:, stage]
            products = 2 * here * hidden + kernel[:, stage] ** 2 * hidden
            conv = np.stack([products + 4 * hidden + 2 * here, pixels * products])
            attention = attention_counts(here, here, length=pixels) + feed_counts(here, hidden, length=pixels)
            attention += np.stack([(9 + 1 + 4) * here, 9 * pixels * here])
            layer = np.where(self._attends(archs)[:, stage], attention, conv)
            products = 9 * entry[:, stage] * here
            reduction = np.stack([products + 2 * here, pixels * products])
            found[:, :, stage] = reduction + layer * numbers(self, archs, f"depth{stage + 1}", 0)[:, 0]
        first = 9 * self.image_channels * stem
        found[:, :, 0] += np.array([[first + 2 * stem], [self._sides[0] ** 2 * first]])
        last = width[:, -1] * self.classes
        found[:, :, -1] += np.stack([last + self.classes + 2 * width[:, -1], last])
        return found


SPACE = Hybrid


def _reduction(entry: int, width: int) -> Kind:
    return f"hybrid reduction {entry}->{width}", partial(blocks.reduction, entry, width, activate=False)


def _convolution(width: int, kernel: int, expansion: int) -> Kind:
    return f"hybrid conv {width} k{kernel} e{expansion}", partial(blocks.convolution, width, kernel, expansion)


def _attention(width: int, heads: int) -> Kind:
    return f"hybrid attention {width} h{heads}", partial(blocks.self_attention, width, heads)


def _by_heads(heads: int) -> Groups:
    return attention.by_heads(heads, blocks.CORE)


def _feed(width: int, expansion: int) -> Kind:
    return f"hybrid feed {width} e{expansion}", partial(blocks.feed_forward, width, expansion)


def _head(width: int, classes: int) -> Kind:
    return f"hybrid head {width}->{classes}", partial(blocks.head, width, classes)
