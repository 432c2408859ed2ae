"""One random network for each minibatch, drawn from those that differ.

Where many genomes are one network (layers that a depth leaves out, edges that reach nothing), uniform sampling trains
simple networks again and again, which then look better than they are. Here a network with ten genomes is as likely as
one with a single genome.

Source: the sampling without isomorphic duplicates of Ning et al., "Evaluating efficient performance estimators of
    neural architectures", NeurIPS 2021, which finds simple networks overestimated without it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nas.arrays import Archs, Floats
from nas.spaces.protocol import Space
from nas.weights.keyed import Keyed
from nas.weights.trainers.protocol import Turn
from predictors.genes import numbered

#: Spaces with at most so many genomes are listed as a whole, and lists of so many spaces are kept.
MOST_LISTED, _KEPT = 100_000, 4
#: Networks of a larger space among which one is chosen, and draws of them until one has a function.
_CANDIDATES, _TRIES = 16, 20


def distinct(turn: Turn) -> None:
    """Run one network that is drawn uniformly from the distinct ones of the space; of a large space, nearly so."""
    arch = drawn(turn.space, turn.rng)
    turn.loss(turn.supernet.forward_path(turn.inputs, arch)).backward()  # type: ignore[no-untyped-call]


def drawn(space: Space, rng: np.random.Generator) -> Archs:
    """A canonical genome, `(d,)`.

    Of a space that is too large to be listed, one of a few random networks is chosen with weights of one over the
    number of genomes that each has, as far as `copies` tells it.
    """
    if np.prod([float(options) for options in space.choices]) <= MOST_LISTED:
        known = _listed(Keyed(space))
        chosen: Archs = known[rng.integers(len(known))]
        return chosen
    for _ in range(_TRIES):
        archs = space.canonical(space.sample(_CANDIDATES, rng))
        valid = space.is_valid(archs)
        if valid.any():
            archs = archs[valid]
            break
    weights = 1.0 / copies(space, archs)
    picked: Archs = archs[rng.choice(len(archs), p=weights / weights.sum())]
    return picked


@lru_cache(maxsize=_KEPT)
def _listed(keyed: Keyed) -> Archs:
    """All distinct networks with a function, `(n, d)`."""
    space = keyed.space
    canonical = space.canonical(numbered(np.arange(int(np.prod(space.choices))), space.choices))
    found: Archs = np.unique(canonical[space.is_valid(canonical)], axis=0)
    return found


def copies(space: Space, archs: Archs) -> Floats:
    """How many genomes are each of these networks, `(n,)`, if what genes leave open is independent.

    Args:
        space: of the networks.
        archs: canonical, `(n, d)`.
    """
    found = np.ones(len(archs))
    for gene, options in enumerate(space.choices):
        changed = np.repeat(archs, options, axis=0)
        changed[:, gene] = np.tile(np.arange(options), len(archs))
        same = (space.canonical(changed) == np.repeat(archs, options, axis=0)).all(axis=1)
        found *= np.maximum(same.reshape(len(archs), options).sum(axis=1), 1)
    return found


TRAINER = distinct
