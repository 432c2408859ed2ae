"""Two finalists that were measured in turns: they differ if the interval of the ratio of their latencies excludes 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: What the ratio of two latencies is known to, about, that are measured in turns.
RESOLUTION = 0.05


def told_apart(archs: Sequence[tuple[int, ...]], facts: Mapping[tuple[int, ...], Mapping[str, Any]]) -> bool | None:
    """Whether two finalists are told apart in latency; None where they did not take turns.

    Args:
        archs: the two.
        facts: of all finalists: `model`, and `ratios`, which says of other models `[value, low, high]`.
    """
    first, second = (facts.get(arch, {}) for arch in archs)
    for one, other in ((first, second), (second, first)):
        ends = (one.get("ratios") or {}).get(other.get("model"))
        if ends is not None:
            _, low, high = ends
            return bool(low > 1.0 or high < 1.0)
    return None
