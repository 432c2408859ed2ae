"""When a prediction is not to be trusted in silence: most of it must stand on what was measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from predictors.prediction import Floats, Prediction
from profiler.operators import OperatorGraph

#: Below this share of what was measured, a prediction is said to be one of low coverage.
LEAST_COVERAGE = 0.8
#: Kernels that a warning names.
_NAMED = 2
#: What stands for work with denormal weights among what was not measured.
DENORMAL = "denormal weights"
#: As many times as long as ordinary weights may denormal ones take: an assist of 150 cycles and more where a vector of
#: products takes half of one. Two convolutions, one of them with such weights, took 190 times as long on a Xeon.
_SLOWEST_DENORMAL = 300.0
#: Operators that run a body as often as it turns out, and as many times as long as predicted their networks may take.
_LOOPS = frozenset({"Loop", "Scan"})
_LONGEST_LOOP = 150.0
#: What a runtime's clock tells apart, and the networks to which that matters: no interval was learned from such small
#: ones.
_CLOCK_MS, _TINY_MS = 0.001, 0.05


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


def widened(found: Prediction, graphs: Sequence[OperatorGraph], denormal: Floats) -> Prediction:
    """Predictions of graphs, with what no kernel model can know of them.

    - **Denormal weights.** Kernels were measured without. Processors take between the same time and hundreds of times
      it for a product of them, by what it is multiplied with and how it is done; so this share of the work is not
      covered, and the interval reaches to three hundred times it.
    - **Loops.** How often a body runs is decided while it runs. Whole networks of nothing else took up to 45 times what
      was predicted; the interval reaches to 150 times it.
    - **Microseconds.** Runtimes tell times of kernels in whole ones, which is as much as a kernel of a tiny network
      takes.

    Source: Dooley and Kale, "Quantifying the interference caused by subnormal floating-point values", 2006.

    Args:
        found: the predictions as if all weights were ordinary, and each body ran once.
        graphs: of the networks.
        denormal: `(n,)`, shares of the work that are done with denormal weights, in 0..1.
    """
    if found.low is None or found.high is None:
        low = high = None
    else:
        loops = [any(operator.op_type in _LOOPS for operator in graph.operators) for graph in graphs]
        more = np.where(loops, _LONGEST_LOOP, 1.0) * (1.0 + denormal * (_SLOWEST_DENORMAL - 1.0))
        clock = _CLOCK_MS * np.array([1.0 + np.sqrt(len(graph.operators)) for graph in graphs])
        clock[(found.value > _TINY_MS) | (found.unit != "ms")] = 0.0
        low = np.minimum(found.low, np.maximum(found.value - clock, 0.0))
        high = np.maximum(found.high * more, found.value + clock)
    return replace(
        found,
        low=low,
        high=high,
        coverage=found.coverage * (1.0 - denormal),
        missing=tuple(
            (*names, DENORMAL) if share else names for names, share in zip(found.missing, denormal, strict=True)
        ),
    )


def short(key: str) -> str:
    """The key of a kernel without its attributes."""
    return re.sub(r"\[[^\]]*\]", "", key)
