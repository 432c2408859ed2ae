"""Probes of sequences and their common blocks."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several

import numpy as np

from profiler.probes.drawing import MOST_MACS, Drawing, Sequence, activated, dense

Block = Callable[[Drawing, Sequence], Sequence]

_LENGTHS = (16, 25, 49, 64, 100, 128, 196, 256)
_EMBEDDINGS = (64, 96, 128, 192, 256, 320, 384, 512)
_CLASSES = (2, 100, 1000)
#: Of small probes, which have one common block at most.
_SMALL_LENGTHS, _SMALL_EMBEDDINGS = (4, 8, 16, 25), (32, 64, 96)


def sequence_probe(drawing: Drawing, rare: Several[Block], *, small: bool = False) -> bytes:
    """A network of random common blocks, with the given rare ones in between; a small one has few, narrow ones."""
    length = drawing.one_of(_SMALL_LENGTHS if small else _LENGTHS)
    most = min((MOST_MACS / length) ** 0.5, MOST_MACS / length**2 / 1.5)
    sequence = Sequence("input", length, drawing.affordable(_SMALL_EMBEDDINGS if small else _EMBEDDINGS, most))
    fewest, most_blocks = (0, 1) if small else (1, 3)
    blocks = [drawing.one_of(_COMMON) for _ in range(int(drawing.rng.integers(fewest, most_blocks + 1)))]
    for block in rare:
        blocks.insert(int(drawing.rng.integers(len(blocks) + 1)), block)
    for block in blocks:
        sequence = block(drawing, sequence)
    width = sequence.width
    kept = drawing.reduced("ReduceMean", sequence.value, 1, keepdims=0)
    if drawing.chance(0.3):
        kept = drawing.add("Add", kept, drawing.add("Gather", sequence.value, drawing.constant(np.array(0)), axis=1))
    classes = drawing.one_of(_CLASSES)
    last = drawing.add("Gemm", kept, drawing.weight(classes, width), drawing.weight(classes), transB=1)
    return drawing.done((1, length, width), last, (1, classes))


def perceptron(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Two dense layers."""
    inner = sequence.width * drawing.one_of((1, 2, 4))
    while sequence.length * sequence.width * inner > MOST_MACS:
        inner //= 2
    entered, before = _entered(drawing, sequence)
    hidden = dense(drawing, entered, sequence.width, inner)
    hidden = activated(drawing, hidden, drawing.one_of(("Gelu", "Gelu", "Relu", "silu", "Tanh", "Erf")))
    return _left(drawing, dense(drawing, hidden, inner, sequence.width), sequence, before)


def attention(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Of several heads."""
    length, width = sequence.length, sequence.width
    heads = drawing.one_of([count for count in (2, 3, 4, 6, 8, 12) if width % count == 0])
    split = drawing.integers(1, length, heads, width // heads)
    entered, before = _entered(drawing, sequence)

    def part(order: list[int]) -> str:
        made = drawing.add("Reshape", dense(drawing, entered, width, width), split)
        return drawing.add("Transpose", made, perm=order)

    scores = drawing.add("MatMul", part([0, 2, 1, 3]), part([0, 2, 3, 1]))
    scaled = drawing.add("Mul", scores, drawing.number((width // heads) ** -0.5))
    if drawing.chance(0.3):
        scaled = drawing.add("Add", scaled, drawing.weight(1, 1, length, length))
    mixed = drawing.add("MatMul", drawing.add("Softmax", scaled, axis=-1), part([0, 2, 1, 3]))
    turned = drawing.add("Transpose", mixed, perm=[0, 2, 1, 3])
    merged = drawing.add("Reshape", turned, drawing.integers(1, length, width))
    return _left(drawing, dense(drawing, merged, width, width), sequence, before)


def mixing(drawing: Drawing, sequence: Sequence) -> Sequence:
    """Halves that gate each other, and a mix over positions."""
    first, second = drawing.several("Split", sequence.value, outputs=2, axis=2, **parted(drawing, 2))
    gated = drawing.add("Mul", first, activated(drawing, second, drawing.one_of(("Sigmoid", "Tanh", "silu"))))
    turned = drawing.add("Transpose", drawing.add("Concat", gated, first, axis=2), perm=[0, 2, 1])
    mixed = dense(drawing, turned, sequence.length, sequence.length)
    return sequence.but(drawing.add("Add", drawing.add("Transpose", mixed, perm=[0, 2, 1]), sequence.value))


def parted(drawing: Drawing, count: int) -> dict[str, int]:
    """How newer files say into how many equal parts a `Split` cuts."""
    return {"num_outputs": count} if drawing.opset >= 18 else {}


def normed(drawing: Drawing, value: str, width: int) -> str:
    """Normalised over its features."""
    return drawing.add("LayerNormalization", value, drawing.weight(width), drawing.weight(width), axis=-1, epsilon=1e-5)


def _entered(drawing: Drawing, sequence: Sequence) -> tuple[str, bool]:
    """What a block reads, normalised in one half of all blocks; the others normalise what they add up."""
    before = drawing.chance(0.5)
    return (normed(drawing, sequence.value, sequence.width) if before else sequence.value), before


def _left(drawing: Drawing, made: str, sequence: Sequence, before: bool) -> Sequence:
    total = drawing.add("Add", made, sequence.value)
    return sequence.but(total if before else normed(drawing, total, sequence.width))


_COMMON: tuple[Block, ...] = (attention, perceptron, perceptron, mixing)
