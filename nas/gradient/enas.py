"""A controller draws architectures and learns from their rewards, in turns with weights that all of them share.

Source: Pham, Guan, Zoph, Le & Dean, "Efficient neural architecture search via parameter sharing", ICML 2018. Costs
    enter the reward as in Tan et al., "MnasNet: platform-aware neural architecture search for mobile", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterator

from nas.gradient.controller import settings as defaults
from nas.gradient.controller.reward import Reward, targets_of
from nas.gradient.controller.settings import Settings, check
from nas.gradient.machine.reading import cost_scale
from nas.gradient.parts.protocol import Reference
from nas.gradient.protocol import Diverged, Found, GradientProblem, all_costs, no_descent


def enas(
    problem: GradientProblem,
    *,
    weights: tuple[float, ...] = defaults.DEFAULT_WEIGHTS,
    targets: tuple[float, ...] = (1.0,),
    reward: str = "soft",
    steps: int = 60,
    phase: int = 20,
    controller_steps: int = 40,
    samples: int = 4,
    draws: int = 100,
    batch: int = 64,
    rate: float = 0.0035,
    weight_rate: float = 0.005,
    hidden: int = 100,
    temperature: float = 5.0,
    squash: float = 2.5,
    entropy: float = 1e-4,
    baseline: float = 0.95,
) -> Iterator[Found]:
    """Search by a controller.

    Args:
        problem: space, supernet, data, costs and bounds.
        weights: minus the exponents of costs in the reward, each at least 0; one run for each.
        targets: of costs, as shares of their bounds, or of their medians where they have none; with `reward="hard"` one
            run for each weight and target.
        reward: `soft`, or `hard`: costs count beyond their targets alone.
        steps: of the weights, of each run.
        phase: steps of the weights after which the controller has its turn.
        controller_steps: of the controller in a turn.
        samples: architectures that it draws in one.
        draws: architectures that are drawn in the end, of which the best are what is found.
        batch: examples in one step, and those that judge.
        rate: Adam's for the controller.
        weight_rate: SGD's for the weights.
        hidden: units of the controller.
        temperature: of its softmax.
        squash: largest logit before the softmax, on either side.
        entropy: weight of the controller's entropy beside the reward.
        baseline: share of the past in the moving average that rewards are counted from.

    Yields:
        For each run networks by their rewards, the best first, none beyond a bound where one within was drawn.

    Raises:
        UsageError: a setting is out of its range, or a cost's target is not above 0.
        Diverged: ten losses or gradients of a run were no numbers. What it had found by then was yielded before.
    """
    from nas.gradient.controller.run import Run

    mine = Settings(
        weights=weights, targets=targets, reward=reward, steps=steps, phase=phase, controller_steps=controller_steps,
        samples=samples, draws=draws, batch=batch, rate=rate, weight_rate=weight_rate, hidden=hidden,
        temperature=temperature, squash=squash, entropy=entropy, baseline=baseline,
    )  # fmt: skip
    check(mine)
    runs = mine.runs[: problem.budget]
    references = [Reference(*cost_scale(problem, price.cost), price.bound) for price in problem.priced]
    for number, (weight, target) in enumerate(runs):
        if number in problem.skip:
            continue
        goals = targets_of(references, target)
        run = Run(problem, mine, Reward(problem, goals, weight, reward), number, len(runs))
        run.go()
        archs, about = run.found(problem.budget // len(runs) + (number < problem.budget % len(runs)))
        said = [f"weight {weight:g}", *([f"target {target:g}"] if reward == "hard" else []), about]
        said += [f"{run.skipped} losses or gradients without a number left out"] if run.skipped else []
        if len(archs):
            yield Found(number, archs, ", ".join(said), run.supernet)
        if run.diverged:
            raise Diverged(
                f"run {number} of enas diverged: {run.skipped} of its losses or gradients were no numbers",
                hint="Lower enas.weight_rate; the same command again goes on with the next run.",
            )


GRADIENT = no_descent(all_costs(enas))
