"""What a search has taught of its space: options to prune and genes to freeze, with the evidence; nothing is applied.

Example:
    >>> import nas, numpy as np
    >>> from nas.certainty import restriction
    >>> space = nas.spaces.load("nasbench201")
    >>> archs = space.sample(400, np.random.default_rng(0))
    >>> proposals = restriction.propose(space, archs, (archs == 3).sum(axis=1, keepdims=True).astype(float))
    >>> restriction.apply(space, proposals).size < space.size
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs, Floats
from nas.objectives import violations as violations_of
from nas.pareto import dominance
from nas.spaces.product import Option, ProductSpace
from nas.spaces.protocol import Space
from nas.study.study import Study, costs_of

Bools = NDArray[np.bool_]

#: Share of the best that one option must have to be frozen.
_NEARLY_ALL = 0.95


@dataclass(frozen=True)
class Proposal:
    """A restriction of one gene.

    Attributes:
        gene: its name.
        options: those to take away (`prune`), or the one to keep (`freeze`).
        action: `prune` or `freeze`.
        evidence: of each option how often it is among the best and among all, for people.
        p_value: the largest of the options', corrected for all that were tested.
    """

    gene: str
    options: tuple[Option, ...]
    action: str
    evidence: str
    p_value: float


@dataclass(frozen=True)
class _Counts:
    """How often each option of one gene occurs where the gene is active; `(options,)` each, but for the totals."""

    all_with: NDArray[np.int64]
    best_with: NDArray[np.int64]
    on_front: Bools
    everything: int
    best: int


def propose(
    space: Space,
    archs: Archs,
    costs: Floats,
    violations: Floats | None = None,
    *,
    share: float = 0.2,
    rate: float = 0.05,
) -> tuple[Proposal, ...]:
    """Restrictions that the best of some architectures suggest.

    The best are the feasible ones of the first non-dominated ranks, as many whole ranks as make up at most `share` of
    all, at least the front. For each option a one-sided exact test asks whether it is rarer (or commoner) among the
    best than if they had been drawn from all without looking at it, counting only architectures in which its gene is
    active; each network counts once. The options of all genes are corrected together, so that of what is proposed a
    share of `rate` is expected to be chance. An option is pruned if it is rarer, a gene is frozen if one option is
    commoner and has 95 % of the best. What an architecture of the front uses always stays, and so does one option.

    The test takes architectures as independent. Those of an evolution are not: they descend from each other, and what
    was common among parents is common among children. Random architectures are the better evidence.

    Source: Fisher, "The design of experiments", 1935, chapter II (the exact test); Benjamini & Hochberg, "Controlling
        the false discovery rate", J. R. Statist. Soc. B 57(1), 1995.

    Args:
        space: whose genes have names.
        archs: `(n, d)`.
        costs: `(n, m)`, lower is better; rows that are not finite are left out.
        violations: `(n,)`, 0 where feasible, or None.
        share: in (0, 1).
        rate: in (0, 1).

    Returns:
        Proposals by gene, at most one for each.

    Raises:
        UsageError: the space's genes have no names, or a shape or a share is not one.
    """
    space = _named(space)
    for name, value in (("share", share), ("rate", rate)):
        if not 0 < value < 1:
            raise UsageError(f"{name} must be between 0 and 1, got {value}")
    archs, costs = space.checked(archs), np.asarray(costs, dtype=np.float64)
    amounts = np.zeros(len(archs)) if violations is None else np.asarray(violations, dtype=np.float64)
    if costs.ndim != 2 or len(costs) != len(archs) or amounts.shape != (len(archs),):
        raise UsageError(
            f"for {len(archs)} architectures costs must be ({len(archs)}, m) and violations ({len(archs)},), "
            f"got {costs.shape} and {amounts.shape}"
        )
    judged = np.isfinite(costs).all(axis=1)
    archs, costs, amounts = archs[judged], costs[judged], amounts[judged]
    best, front = _best(costs, amounts, share)
    first = np.zeros(len(archs), dtype=np.bool_)
    first[np.unique(space.canonical(archs), axis=0, return_index=True)[1]] = True
    if not best.any():
        return ()
    counts = list(_counted(space, archs, first, best, front))
    return tuple(_proposals(space, counts, rate))


def of_study(study: Study, *, share: float = 0.2, rate: float = 0.05) -> tuple[Proposal, ...]:
    """`propose` from the judged trials of a study.

    Raises:
        InvalidData: the run has no study.
        UsageError: the space's genes have no names, or a share is not one.
    """
    objectives, constraints = study.objectives(), study.constraints()
    space = study.space()
    trials = [trial for trial in study.compared(study.trials()) if trial.result is not None]
    archs = np.array([trial.arch for trial in trials], dtype=np.int64).reshape(-1, len(space.choices))
    values = {c.name: np.array([trial.value(c.name) for trial in trials]) for c in constraints}
    costs = costs_of([trial.result for trial in trials], objectives)
    return propose(space, archs, costs, violations_of(constraints, values), share=share, rate=rate)


def apply(space: Space, proposals: Iterable[Proposal]) -> Space:
    """The space restricted as proposed; leave out the proposals that you do not believe.

    Raises:
        UsageError: the space lacks a gene or an option, or none is left.
    """
    named = _named(space)
    kept: dict[str | int, tuple[Option, ...]] = {}
    for proposal in proposals:
        options = kept.get(proposal.gene, named.genes[named.place(proposal.gene)].options)
        freeze = proposal.action == "freeze"
        kept[proposal.gene] = tuple(option for option in options if (option in proposal.options) == freeze)
    return named.restrict(kept)


def _named(space: Space) -> ProductSpace:
    if not isinstance(space, ProductSpace):
        raise UsageError(
            f"the genes of space {space.name} have no names", hint="Derive it from nas.spaces.product.ProductSpace."
        )
    return space


def _best(costs: Floats, amounts: Floats, share: float) -> tuple[Bools, Bools]:
    """Which rows are the best, and which are on the front, `(n,)` each; only feasible ones."""
    ranks, feasible = dominance.ranks(costs, amounts), amounts <= 0
    level, room = 0, share * len(costs)
    while feasible.any() and level < ranks[feasible].max() and (ranks <= level + 1).sum() <= room:
        level += 1
    return feasible & (ranks <= level), feasible & (ranks == 0)


def _counted(space: ProductSpace, archs: Archs, first: Bools, best: Bools, front: Bools) -> Iterator[_Counts]:
    active = space.active(archs)
    for gene, options in enumerate(space.choices):
        here = archs[:, gene, None] == np.arange(options)
        here &= active[:, gene, None]
        rows, top = first & active[:, gene], first & best & active[:, gene]
        yield _Counts(
            here[rows].sum(axis=0), here[top].sum(axis=0), here[front].any(axis=0), int(rows.sum()), int(top.sum())
        )


def _proposals(space: ProductSpace, counts: list[_Counts], rate: float) -> Iterator[Proposal]:
    from scipy.stats import false_discovery_control, hypergeom

    rarer, commoner = (
        np.concatenate([tail(c.best_with - shift, c.everything, c.all_with, c.best) for c in counts]).clip(0.0, 1.0)
        for tail, shift in ((hypergeom.cdf, 0), (hypergeom.sf, 1))
    )
    rarer, commoner = np.split(false_discovery_control(np.concatenate([rarer, commoner])), 2)
    start = 0
    for gene, found in zip(space.genes, counts, strict=True):
        places = slice(start, start + len(gene.options))
        start += len(gene.options)
        main = int(found.best_with.argmax())
        others = np.arange(len(gene.options)) != main
        if (
            others.any()
            and found.best_with[main] >= _NEARLY_ALL * found.best
            and commoner[places][main] <= rate
            and not found.on_front[others].any()
        ):
            p_value = float(commoner[places][main])
            yield Proposal(gene.name, (gene.options[main],), "freeze", _evidence(gene.options, [main], found), p_value)
            continue
        pruned = np.flatnonzero((rarer[places] <= rate) & ~found.on_front & others).tolist()
        if pruned:
            options = tuple(gene.options[option] for option in pruned)
            p_value = float(rarer[places][pruned].max())
            yield Proposal(gene.name, options, "prune", _evidence(gene.options, pruned, found), p_value)


def _evidence(options: tuple[Option, ...], places: list[int], found: _Counts) -> str:
    parts = [
        f"{options[place]}: {found.best_with[place]} of the best {found.best} "
        f"({found.best_with[place] / found.best:.0%}), {found.all_with[place]} of all {found.everything} "
        f"({found.all_with[place] / found.everything:.0%})"
        for place in places
    ]
    return "; ".join(parts)
