"""The largest, the smallest and two random networks for each minibatch; the largest teaches the others.

Source: the sandwich rule and in-place distillation, Yu & Huang, "Universally slimmable networks and improved training
    techniques", ICCV 2019, sections 3.1 to 3.3 (there for widths); for whole spaces, Yu et al., "BigNAS: scaling up
    neural architecture search with big single-stage models", ECCV 2020, section 3.

Differences: BigNAS regularises the largest network alone, starts its residuals at exactly 0, and trains on with a
constant rate at the end; here these are the training loop's, alike for all trainers.
"""

from __future__ import annotations

from nas.weights import extremes
from nas.weights.distillation import distillation, taught
from nas.weights.trainers.protocol import Turn

#: Random networks beside both ends.
_RANDOM = 2


def sandwich(turn: Turn) -> None:
    """Run four networks; the weights are changed once by the sum of their gradients.

    The largest learns from labels, all others from its outputs on the same inputs, without a gradient into it.

    Raises:
        UsageError: outputs tell no classes or tokens apart.
    """
    ends = extremes.of(turn.space)
    outputs = turn.supernet.forward_path(turn.inputs, ends.largest)
    turn.loss(outputs).backward()  # type: ignore[no-untyped-call]
    soft = taught(outputs, turn.loss)
    for arch in (*turn.space.sample(_RANDOM, turn.rng), ends.smallest):
        distillation(turn.supernet.forward_path(turn.inputs, arch), soft).backward()  # type: ignore[no-untyped-call]


TRAINER = sandwich
