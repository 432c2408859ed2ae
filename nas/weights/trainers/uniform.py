"""One random network for each minibatch.

Source: Guo et al., "Single path one-shot NAS with uniform sampling", ECCV 2020, section 3.2.
"""

from __future__ import annotations

from nas.weights.trainers.protocol import Turn


def uniform(turn: Turn) -> None:
    """Run one network that is drawn uniformly from the space."""
    arch = turn.space.sample(1, turn.rng)[0]
    turn.loss(turn.supernet.forward_path(turn.inputs, arch)).backward()  # type: ignore[no-untyped-call]


TRAINER = uniform
