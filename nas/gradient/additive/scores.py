"""What each option of each gene adds to the validation loss, by shared weights as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nas.arrays import Archs, Floats
from nas.gradient.protocol import GradientProblem
from nas.streams import stream
from nas.weights.paths import Paths
from nas.weights.training import minibatch


@dataclass(frozen=True)
class Scores:
    """Effects of options on the loss.

    Attributes:
        effects: for each gene `(options,)`, in the loss's unit; the best option of each is 0. None where every loss of
            a gene was no number.
        archs: `(n, d)`, all that was looked at: references and their neighbours, with a function.
        lost: losses that were no numbers.
    """

    effects: tuple[Floats, ...] | None
    archs: Archs
    lost: int


def neighbourhoods(problem: GradientProblem, references: int) -> list[list[Archs]]:
    """For each reference and each gene the networks with each of its options there, `(options, d)`."""
    centres = problem.space.sample(references, stream(problem.seed, "blockwise.references"))
    found = []
    for centre in centres:
        rows = []
        for gene, options in enumerate(problem.space.choices):
            near = np.repeat(centre[None, :], options, axis=0)
            near[:, gene] = np.arange(options)
            rows.append(near)
        found.append(rows)
    return found


def score(problem: GradientProblem, references: int, batch: int) -> Scores:
    """Score every option of every gene.

    In each of some random references one gene at a time is replaced. The loss of a reference is the same for all
    options of a gene, so that a score is the mean over references of how far an option is from the best one there. An
    option that leaves a reference without a function counts as the worst that has one; losses that are no numbers do
    likewise.

    Source: scores of blocks that add up, on shared weights: Li et al., "Block-wisely supervised neural architecture
        search with knowledge distillation" (DNA), CVPR 2020. There each block is supervised by a teacher's features;
        here the loss is that of the whole network, since the supernet is trained as a whole. Gains of single
        replacements that are summed by an integer program: Molchanov et al., "LANA: latency aware network
        acceleration", ECCV 2022.

    Args:
        problem: space, supernet, data, seed.
        references: random networks whose genes are replaced.
        batch: validation examples, the same ones for all.
    """
    space = problem.space
    near = neighbourhoods(problem, references)
    losses, lost = _losses(problem, [rows for centre in near for rows in centre], batch)
    table = [losses[at : at + len(space.choices)] for at in range(0, len(losses), len(space.choices))]
    looked = np.concatenate([rows for centre in near for rows in centre])
    looked = np.unique(looked, axis=0)
    effects = []
    for gene in range(len(space.choices)):
        rows = [_filled(one[gene]) for one in table if np.isfinite(one[gene]).any()]
        if not rows:
            return Scores(None, looked[space.is_valid(looked)], lost)
        mean = np.mean(rows, axis=0)
        effects.append(mean - mean.min())
    return Scores(tuple(effects), looked[space.is_valid(looked)], lost)


def _filled(losses: Floats) -> Floats:
    """How far options are from the best, `(options,)`; those that have no number are as far as the worst that has."""
    known = losses[np.isfinite(losses)]
    return np.where(np.isfinite(losses), losses, known.max()) - float(known.min())


def _losses(problem: GradientProblem, groups: list[Archs], batch: int) -> tuple[list[Floats], int]:
    """Losses `(options,)` of each group `(options, d)`, NaN without a function; each network is run once.

    Returns:
        The losses, and how many of networks with a function were no numbers.
    """
    space = problem.space
    judge = _judge(problem, batch)
    known: dict[bytes, float] = {}
    found: list[Floats] = []
    for number, rows in enumerate(groups):
        problem.progress("blockwise", number, len(groups))
        canonical, live = space.canonical(rows), space.is_valid(rows)
        mine = np.full(len(rows), np.nan)
        for row in np.flatnonzero(live):
            key = canonical[row].tobytes()
            if key not in known:
                known[key] = judge(canonical[row])
            mine[row] = known[key]
        found.append(mine)
    problem.progress("blockwise", len(groups), len(groups))
    return found, int(np.sum(~np.isfinite(list(known.values()))))


def _judge(problem: GradientProblem, batch: int) -> Callable[[Archs], float]:
    """A function of one architecture `(d,)`: its loss on one validation batch, as `nas.weights.paths` has it."""
    data = problem.data()
    paths = Paths.of(problem.supernet(), data)
    inputs, targets = minibatch(data.valid, batch, stream(problem.seed, "blockwise.batch"))
    return lambda arch: paths.loss(arch, inputs, targets)
