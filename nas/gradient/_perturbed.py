"""Networks ranked on one validation batch by weights that a supernet has for them: random ones, then changed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Floats
from nas.gradient.additive.costs import one_hot
from nas.gradient.protocol import Diverged, Found, GradientProblem
from nas.operators.selection import survivors, tournaments
from nas.operators.variation import reset_mutation
from nas.streams import stream
from nas.weights.devices import device_of
from nas.weights.training import loss_of, minibatch

#: Where bounds leave too few, networks are drawn again, so often.
_ROUNDS = 20
#: A changed network that is known is changed again, so often.
_TRIES = 20


@dataclass
class Ranked:
    """Networks that were judged.

    Attributes:
        problem: space, costs and bounds.
        judge: the loss of an architecture `(d,)`.
        name: of the strategy, for people.
        total: networks that will be judged.
        archs: canonical ones.
        costs: of each the loss, and all predicted costs.
        broken: of each how far it is beyond bounds; 0 within them.
        seen: what was judged.
    """

    problem: GradientProblem
    judge: Callable[[Archs], float]
    name: str
    total: int
    archs: list[Archs] = field(default_factory=list)
    costs: list[Floats] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)

    def take(self, archs: Archs, costs: Floats, broken: Floats) -> None:
        """Judge networks `(n, d)` with predicted costs `(n, m)` and violations `(n,)`."""
        for arch, cost, beyond in zip(archs, costs, broken, strict=True):
            self.problem.progress(self.name, len(self.archs), self.total)
            self.seen.add(arch.tobytes())
            self.archs.append(arch)
            self.costs.append(np.array([self.judge(arch), *cost]))
            self.broken.append(float(beyond))

    def best(self, count: int) -> tuple[Archs, Floats]:
        """The best by rank and crowding, `(k, d)`, with their costs `(k, 1 + m)`.

        None has a loss that is no number. Where one is within the bounds, all are.
        """
        costs, broken = np.array(self.costs), np.array(self.broken)
        fine = np.flatnonzero(np.isfinite(costs).all(axis=1))
        if (broken[fine] == 0).any():
            fine = fine[broken[fine] == 0]
        rows = fine[survivors(costs[fine], broken[fine], count).rows]
        return np.array(self.archs)[rows], costs[rows]

    def parent(self, rng: np.random.Generator) -> Archs | None:
        """One of the non-dominated, `(d,)`, by crowding and chance; None where no loss is a number."""
        costs, broken = np.array(self.costs), np.array(self.broken)
        kept = survivors(costs, broken, len(costs))
        front = np.flatnonzero((kept.ranks == 0) & np.isfinite(costs[kept.rows]).all(axis=1))
        if not len(front):
            return None
        (won,) = tournaments(kept.ranks, kept.crowding, front, 1, rng)
        return self.archs[int(kept.rows[won])]


def perturbed(
    problem: GradientProblem, name: str, *, networks: int, perturbations: int, batch: int, rate: float
) -> Iterator[Found]:
    """Rank random networks, then change the best ones.

    Source: Brock et al., "SMASH", ICLR 2018, sections 3.1 and 3.2, and their code (500 random ones, then 100 changes of
        the best with a probability for each choice); Zhang, Ren & Urtasun, "Graph hypernetworks for neural architecture
        search", ICLR 2019, section 5 (1000 random ones). There the loss alone ranks; here non-dominated sorting by the
        loss and all predicted costs does (Deb et al., "NSGA-II", IEEE TEVC 6(2), 2002), and what is changed is drawn
        from the front as it then is, so that all of it is looked into.

    Args:
        problem: space, supernet, data, costs and bounds.
        name: of the strategy, for people.
        networks: random ones.
        perturbations: changed ones.
        batch: validation examples that all are judged on.
        rate: probability with which a gene is changed; one at least is.

    Yields:
        One network each, the best first. Where no network was found within the bounds, the one that is least beyond.

    Raises:
        UsageError: a setting is out of its range.
        Diverged: all losses were no numbers.
    """
    if min(networks, batch) < 1 or perturbations < 0 or not 0.0 <= rate <= 1.0:
        raise UsageError(
            f"{name} needs at least one network and validation example, and a rate in 0..1, got {networks}, {batch}, "
            f"{perturbations} perturbations and {rate:g}"
        )
    if len(problem.skip) >= problem.budget:
        return
    ranked = Ranked(problem, _judge(problem, batch), name, networks + perturbations)
    ranked.take(*_drawn(problem, networks))
    rng = stream(problem.seed, "perturbed.steps")
    for _ in range(perturbations):
        changed = _changed(ranked, rate, rng)
        if changed is None:
            break
        ranked.take(*changed)
    problem.progress(name, ranked.total, ranked.total)
    archs, costs = ranked.best(problem.budget)
    if not len(archs):
        raise Diverged(
            f"{name} ranks nothing: all {len(ranked.archs)} losses were no numbers",
            hint="Train the weights otherwise: --set trainer=fair, or another train_steps.",
        )
    beyond = not any(broken == 0 for broken in ranked.broken)
    lost = sum(not np.isfinite(cost[0]) for cost in ranked.costs)
    said = ["beyond the bounds"] if beyond else []
    said += [f"the best of {len(ranked.archs)}"] + ([f"{lost} losses without a number left out"] if lost else [])
    for number, (arch, cost) in enumerate(zip(archs[: 1 if beyond else None], costs, strict=False)):
        if number not in problem.skip:
            yield Found(number, arch[None, :], ", ".join((f"loss {cost[0]:.4g}", *said)))


def _drawn(problem: GradientProblem, networks: int) -> tuple[Archs, Floats, Floats]:
    """Random networks with their costs and violations; those within the bounds come first, if there are so many."""
    space, rng = problem.space, stream(problem.seed, "perturbed.networks")
    found = np.empty((0, len(space.choices)), dtype=np.int64)
    for _ in range(_ROUNDS):
        found = np.concatenate([found, space.canonical(space.sample(min(networks, space.size), rng))])
        found = found[np.sort(np.unique(found, axis=0, return_index=True)[1])]
        costs, broken = _priced(problem, found)
        if (broken == 0).sum() >= networks or networks >= space.size or not broken.any():
            break
    order = np.argsort(broken, kind="stable")[:networks]
    return found[order], costs[order], broken[order]


def _changed(ranked: Ranked, rate: float, rng: np.random.Generator) -> tuple[Archs, Floats, Floats] | None:
    """A network that is new, `(1, d)`, with its cost and violation; within the bounds, if its parent is.

    None where there is none to be found: that ends the search.
    """
    space = ranked.problem.space
    for _ in range(_TRIES):
        parent = ranked.parent(rng)
        if parent is None:
            return None
        child = reset_mutation(parent[None, :], space.choices, rng, rate=rate)
        gene = int(rng.integers(len(space.choices)))
        if (child == parent).all():
            child[:, gene : gene + 1] = reset_mutation(
                child[:, gene : gene + 1], space.choices[gene : gene + 1], rng, rate=1.0
            )
        child = space.canonical(child)
        if child.tobytes() in ranked.seen or not space.is_valid(child)[0]:
            continue
        costs, broken = _priced(ranked.problem, child)
        if broken[0] <= min(ranked.broken):
            return child, costs, broken
    return None


def _priced(problem: GradientProblem, archs: Archs) -> tuple[Floats, Floats]:
    """Predicted costs `(n, m)`, and by how much they are beyond bounds, relatively, `(n,)`."""
    costs = np.stack([one_hot(price.cost, archs, problem.space.choices) for price in problem.priced], axis=1)
    broken = np.zeros(len(archs))
    for column, price in zip(costs.T, problem.priced, strict=True):
        if price.bound is not None:
            broken += np.maximum(column - price.bound, 0.0) / (abs(price.bound) or 1.0)
        if price.floor is not None:
            broken += np.maximum(price.floor - column, 0.0) / (abs(price.floor) or 1.0)
    return costs, broken


def _judge(problem: GradientProblem, batch: int) -> Callable[[Archs], float]:
    """A function of one architecture `(d,)`: its loss on one validation batch, the same for all.

    A network leaves the supernet with copies of its weights. Normalisation takes the statistics of the batch (Bender et
    al., ICML 2018, section 3.3).
    """
    import torch

    supernet = problem.supernet()
    place = device_of(supernet)
    data = problem.data()
    inputs, targets = minibatch(data.valid, batch, stream(problem.seed, "perturbed.batch"))
    inputs, targets = inputs.to(place), targets.to(place)

    def judge(arch: Archs) -> float:
        network = supernet.subnet(arch).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.train()
        with torch.no_grad():
            return float(loss_of(data, network(inputs), targets))

    return judge
