"""Two classifiers judged on the same examples: they differ by those that one of them alone gets right.

Their accuracies share the examples, so the interval of the difference is not that of two separate samples, which is
wider. Bits are kept as text, with the finalists of a study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from nas.arrays import Flags

#: Error of one comparison, and the normal quantile of its two sides.
LEVEL = 0.1
_QUANTILE = NormalDist().inv_cdf(1 - LEVEL / 2)


def kept(rights: Flags) -> dict[str, Any]:
    """`(n,)`, which examples were got right, as JSON-ready data."""
    return {"count": len(rights), "bits": np.packbits(rights).tobytes().hex()}


def read(plain: Any) -> Flags | None:
    """What `kept` made; None of anything else."""
    if not isinstance(plain, dict):
        return None
    count, bits = plain.get("count"), plain.get("bits")
    if not isinstance(count, int) or isinstance(count, bool) or not isinstance(bits, str):
        return None
    try:
        packed = np.frombuffer(bytes.fromhex(bits), dtype=np.uint8)
    except ValueError:
        return None
    if count < 1 or len(packed) != -(-count // 8):
        return None
    return np.unpackbits(packed, count=count).astype(np.bool_)


def separation(first: Flags, second: Flags) -> float:
    """How far two classifiers are apart on the same examples, `(n,)` each: they are told apart above 1.

    It is the normal quantile of the test's probability, in half-widths of an interval of the level.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
        Psychometrika 12(2), 1947; exact, by the binomial of the examples on which they disagree.
    """
    from scipy.stats import binomtest, norm

    one, other = int((first & ~second).sum()), int((~first & second).sum())
    if one + other == 0:
        return 0.0
    return float(norm.isf(binomtest(one, one + other).pvalue / 2) / _QUANTILE)


def differ(first: Flags, second: Flags) -> bool:
    """Whether two classifiers are told apart on the same examples, `(n,)` each; see `separation`."""
    return separation(first, second) > 1.0


def told_apart(
    archs: Sequence[tuple[int, ...]], facts: Mapping[tuple[int, ...], Mapping[str, Any]], objective: str
) -> bool | None:
    """Whether two finalists are told apart in an objective by the examples of both; None where these are not known."""
    rights = [read((facts.get(arch, {}).get("test_right") or {}).get(objective)) for arch in archs]
    first, second = rights
    if first is None or second is None or len(first) != len(second):
        return None
    return differ(first, second)
