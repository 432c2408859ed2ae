"""Probes: small random networks that show a device's kernels, of the kinds and sizes that real networks have.

A predictor that is to answer any model must have seen the device run more than the networks of one space. A probe is a
convolutional or a sequence network whose widths, resolutions, windows and operators are drawn at random; the runtime
fuses it as it fuses any model, and its kernels and latency are measured like any model's.

Common blocks are drawn at random. Beside them each probe has some of the rarer ones, which are dealt out like cards: so
some dozens of probes have each of them several times, whatever the seed. Some probes are small, as models of sensors
and of speech are.

Source: sampling kernels by random configurations, Zhang et al., "nn-Meter", MobiSys 2021, section 5; here they are
    drawn as networks, so that they are fused and run as kernels are in networks, and the composition learns from them.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several
from typing import TypeVar

import numpy as np

from device_profiles.errors import UsageError
from profiler.probes.drawing import (
    FEWEST_BLOCKS,
    MOST_BLOCKS,
    MOST_ELEMENTS,
    MOST_LARGE,
    MOST_MACS,
    OPSETS,
    Drawing,
    Image,
    Sequence,
)
from profiler.probes.images import image_probe
from profiler.probes.rare_images import RARE_IMAGES
from profiler.probes.rare_sequences import RARE_SEQUENCES
from profiler.probes.sequences import sequence_probe
from profiler.subjects import Subject, from_bytes

__all__ = ["FEWEST_BLOCKS", "MOST_BLOCKS", "MOST_ELEMENTS", "MOST_LARGE", "MOST_MACS", "Drawing", "probes"]

#: Of five probes three are of images; each has so many rare blocks.
_IMAGES, _OF, _RARE = 3, 5, 4
#: Of ten probes the first and the last are small: their kernels find all in the nearest cache, and what a call and each
#: kernel cost is a large part of their latency.
_SMALL = (0, 9)

Value = TypeVar("Value", Image, Sequence)
Block = Callable[[Drawing, Value], Value]


def probes(count: int, seed: int) -> list[Subject]:
    """Random networks to measure; a shorter list with the same seed is the beginning of a longer one.

    Args:
        count: at least 1.
        seed: not negative.

    Raises:
        UsageError: `count` or `seed` is out of range.
    """
    if count < 1 or seed < 0:
        raise UsageError(f"{count} probes with seed {seed}: the count must be at least 1, the seed at least 0")
    return [_probe(seed, index) for index in range(count)]


def _probe(seed: int, index: int) -> Subject:
    rng = np.random.default_rng([seed, index])
    drawing = Drawing(rng, OPSETS[int(rng.integers(len(OPSETS)))])
    whole, part = divmod(index, _OF)
    small = index % (2 * _OF) in _SMALL
    if part < _IMAGES:
        content = image_probe(drawing, _dealt(RARE_IMAGES, seed, whole * _IMAGES + part), small=small)
    else:
        hand = whole * (_OF - _IMAGES) + part - _IMAGES
        content = sequence_probe(drawing, _dealt(RARE_SEQUENCES, seed, hand), small=small)
    return from_bytes(content, name=f"probe {seed}.{index}")


def _dealt(deck: Several[Block[Value]], seed: int, hand: int) -> list[Block[Value]]:
    """The blocks of one hand; the deck is shuffled anew each time it is through."""
    dealt = []
    for position in range(hand * _RARE, (hand + 1) * _RARE):
        times, place = divmod(position, len(deck))
        order = [deck[i] for i in np.random.default_rng([seed, times, len(deck)]).permutation(len(deck))]
        turn = times * deck.count(order[place]) + order[:place].count(order[place])
        dealt.append(_in_turn(order[place], turn))
    return dealt


def _in_turn(block: Block[Value], turn: int) -> Block[Value]:
    def drawn(drawing: Drawing, value: Value) -> Value:
        drawing.turn = turn
        return block(drawing, value)

    return drawn
