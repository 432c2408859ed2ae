"""What is read off: the scale of a cost, and the most probable networks."""

from __future__ import annotations

import heapq

import numpy as np

from nas.arrays import Archs, Floats
from nas.gradient.protocol import DifferentiableCost, GradientProblem
from nas.streams import stream

#: Architectures of which a cost's scale is taken.
_SCALE_SAMPLES = 512


def most_probable(logits: list[Floats], count: int, problem: GradientProblem) -> Archs:
    """The `count` most probable networks, distinct and with a function, `(<=count, d)`, best first.

    The search is over the options of each gene in falling order of probability, by best first.
    """
    scores = [np.asarray(row) - np.logaddexp.reduce(np.asarray(row)) for row in logits]
    order = [np.argsort(-row, kind="stable") for row in scores]
    start = (0,) * len(scores)
    queue = [(-sum(float(row[o[0]]) for row, o in zip(scores, order, strict=True)), start)]
    seen = {start}
    networks: set[bytes] = set()
    found: list[Archs] = []
    while queue and len(found) < count:
        cost, ranks = heapq.heappop(queue)
        arch = np.array([[o[rank] for o, rank in zip(order, ranks, strict=True)]], dtype=np.int64)
        key = problem.space.canonical(arch).tobytes()
        if key not in networks and bool(problem.space.is_valid(arch)[0]):
            networks.add(key)
            found.append(arch[0])
        for gene, rank in enumerate(ranks):
            if rank + 1 < len(order[gene]):
                following = (*ranks[:gene], rank + 1, *ranks[gene + 1 :])
                if following not in seen:
                    seen.add(following)
                    step = float(scores[gene][order[gene][rank]] - scores[gene][order[gene][rank + 1]])
                    heapq.heappush(queue, (cost + step, following))
    return np.array(found, dtype=np.int64).reshape(-1, len(scores))


def cost_scale(problem: GradientProblem, cost: DifferentiableCost | None = None) -> tuple[float, float]:
    """Fixed bounds of a cost's normalisation, the first's if None: lowest and median of 512 samples of the space."""
    import torch

    cost = problem.cost if cost is None else cost

    archs = problem.space.sample(_SCALE_SAMPLES, stream(problem.seed, "gdas.scale"))
    one_hot = [
        torch.nn.functional.one_hot(torch.from_numpy(archs[:, gene]), options).double()
        for gene, options in enumerate(problem.space.choices)
    ]
    values = cost(one_hot).numpy()
    lowest, median = float(values.min()), float(np.median(values))
    return lowest, median if median > lowest else lowest + max(abs(lowest), 1e-9)
