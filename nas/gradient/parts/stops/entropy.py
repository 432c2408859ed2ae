"""A run ends when the architecture is decided: the mean entropy of its probabilities is a tenth of its largest.

Source: the entropy of architecture probabilities as a measure of how far a search is, Xie et al., "SNAS", ICLR 2019,
    section 3.1; the threshold is ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nas.gradient.parts.protocol import Halt, Watch
from nas.spaces.protocol import Space

_DECIDED = 0.1


def entropy(space: Space) -> Callable[[Watch], Halt | None]:
    """See `nas.gradient.parts.protocol.MakeStop`."""

    def look(watch: Watch) -> Halt | None:
        shares = [
            float(-(row * np.log(np.maximum(row, 1e-300))).sum() / np.log(len(row)))
            for row in watch.probabilities
            if len(row) > 1
        ]
        left = float(np.mean(shares)) if shares else 0.0
        return Halt(f"entropy {left:.2g} of the largest") if left < _DECIDED else None

    return look


STOP = entropy
