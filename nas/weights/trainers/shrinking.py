"""Progressive shrinking: first the largest network alone, then ever smaller ones beside it, which it teaches.

Source: Cai et al., "Once-for-all: train one network and specialize it for efficient deployment", ICLR 2020, section 3.3
    and appendix B; the published code runs 1, 2 and 4 networks for each minibatch in the three phases, with labels and
    soft labels of equal weight.

Differences: one training with one schedule of the rate, so that phases are shares of its steps, in place of one
    training each; the teacher is the largest network with the weights of the moment, in place of a copy that was
    trained alone; options of a gene enter one after the other in all phases, not of depths and widths alone; channels
    are not sorted by importance and kernels not transformed when they become elastic, unless the space's blocks do so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas.arrays import Archs
from nas.spaces.protocol import Space
from nas.weights import extremes, kin
from nas.weights.distillation import distillation, taught
from nas.weights.trainers.protocol import Turn

#: Share of the steps in which the largest network is trained alone: 180 of 605 epochs in the paper.
LARGEST = 0.3
#: Of a phase in which all options of its genes are in, and in which one is not yet: 120 and 25 epochs in the paper.
_WHOLE, _PART = 120, 25
#: Most networks for each minibatch; draws, until one has a function.
_NETWORKS, _TRIES = 4, 100
#: Kinds of genes in the order in which they become elastic; those of a kind of their own come between, by number.
_FIRST, _LAST = ("kernel", "depth", "width"), ""

#: Options of a gene, `(k,)`.
Options = NDArray[np.int64]


def shrinking(turn: Turn) -> None:
    """Run one to four of the networks that are admitted so far; weights are changed by the sum of their gradients.

    All of a minibatch have one resolution, where it is a gene. The largest network of that resolution learns from
    labels while it is alone; later it gives soft labels beside the true ones.

    Raises:
        UsageError: outputs tell no classes or tokens apart.
    """
    import torch

    phase = phase_of(turn.space, turn.step, turn.steps)
    allowed = admitted(turn.space, turn.step, turn.steps)
    largest = extremes.of(turn.space).largest
    sizes = [gene for gene, kind in enumerate(kin.kinds(turn.space)) if kind == "resolution"]
    for gene in sizes:
        allowed[gene] = turn.rng.choice(allowed[gene], size=1)
    teacher = largest.copy()
    teacher[sizes] = [int(allowed[gene][0]) for gene in sizes]
    if not turn.space.is_valid(teacher[None])[0]:
        teacher = largest
    if phase == 0:
        turn.loss(turn.supernet.forward_path(turn.inputs, teacher)).backward()  # type: ignore[no-untyped-call]
        return
    with torch.no_grad():
        outputs = turn.supernet.forward_path(turn.inputs, teacher)
    soft = taught(outputs, turn.loss)
    for _ in range(min(2 ** (phase - 1), _NETWORKS)):
        outputs = turn.supernet.forward_path(turn.inputs, _drawn(turn, allowed, teacher))
        (turn.loss(outputs) + distillation(outputs, soft)).backward()  # type: ignore[no-untyped-call]


def phases(space: Space) -> tuple[tuple[int, ...], ...]:
    """Genes that become elastic together, phase by phase, after the one in which the largest network is alone.

    Kernels, then depths, then all other ordered genes, such as expansions and widths; where names of genes do not say
    that they are kernels or depths, ordered genes one after the other. Genes without an order are last. Resolutions are
    in none: they are elastic from the start.
    """
    kinds = kin.kinds(space)
    own = [kind for kind in dict.fromkeys(kinds) if kind not in (*_FIRST, _LAST, "resolution")]
    order = [kind for kind in (*_FIRST, *own, _LAST) if kind in kinds]
    return tuple(tuple(gene for gene, one in enumerate(kinds) if one == kind) for kind in order)


def phase_of(space: Space, step: int, steps: int) -> int:
    """The number of the phase of a step: 0 while the largest network is alone."""
    return _place(len(phases(space)), step, steps)[0]


def admitted(space: Space, step: int, steps: int) -> list[Options]:
    """For each gene the options `(k,)` that networks of a step may have, ascending.

    Of a gene that is not elastic yet it is that of the largest network. In its phase the nearest one to it enters at
    the start, then the next, and most of the phase has all, as in the paper; so have phases after it. Genes without an
    order have all at once.
    """
    largest = extremes.of(space).largest
    groups = phases(space)
    phase, share = _place(len(groups), step, steps)
    found = []
    for gene, options in enumerate(space.choices):
        number = next((at for at, group in enumerate(groups, start=1) if gene in group), 0)
        if number == 0 or number < phase or (number == phase and not space.ordered[gene]):
            count = options
        elif number == phase:
            parts = _PART * (options - 2) + _WHOLE
            count = min(2 + int(share * parts / _PART), options)
        else:
            count = 1
        found.append(_nearest(int(largest[gene]), options, count))
    return found


def _place(groups: int, step: int, steps: int) -> tuple[int, float]:
    """The phase of a step, of so many after the first, and which share of the phase is over."""
    share = step / steps
    if share < LARGEST or not groups:
        return 0, share
    at = (share - LARGEST) / (1 - LARGEST) * groups
    phase = min(int(at), groups - 1)
    return phase + 1, at - phase


def _nearest(largest: int, options: int, count: int) -> Options:
    """The options nearest to that of the largest network, `(count,)`, ascending."""
    order = np.argsort(np.abs(np.arange(options) - largest), kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def _drawn(turn: Turn, allowed: Sequence[Options], otherwise: Archs) -> Archs:
    """A network `(d,)` of these options that has a function."""
    for _ in range(_TRIES):
        arch = np.array([turn.rng.choice(options) for options in allowed], dtype=np.int64)
        if turn.space.is_valid(arch[None])[0]:
            return arch
    return otherwise


TRAINER = shrinking
