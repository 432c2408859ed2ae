"""When a prediction is not to be trusted in silence: most of it must stand on what was measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from predictors.prediction import Floats, Prediction

#: Below this share of what was measured, a prediction is said to be one of low coverage.
LEAST_COVERAGE = 0.8
#: Kernels that a warning names.
_NAMED = 2
#: What stands for work with denormal weights among what was not measured.
DENORMAL = "denormal weights"
#: As many times as long as ordinary weights may denormal ones take.
_SLOWEST_DENORMAL = 100.0


def warning(
    name: str, coverage: Sequence[float], missing: Iterable[Sequence[str]] = (), *, cost: str = "latency"
) -> str | None:
    """One line on the predictions of low coverage: how much is missing, what, and what to do; None if there are none.

    Args:
        name: what was predicted, as the reader calls it.
        coverage: of each prediction, in 0..1.
        missing: of those of low coverage the keys of what was not measured; () if nobody knows.
        cost: `latency`, `energy` or `memory`.
    """
    low = [share for share in coverage if share < LEAST_COVERAGE]
    if not low:
        return None
    least, most = f"{min(low):.0%}", f"{max(low):.0%}"
    share = least if least == most else f"{least} to {most}"
    keys = list(dict.fromkeys(short(key) for names in missing for key in names))
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    unknown = f", without {', '.join(keys[:_NAMED])}{more}" if keys else ""
    cure = "measure it instead" if cost == "memory" else "profile such networks and fit again"
    return (
        f"{name} of {len(low)} of {len(coverage)} stands on what was measured for {share} only{unknown} "
        f"(coverage below {LEAST_COVERAGE:.0%}): {cure}"
    )


def with_denormal(found: Prediction, shares: Floats) -> Prediction:
    """What is predicted of networks some of whose work is done with denormal weights: kernels were measured without.

    Processors take between no and a hundred times the time for a product of them, by kind and by what it is multiplied
    with; so this share is not covered, and the interval reaches to a hundred times it.

    Source: Dooley and Kale, "Quantifying the interference caused by subnormal floating-point values", 2006.

    Args:
        found: the predictions as if all weights were ordinary.
        shares: `(n,)`, of each network's work, in 0..1.
    """
    if not shares.any():
        return found
    more = 1.0 + shares * (_SLOWEST_DENORMAL - 1.0)
    return replace(
        found,
        high=None if found.high is None else found.high * more,
        coverage=found.coverage * (1.0 - shares),
        missing=tuple(
            (*names, DENORMAL) if share else names for names, share in zip(found.missing, shares, strict=True)
        ),
    )


def short(key: str) -> str:
    """The key of a kernel without its attributes."""
    return re.sub(r"\[[^\]]*\]", "", key)
