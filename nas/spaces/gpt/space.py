"""Decoder-only transformers whose width, depth, and heads and feed-forward of each layer are choices.

Source: Sukthanker, Zela, Staffler, Klein, Purucker, Franke & Hutter, "HW-GPT-Bench: hardware-aware architecture
    benchmark for language models", NeurIPS 2024, the space GPT-S; layers as in Radford et al., "Language models are
    unsupervised multitask learners", 2019, section 2.3.
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
from nas.spaces._parts.slices import Kind, sliced
from nas.spaces._parts.transformer import Numbers, attention_counts, check_vocabulary, feed_counts, numbers, scaled
from nas.spaces.gpt import blocks
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import INPUT, Assembly

_EMBED = (192, 384, 768)
_HEADS = (4, 8, 12)
_RATIOS = (2, 3, 4)
#: Widths are multiples of it, so that every number of heads divides them.
_STEP = 24
#: Of keys, without and with biases.
_SUFFIX = ("", " bias")
_TEXT = re.compile(r"(\d+)x(\d+)(-bias)?\(([^()]*)\)")
_LAYER = re.compile(r"(\d+)h(\d+)")


@dataclass(frozen=True)
class Gpt(ProductSpace):
    """Transformers that say of each token what comes next.

    Attributes:
        layers: at most; networks have as many, one fewer, or two fewer; at least 3.
        length: tokens of the input. The benchmark's have 1024.
        vocabulary: at least 8. The benchmark's has 50,257.
        width: of all layers, in percent of the benchmark's, rounded to multiples of 24.
    """

    layers: int = 12
    length: int = 128
    vocabulary: int = 1024
    width: int = 100

    name = "gpt"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers < 3:
            raise UsageError(f"space option layers must be at least 3, got {self.layers}")
        check_vocabulary(self.vocabulary)
        scaled(_EMBED, self.width, _STEP)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """The width, the depth, biases, and of each layer the feed-forward's width in units of its own and heads."""
        found = [
            Gene("embed", scaled(_EMBED, self.width, _STEP), ordered=True),
            Gene("depth", tuple(range(self.layers - 2, self.layers + 1)), ordered=True),
            Gene("bias", ("off", "on")),
        ]
        for layer in range(1, self.layers + 1):
            found += [Gene(f"mlp{layer}", _RATIOS, ordered=True), Gene(f"heads{layer}", _HEADS, ordered=True)]
        return tuple(found)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Tokens."""
        return (1, self.length)

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False for genes of layers that are left out."""
        archs = self.checked(archs)
        layers = np.repeat([1, *range(1, self.layers + 1)], [3, *[2] * self.layers])
        return np.asarray(layers <= numbers(self, archs, "depth", 0))

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """`(n, f)`: the genes, and eight sums.

        These are the width, the layers, the mean and the sum over layers of the ratio of feed-forwards, the same of
        heads, and natural logarithms of parameters without embeddings and head, and of multiply-accumulates.
        """
        archs = self.canonical(archs)
        live = self._live(archs)
        depth = live.sum(axis=1)
        ratios = (numbers(self, archs, "mlp", self.layers) * live).sum(axis=1)
        heads = (numbers(self, archs, "heads", self.layers) * live).sum(axis=1)
        sums = [numbers(self, archs, "embed", 0)[:, 0], depth, ratios / depth, ratios, heads / depth, heads]
        logs = np.log(self._counts(archs)).T
        return np.concatenate([super().features(archs), np.stack(sums, axis=1), logs], axis=1).astype(np.float64)

    def format(self, arch: Archs) -> str:
        """`384x11-bias(4h8+2h12+...)`: width, layers, `-bias` if there are, and each layer's ratio and heads.

        Layers left out are written too.
        """
        of = self.values(arch)
        layers = "+".join(f"{of[f'mlp{i}']}h{of[f'heads{i}']}" for i in range(1, self.layers + 1))
        return f"{of['embed']}x{of['depth']}{'-bias' if of['bias'] == 'on' else ''}({layers})"

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, from `gene=option ...`, or from integers with commas.

        Raises:
            UsageError: the text is none of them, or an option is not one.
        """
        if "(" not in text:
            return super().parse(text)
        whole = _TEXT.fullmatch(text.strip())
        layers = [_LAYER.fullmatch(word) for word in whole[4].split("+")] if whole else []
        if whole is None or len(layers) != self.layers or not all(layers):
            raise UsageError(f"{text!r} is no transformer of {self.spec}", hint=f"Write it like {self._example()!r}.")
        wanted = {"embed": whole[1], "depth": whole[2], "bias": "on" if whole[3] else "off"}
        for i, match in enumerate(filter(None, layers), start=1):
            wanted |= {f"mlp{i}": match[1], f"heads{i}": match[2]}
        return super().parse(" ".join(f"{gene}={option}" for gene, option in wanted.items()))

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks: an attention and a feed-forward for each layer, each with its norm and residual."""
        of = self.values(self.checked(np.asarray(arch)[None])[0])
        width, bias = of["embed"], of["bias"] == "on"
        widest = max(scaled(_EMBED, self.width, _STEP))
        parts = [sliced("embedding", (INPUT,), self._embedding(width), self._embedding(widest))]
        attend, feed = self._attention(widest, max(_HEADS), True), _feed(widest, max(_RATIOS) * widest, True)
        for i in range(1, of["depth"] + 1):
            heads, hidden = of[f"heads{i}"], of[f"mlp{i}"] * width
            kind, by_heads = self._attention(width, heads, bias), partial(attention.by_heads, heads, "core.")
            parts.append(sliced(f"l{i}attention", (parts[-1].name,), kind, attend, by_heads))
            parts.append(sliced(f"l{i}feed", (parts[-1].name,), _feed(width, hidden, bias), feed))
        parts.append(sliced("head", (parts[-1].name,), self._head(width, bias), self._head(widest, True)))
        return Assembly(tuple(parts), self.input_shape, "int64")

    def _embedding(self, width: int) -> Kind:
        build = partial(blocks.embedding, self.vocabulary, width, self.length)
        return f"gpt embedding {self.vocabulary}->{width}", build

    def _attention(self, width: int, heads: int, bias: bool) -> Kind:
        build = partial(attention.attention, width, width, heads, before=True, bias=bias, causal=self.length)
        return f"gpt attention {width} h{heads}{_SUFFIX[bias]}", build

    def _head(self, width: int, bias: bool) -> Kind:
        return f"gpt head {width}->{self.vocabulary}{_SUFFIX[bias]}", partial(blocks.head, width, self.vocabulary, bias)

    def _live(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, layers)`: which are there."""
        return np.asarray(np.arange(1, self.layers + 1) <= numbers(self, archs, "depth", 0))

    def _counts(self, archs: Archs) -> Numbers:
        """Parameters without embeddings and head, and multiply-accumulates with the head: `(2, n)`."""
        width, bias = numbers(self, archs, "embed", 0), archs[:, [self.place("bias")]].astype(np.float64)
        hidden = numbers(self, archs, "mlp", self.layers) * width
        layers = attention_counts(width, width, length=self.length, bias=bias)
        layers = layers + feed_counts(width, hidden, length=self.length, bias=bias)
        layers[0] += 2 * (1 + bias) * width
        total: Numbers = (layers * self._live(archs)).sum(axis=2)
        total[1] += self.length * width[:, 0] * self.vocabulary
        return total


SPACE = Gpt


def _feed(width: int, hidden: int, bias: bool) -> Kind:
    build = partial(attention.feed_forward, width, hidden, before=True, activation="GELU", bias=bias)
    return f"gpt feed {width}-{hidden}{_SUFFIX[bias]}", build
