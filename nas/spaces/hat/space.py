"""HAT's space: transformers of an encoder and a decoder, whose layers differ in width, heads and what they read.

Source: Wang et al., "HAT: hardware-aware transformers for efficient natural language processing", ACL 2020, section
    2.1; what it leaves open is as in its published configurations for WMT'14 En-De.
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
from nas.spaces.hat import blocks
from nas.spaces.product import Gene, ProductSpace
from profiler.assembly import INPUT, Assembly, Block

_EMBED = (512, 640)
_FFN = (1024, 2048, 3072)
_INNER = (512,)
_HEADS = (4, 8)
#: Which encoder layers a decoder layer reads: the last, the last two, the last three.
_READS = (-1, 1, 2)
_TEXT = re.compile(r"enc(\d+)\(([^()]*)\) dec(\d+)x(\d+)\(([^()]*)\)")
_ENCODER = re.compile(r"(\d+)h(\d+)")
_DECODER = re.compile(r"(\d+)h(\d+)c(\d+)a(-?\d+)")


@dataclass(frozen=True)
class Hat(ProductSpace):
    """Transformers that translate, run on a source and on the target that they should give (teacher forcing).

    Attributes:
        encoder_layers: all of them are there; at least 3, since a decoder layer may read the last three.
        decoder_layers: at most; how many there are is a choice.
        length: tokens of the source, and of the target.
        vocabulary: of both; at least 8. The paper's has about 32,000.
        width: of all layers, in percent of the paper's, rounded to multiples of 8.
    """

    encoder_layers: int = 6
    decoder_layers: int = 6
    length: int = 30
    vocabulary: int = 1024
    width: int = 100

    name = "hat"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder_layers < len(_READS):
            raise UsageError(f"space option encoder_layers must be at least {len(_READS)}, got {self.encoder_layers}")
        check_vocabulary(self.vocabulary)
        for widths in (_EMBED, _FFN, _INNER):
            self._scaled(widths)

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        """Widths and heads of the encoder and its layers, then of the decoder; all in an order."""
        embed, ffn = self._scaled(_EMBED), self._scaled(_FFN)
        found = {"encoder_embed": embed}
        for layer in range(1, self.encoder_layers + 1):
            found |= {f"encoder_ffn{layer}": ffn, f"encoder_heads{layer}": _HEADS}
        found |= {"decoder_embed": embed, "decoder_depth": tuple(range(1, self.decoder_layers + 1))}
        for layer in range(1, self.decoder_layers + 1):
            found |= {f"decoder_ffn{layer}": ffn, f"decoder_heads{layer}": _HEADS}
            found |= {f"cross_heads{layer}": _HEADS, f"arbitrary{layer}": _READS}
        return tuple(Gene(name, options, ordered=True) for name, options in found.items())

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Tokens of the source, and of the target."""
        return (1, 2, self.length)

    def active(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, d)`: False for genes of decoder layers that are left out."""
        archs = self.checked(archs)
        first = self.place("decoder_depth") + 1
        layers = np.zeros(archs.shape[1], dtype=np.int64)
        layers[first:] = np.arange(archs.shape[1] - first) // 4
        return np.asarray(layers <= archs[:, first - 1, None])

    def features(self, archs: Archs) -> NDArray[np.float64]:
        """`(n, f)`: HAT's ten features, the genes, and sums over layers.

        The ten are those of HAT's latency predictor (section 2.3), in its order and units: of the encoder the width,
        the layers, the mean width of feed-forwards and the mean of heads; of the decoder the same, the mean of heads
        that read the encoder, and the mean of encoder layers that are read (1 to 3). The sums are natural logarithms of
        parameters without embeddings, and of multiply-accumulates of encoder, decoder and both, and per decoder layer
        (0 where left out) the encoder layers that it reads.
        """
        archs = self.canonical(archs)
        live = self._live(archs)
        depth = live.sum(axis=1)
        reads = self._reads(archs) * live

        def mean(name: str) -> Numbers:
            column: Numbers = (numbers(self, archs, name, self.decoder_layers) * live).sum(axis=1) / depth
            return column

        ten = [
            self._option(archs, "encoder_embed"),
            np.full(len(archs), self.encoder_layers),
            numbers(self, archs, "encoder_ffn", self.encoder_layers).mean(axis=1),
            numbers(self, archs, "encoder_heads", self.encoder_layers).mean(axis=1),
            self._option(archs, "decoder_embed"),
            depth,
            *(mean(name) for name in ("decoder_ffn", "decoder_heads", "cross_heads")),
            reads.sum(axis=1) / depth,
        ]
        encoder, decoder = self._counts(archs)
        sums = np.log(np.stack([encoder[0] + decoder[0], encoder[1], decoder[1], encoder[1] + decoder[1]], axis=1))
        return np.concatenate([np.stack(ten, axis=1), super().features(archs), sums, reads], axis=1).astype(np.float64)

    def format(self, arch: Archs) -> str:
        """`enc640(3072h8+...) dec512x4(2048h4c8a-1+...)`.

        That is the width of the encoder, for each layer its feed-forward's width and heads; the width of the decoder
        and its layers, for each its feed-forward's width, heads, heads that read the encoder, and which layers of it
        (as in HAT's configurations: -1 the last, 1 the last two, 2 the last three). Layers left out are written too.
        """
        of = self.values(arch)
        encoder = [f"{of[f'encoder_ffn{i}']}h{of[f'encoder_heads{i}']}" for i in range(1, self.encoder_layers + 1)]
        decoder = [
            f"{of[f'decoder_ffn{i}']}h{of[f'decoder_heads{i}']}c{of[f'cross_heads{i}']}a{of[f'arbitrary{i}']}"
            for i in range(1, self.decoder_layers + 1)
        ]
        return (
            f"enc{of['encoder_embed']}({'+'.join(encoder)}) "
            f"dec{of['decoder_embed']}x{of['decoder_depth']}({'+'.join(decoder)})"
        )

    def parse(self, text: str) -> Archs:
        """A genome `(d,)` from the form of `format`, from `gene=option ...`, or from integers with commas.

        Raises:
            UsageError: the text is none of them, or an option is not one.
        """
        if "(" not in text:
            return super().parse(text)
        whole = _TEXT.fullmatch(text.strip())
        encoder = [_ENCODER.fullmatch(word) for word in whole[2].split("+")] if whole else []
        decoder = [_DECODER.fullmatch(word) for word in whole[5].split("+")] if whole else []
        counts = (len(encoder), len(decoder))
        if whole is None or counts != (self.encoder_layers, self.decoder_layers) or not all(encoder + decoder):
            raise UsageError(f"{text!r} is no transformer of {self.spec}", hint=f"Write it like {self._example()!r}.")
        wanted = {"encoder_embed": whole[1], "decoder_embed": whole[3], "decoder_depth": whole[4]}
        for i, match in enumerate(filter(None, encoder), start=1):
            wanted |= {f"encoder_ffn{i}": match[1], f"encoder_heads{i}": match[2]}
        for i, match in enumerate(filter(None, decoder), start=1):
            wanted |= {f"decoder_ffn{i}": match[1], f"decoder_heads{i}": match[2]}
            wanted |= {f"cross_heads{i}": match[3], f"arbitrary{i}": match[4]}
        return super().parse(" ".join(f"{gene}={option}" for gene, option in wanted.items()))

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks: an attention and a feed-forward for each layer, each with its residual and norm."""
        of = self.values(self.checked(np.asarray(arch)[None])[0])
        width, memory = of["decoder_embed"], of["encoder_embed"]
        widest = max(self._scaled(_EMBED))
        parts = [self._embedding("source", 0, memory)]
        outputs = []
        for i in range(1, self.encoder_layers + 1):
            entry = parts[-1].name
            parts.append(self._attention(f"e{i}attention", entry, memory, of[f"encoder_heads{i}"], causal=False))
            parts.append(self._feed(f"e{i}feed", parts[-1].name, memory, of[f"encoder_ffn{i}"]))
            outputs.append(parts[-1].name)
        parts.append(self._embedding("target", 1, width))
        for i in range(1, of["decoder_depth"] + 1):
            entry = parts[-1].name
            parts.append(self._attention(f"d{i}attention", entry, width, of[f"decoder_heads{i}"], causal=True))
            read = tuple(outputs[: -2 - _READS.index(of[f"arbitrary{i}"]) : -1])
            heads = of[f"cross_heads{i}"]
            kind = self._cross(width, memory, heads, len(read))
            whole = self._cross(widest, widest, max(_HEADS), len(_READS))
            parts.append(sliced(f"d{i}cross", (parts[-1].name, *read), kind, whole))
            parts.append(self._feed(f"d{i}feed", parts[-1].name, width, of[f"decoder_ffn{i}"]))
        parts.append(sliced("head", (parts[-1].name,), self._head(width), self._head(widest)))
        return Assembly(tuple(parts), self.input_shape, "int64")

    def _embedding(self, name: str, row: int, width: int) -> Block:
        def kind(width: int) -> Kind:
            build = partial(blocks.embedding, row, self.vocabulary, width, self.length)
            return f"hat embedding of row {row} {self.vocabulary}->{width}", build

        return sliced(name, (INPUT,), kind(width), kind(max(self._scaled(_EMBED))))

    def _attention(self, name: str, entry: str, width: int, heads: int, *, causal: bool) -> Block:
        def kind(width: int, heads: int) -> Kind:
            length = self.length if causal else None
            build = partial(attention.attention, width, self._inner, heads, before=False, causal=length)
            return f"hat attention {width}-{self._inner} h{heads}{' causal' if causal else ''}", build

        return sliced(name, (entry,), kind(width, heads), kind(max(self._scaled(_EMBED)), max(_HEADS)))

    def _cross(self, width: int, memory: int, heads: int, read: int) -> Kind:
        build = partial(attention.cross_attention, width, memory, self._inner, heads)
        return f"hat cross {width}-{memory}-{self._inner} h{heads} of {read}", build

    def _feed(self, name: str, entry: str, width: int, hidden: int) -> Block:
        def kind(width: int, hidden: int) -> Kind:
            build = partial(attention.feed_forward, width, hidden, before=False, activation="ReLU")
            return f"hat feed {width}-{hidden}", build

        return sliced(name, (entry,), kind(width, hidden), kind(max(self._scaled(_EMBED)), max(self._scaled(_FFN))))

    def _head(self, width: int) -> Kind:
        return f"hat head {width}->{self.vocabulary}", partial(blocks.head, width, self.vocabulary)

    @property
    def _inner(self) -> int:
        return self._scaled(_INNER)[0]

    def _scaled(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        return scaled(widths, self.width, 8)

    def _option(self, archs: Archs, name: str) -> Numbers:
        return numbers(self, archs, name, 0)[:, 0]

    def _live(self, archs: Archs) -> NDArray[np.bool_]:
        """`(n, decoder_layers)`: which are there."""
        return np.asarray(np.arange(1, self.decoder_layers + 1) <= numbers(self, archs, "decoder_depth", 0))

    def _reads(self, archs: Archs) -> Numbers:
        """`(n, decoder_layers)`: how many encoder layers each reads."""
        return numbers(self, archs, "arbitrary", self.decoder_layers).clip(min=0) + 1

    def _counts(self, archs: Archs) -> tuple[Numbers, Numbers]:
        """Parameters and multiply-accumulates, `(2, n)`, of the encoder and of the decoder with its head.

        Parameters are those of layers, as HAT counts them: embeddings and the head are left out.
        """
        length, inner, count = self.length, self._inner, self.decoder_layers
        memory, width = numbers(self, archs, "encoder_embed", 0), numbers(self, archs, "decoder_embed", 0)
        norm = np.array([2.0, 0.0])[:, None, None]
        encoder = attention_counts(memory, inner, length=length) + 2 * norm * memory
        encoder = encoder + feed_counts(memory, numbers(self, archs, "encoder_ffn", self.encoder_layers), length=length)
        decoder = attention_counts(width, inner, length=length) + 3 * norm * width
        decoder = decoder + feed_counts(width, numbers(self, archs, "decoder_ffn", count), length=length)
        read = self._reads(archs) * length
        decoder = decoder + attention_counts(width, inner, length=length, memory=memory, read=read)
        total = (decoder * self._live(archs)).sum(axis=2)
        total[1] += length * width[:, 0] * self.vocabulary
        return encoder.sum(axis=2), total


SPACE = Hat
