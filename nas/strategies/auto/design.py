"""The networks with which `auto` begins, before anything is believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Floats

#: Networks drawn in each stratum, of which the farthest from those before is taken.
_DRAWN = 200


def design(inputs: Floats, known: Floats, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows that are spread along what is known, and far from each other.

    The cheapest, the dearest, and one from each of `count - 2` strata of equal size between them, the farthest from
    those before among 200 draws (maximin; Johnson, Moore & Ylvisaker, "Minimax and maximin distance designs", J.
    Statistical Planning and Inference 26, 1990). Several known costs are one by the mean of their ranks; with none, all
    draws are from everywhere.

    Args:
        inputs: `(N, p)`, columns by whose Euclidean distance networks are far.
        known: `(N, k)`, known costs, k may be 0.
        count: networks, at least 2.
        rng: randomness.

    Returns:
        `(<=count,)`, distinct.
    """
    size = len(inputs)
    if size <= count:
        return rng.permutation(size)
    if known.shape[1]:
        ranks = np.argsort(np.argsort(known, axis=0, kind="stable"), axis=0, kind="stable")
        order = np.argsort(ranks.mean(axis=1), kind="stable")
        chosen = [int(order[0]), int(order[-1])]
        strata = np.array_split(order, count - 2)
    else:
        chosen = [int(rng.integers(size))]
        strata = [np.arange(size)] * (count - 1)
    for stratum in strata:
        drawn = rng.choice(stratum, min(_DRAWN, len(stratum)), replace=False)
        gaps = ((inputs[drawn][:, None] - inputs[chosen][None]) ** 2).sum(axis=2).min(axis=1)
        gaps[np.isin(drawn, chosen)] = -1.0
        chosen.append(int(drawn[int(gaps.argmax())]))
    return np.array(list(dict.fromkeys(chosen)), dtype=np.int64)
