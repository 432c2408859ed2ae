"""Gates near others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.gradient.parts.protocol import Rows


def brought_back(gates: Rows, moves: Rows) -> Rows:
    """Gates that were moved, in 0..1, each gene's with the sum that they had; all are `(options,)`."""
    found = []
    for gate, move in zip(gates, moves, strict=True):
        inside = (gate + move).clamp(0, 1)
        total = inside.sum()
        found.append(inside * (gate.sum() / total) if bool(total > 0) else gate)
    return found


def drawn(gates: Rows, radius: float, generator: Any) -> Rows:
    """Uniform moves of at most `radius`, `(options,)` each."""
    import torch

    return [radius * (2 * torch.rand(gate.shape, generator=generator, dtype=gate.dtype) - 1) for gate in gates]


def within(gates: Rows, moves: Rows, radius: float) -> Rows:
    """Moves, `(options,)` each, cut to `radius` and so that no gate leaves 0..1, beyond which it has no slope."""
    pairs = zip(gates, moves, strict=True)
    return [(gate + move.clamp(-radius, radius)).clamp(0, 1) - gate for gate, move in pairs]
