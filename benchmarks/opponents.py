"""Searches of other libraries, by ask and tell; `benchmarks.plugin` registers them as strategies.

They may ask for a network twice, and do not continue by replay: they are opponents, not strategies to use.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from nas.arrays import Archs, Costs
from nas.operators.protocol import Problem
from nas.pareto import directions as ways


class Generations:
    """A pymoo algorithm; its generations are handed out in pieces, and told when they are whole.

    Args:
        problem: what is searched; all genes are numbers to it.
        algorithm: of pymoo.
        seed: of all randomness.
    """

    def __init__(self, problem: Problem, algorithm: Any, *, seed: int) -> None:
        from pymoo.core.problem import Problem as Pymoo
        from pymoo.termination import get_termination

        self._problem = Pymoo(
            n_var=len(problem.choices), n_obj=problem.objectives, xl=0, xu=np.array(problem.choices) - 1, vtype=int
        )
        self._algorithm = algorithm
        algorithm.setup(self._problem, termination=get_termination("n_eval", 10**9), seed=seed, verbose=False)
        self._born: Any = None
        self._costs: list[Costs] = []
        self._asked = 0

    @property
    def population(self) -> Costs:
        """Costs of the last whole population, `(k, m)`."""
        return np.asarray(self._algorithm.pop.get("F"))

    def ask(self, n: int) -> Archs:
        """The rest of the generation, at most `n` of it."""
        if self._born is None:
            self._born = self._algorithm.ask()
        rows = np.atleast_2d(self._born.get("X")).astype(np.int64)[self._asked : self._asked + n]
        self._asked += len(rows)
        return rows

    def tell(self, archs: Archs, costs: Costs, violations: Any = None) -> None:
        """Costs of the last piece."""
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        self._costs.append(costs)
        if self._asked == len(np.atleast_2d(self._born.get("X"))):
            Evaluator().eval(StaticProblem(self._problem, F=np.concatenate(self._costs)), self._born)
            self._algorithm.tell(infills=self._born)
            self._born, self._costs, self._asked = None, [], 0


def nsga2(problem: Problem, *, seed: int, population: int = 20, operators: str = "uniform") -> Generations:
    """NSGA-II of pymoo without duplicates; crossover is `uniform` or `real` (SBX of eta 15), both 0.9; mutation PM."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.repair.rounding import RoundingRepair

    real = SBX(prob=0.9, eta=15, vtype=float, repair=RoundingRepair())
    uniform = operators == "uniform"
    algorithm = NSGA2(
        pop_size=population,
        sampling=_sampling(),
        crossover=UX(prob=0.9) if uniform else real,
        mutation=_mutation(problem, eta=3.0 if uniform else 20.0, probability=1.0),
        eliminate_duplicates=True,
    )
    return Generations(problem, algorithm, seed=seed)


def nsga3(problem: Problem, *, seed: int, directions: int) -> Generations:
    """NSGA-III of pymoo with its own operators, rounded to the genes."""
    from pymoo.algorithms.moo.nsga3 import NSGA3

    algorithm = NSGA3(
        ways.spread(problem.objectives, directions),
        sampling=_sampling(),
        crossover=_crossover(eta=30),
        mutation=_mutation(problem, eta=20.0),
    )
    return Generations(problem, algorithm, seed=seed)


def moead(problem: Problem, *, seed: int, directions: int) -> Generations:
    """MOEA/D of pymoo with its own operators, rounded to the genes."""
    from pymoo.algorithms.moo.moead import MOEAD

    algorithm = MOEAD(
        ways.spread(problem.objectives, directions),
        sampling=_sampling(),
        crossover=_crossover(eta=20),
        mutation=_mutation(problem, eta=20.0),
    )
    return Generations(problem, algorithm, seed=seed)


def _sampling() -> Any:
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    return IntegerRandomSampling()


def _crossover(*, eta: float) -> Any:
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.repair.rounding import RoundingRepair

    return SBX(prob=1.0, eta=eta, vtype=float, repair=RoundingRepair())


def _mutation(problem: Problem, *, eta: float, probability: float = 0.9) -> Any:
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair

    return PM(prob=probability, prob_var=1 / len(problem.choices), eta=eta, vtype=float, repair=RoundingRepair())


class Optuna:
    """A study of Optuna whose genes are categories.

    Args:
        problem: what is searched.
        seed: of the sampler.
        sampler: `tpe` or `nsga2` (population 20).
    """

    def __init__(self, problem: Problem, *, seed: int, sampler: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        samplers = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
            "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directions = ["minimize"] * problem.objectives
            self._study = optuna.create_study(directions=directions, sampler=samplers[sampler]())
        self._options = [list(range(count)) for count in problem.choices]
        self._trials: list[Any] = []

    def ask(self, n: int) -> Archs:
        """What the sampler suggests; repeats as they come."""
        self._trials = [self._study.ask() for _ in range(n)]
        rows = [[trial.suggest_categorical(f"g{i}", o) for i, o in enumerate(self._options)] for trial in self._trials]
        return np.array(rows, dtype=np.int64)

    def tell(self, archs: Archs, costs: Costs, violations: Any = None) -> None:
        """Costs of what was asked for last."""
        for trial, row in zip(self._trials, costs, strict=True):
            self._study.tell(trial, [float(value) for value in row])
