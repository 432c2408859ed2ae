"""What `auto` expects of an evaluation: hypervolume, if the network is feasible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas.arrays import Floats
from nas.streams import stream
from nas.surrogates import acquisition
from nas.surrogates.acquisition import Scale

#: Draws of what is believed, and directions, where the hypervolume improvement has no closed form.
_DRAWS, _DIRECTIONS = 12, 64
#: Nodes of the quadrature over one believed objective.
_NODES = 5


@dataclass(frozen=True)
class Believed:
    """What is believed of one dear objective of some networks.

    Attributes:
        column: of the costs.
        scale: on which it is normal.
        mean: `(N,)`, standardised.
        deviation: `(N,)`.
    """

    column: int
    scale: Scale
    mean: Floats
    deviation: Floats

    def costs(self, steps: float) -> Floats:
        """Costs so many standard deviations from the mean, `(N,)`."""
        return self.scale.backward(self.mean + steps * self.deviation)


def expected(known: Floats, believed: Sequence[Believed], front: Floats, reference: Floats, seed: int) -> Floats:
    """Expected hypervolume improvement of networks, `(N,)`.

    In closed form with one believed and at most one known objective, by quadrature over the second of two believed
    ones, by random scalarisations beyond, and with none believed as it is.

    Args:
        known: `(N, m)`, costs of known objectives; other columns do not matter.
        believed: of each dear objective.
        front: `(k, m)`, at least one row.
        reference: `(m,)`.
        seed: of the directions and draws, which are the same for all networks.
    """
    if known.shape[1] > 2 or not believed:
        return _scalarised(known, believed, front, reference, seed)
    first = believed[0]
    if known.shape[1] == 1:
        return first.scale.improvement(np.array([front[:, 0].min()]), first.mean, first.deviation)[:, 0]
    other = 1 - first.column
    points, bounds = front[:, [first.column, other]], (float(reference[first.column]), float(reference[other]))
    if len(believed) == 1:
        alternatives, weights = [known[:, other]], np.ones(1)
    else:
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        alternatives = [believed[1].costs(float(node)) for node in nodes]
    total = np.zeros(len(known))
    for weight, costs in zip(weights / weights.sum(), alternatives, strict=True):
        total += weight * acquisition.staircase_improvement(
            first.scale, first.mean, first.deviation, costs, points, bounds
        )
    return total


def _scalarised(known: Floats, believed: Sequence[Believed], front: Floats, reference: Floats, seed: int) -> Floats:
    rng = stream(seed, "auto.directions")
    directions = acquisition.sphere(_DIRECTIONS, known.shape[1], rng)
    if len(believed) == 1:
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        steps, weights = nodes[:, None], weights / weights.sum()
    else:
        steps = rng.standard_normal((_DRAWS if believed else 1, len(believed)))
        weights = np.full(len(steps), 1.0 / len(steps))
    low = np.minimum(front.min(axis=0), reference)
    span = np.where(reference > low, reference - low, 1.0)
    total = np.zeros(len(known))
    for step, weight in zip(steps, weights, strict=True):
        costs = known.copy()
        for objective, away in zip(believed, step, strict=True):
            costs[:, objective.column] = objective.costs(float(away))
        total += weight * acquisition.scalarised_improvement(
            (costs - low) / span, (front - low) / span, (reference - low) / span, directions
        )
    return total
