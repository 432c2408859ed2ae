"""A run ends when weights only fit the training batches: their gradients no longer agree with those of validation.

Source: Jiang, Ji, Zhu, Yang & Wu, "Operation-level early stopping for robustifying differentiable NAS", NeurIPS 2023,
    section 3.2: there each operator is frozen when the cosine of its two gradients, averaged, falls below 0.3. Here the
    run ends, by the cosine of all weights, when it is below 0.3 of what it was first: shared weights were trained
    before, and gradients of two batches agree less from the start.
"""

from __future__ import annotations

from collections.abc import Callable

from nas.gradient.parts.protocol import Halt, Watch
from nas.spaces.protocol import Space

#: Looks that are averaged, and the share of the first ones.
_LOOKS, _LEAST = 5, 0.3


def matching(space: Space) -> Callable[[Watch], Halt | None]:
    """See `nas.gradient.parts.protocol.MakeStop`."""
    values: list[float] = []

    def look(watch: Watch) -> Halt | None:
        values.append(watch.alignment())
        if len(values) < 2 * _LOOKS:
            return None
        now, first = (sum(part) / _LOOKS for part in (values[-_LOOKS:], values[:_LOOKS]))
        if now < _LEAST * first:
            return Halt(f"gradients of training and validation agree by {now:.2g} after {first:.2g}", back=_LOOKS)
        return None

    return look


STOP = matching
