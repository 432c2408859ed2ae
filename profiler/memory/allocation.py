"""What the rules of a runtime come to: the memory that its allocator takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Allocation:
    """What a runtime's allocator is asked for; what a module of rules returns.

    Attributes:
        peak_bytes: most that is handed out at once, over the inferences of a session.
        resident_bytes: what stays handed out between inferences: small weights and packed copies of weights.
        held_bytes: what the allocator itself holds at the end; None where it gives back what is freed.
        timeline: bytes handed out when each node of the first inference ends, before its inputs are freed.
        notes: what the rules leave open for this graph.
        touched_bytes: what one inference writes to of the allocator's memory; the peak if None.
        replaced_bytes: weights in whose place there are packed copies.
        unknown: operators of which the rules do not tell what they need, so that the peak is a lower bound.
    """

    peak_bytes: int
    resident_bytes: int
    held_bytes: int | None
    timeline: tuple[int, ...]
    notes: tuple[str, ...]
    touched_bytes: int | None = None
    replaced_bytes: int = 0
    unknown: tuple[str, ...] = ()
