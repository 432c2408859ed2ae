"""One run for each weight of the hardware costs, and what each of them found."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nas.gradient.machine.reading import cost_scale, most_probable
from nas.gradient.machine.run import LARGEST_SKIPPED, Run
from nas.gradient.machine.settings import PARTS, Settings, check
from nas.gradient.parts.protocol import Reference
from nas.gradient.protocol import Diverged, Found, GradientProblem
from nas.spaces.protocol import SharesWeights
from nas.weights import supernets
from nas.weights.training import minibatch


def require_mixed(problem: GradientProblem, settings: Settings) -> None:
    """Refuse a sampler that weighs several options of a gene at a time where they differ in shape.

    Found out on fresh weights and one example, since trained ones may take hours to come.

    Raises:
        UsageError: it is so; the message names genes.
    """
    import torch

    sampler = PARTS["sampler"].get(settings.sampler)()
    logits = [torch.zeros(options) for options in problem.space.choices]
    gates = sampler.gates(logits, settings.tau_first, torch.Generator().manual_seed(0))
    if isinstance(problem.space, SharesWeights) or all(int(gate.count_nonzero()) < 2 for gate in gates):
        return
    inputs, _ = minibatch(problem.data().train, 1, np.random.default_rng(0))
    with torch.no_grad():
        supernets.of(problem.space).eval().forward_mixed(inputs, gates)


def search(problem: GradientProblem, settings: Settings, name: str) -> Iterator[Found]:
    """Search; see `Settings`.

    Args:
        problem: space, supernet, data and costs.
        settings: numbers and parts.
        name: of the strategy, for messages.

    Yields:
        For each weight the most probable architectures, the best first; together at most `problem.budget`. Its note
        says the weight, multipliers of bounds, and what went otherwise than planned.

    Raises:
        UsageError: a setting is out of its range, or a part is of no use in this space.
        UnknownName: no part has a name.
        Diverged: ten losses of a run were no numbers. What it had found by then was yielded before.
    """
    check(settings, name)
    weights = settings.weights[: problem.budget]
    share = [problem.budget // len(weights) + (i < problem.budget % len(weights)) for i in range(len(weights))]
    require_mixed(problem, settings)
    references = [Reference(*cost_scale(problem, price.cost), price.bound) for price in problem.priced]
    for number, weight in enumerate(weights):
        if number in problem.skip:
            continue
        run = Run(problem, settings, name, number, len(weights), weight, references)
        run.go()
        yield Found(number, most_probable(run.scores(), share[number], problem), run.note(), run.supernet)
        if run.skipped >= LARGEST_SKIPPED:
            raise Diverged(
                f"run {number} of {name} diverged: {run.skipped} of its losses or gradients were no numbers",
                hint=f"Lower {name}.rate or {name}.weight_rate; the same command again goes on with the next run.",
            )
