"""Searches of other libraries on a table, for the benchmarks: each gives the numbers of the cells it evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Costs = Callable[[np.ndarray], np.ndarray]


def pymoo_nsga2(
    costs: Costs, choices: tuple[int, ...], budget: int, seed: int, *, population: int, operators: str
) -> np.ndarray:
    """Genomes that pymoo's NSGA-II evaluated, duplicates eliminated, `(budget, d)`.

    `operators` is `uniform` (uniform crossover 0.9) or `real` (SBX 0.9, eta 15); both mutate by PM.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.crossover.ux import UX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    problem = _pymoo_problem(costs, choices)
    repair = {"vtype": float, "repair": RoundingRepair()}
    uniform = operators == "uniform"
    algorithm = NSGA2(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        crossover=UX(prob=0.9) if uniform else SBX(prob=0.9, eta=15, **repair),
        mutation=PM(prob=1.0, prob_var=1 / len(choices), eta=3.0 if uniform else 20.0, **repair),
        eliminate_duplicates=True,
    )
    minimize(problem, algorithm, ("n_eval", budget), seed=seed, verbose=False)
    return np.concatenate(problem.seen)[:budget]


def _pymoo_problem(costs: Costs, choices: tuple[int, ...]) -> Any:
    from pymoo.core.problem import Problem

    class Table(Problem):  # type: ignore[misc]
        def __init__(self) -> None:
            objectives = costs(np.zeros((1, len(choices)), dtype=np.int64)).shape[1]
            super().__init__(n_var=len(choices), n_obj=objectives, xl=0, xu=np.array(choices) - 1, vtype=int)
            self.seen: list[np.ndarray] = []

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            rows = x.astype(np.int64)
            self.seen.append(rows)
            out["F"] = costs(rows)

    return Table()


def optuna(costs: Costs, choices: tuple[int, ...], budget: int, seed: int, *, sampler: str) -> np.ndarray:
    """Genomes that Optuna's `tpe` (multivariate) or `nsga2` sampler evaluated, repeats as they come, `(budget, d)`."""
    import warnings

    import optuna as library

    library.logging.set_verbosity(library.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samplers = {
            "tpe": lambda: library.samplers.TPESampler(seed=seed),
            "nsga2": lambda: library.samplers.NSGAIISampler(seed=seed, population_size=20),
        }
        objectives = costs(np.zeros((1, len(choices)), dtype=np.int64)).shape[1]
        study = library.create_study(directions=["minimize"] * objectives, sampler=samplers[sampler]())
        options = [list(range(count)) for count in choices]
        seen = []
        for _ in range(budget):
            trial = study.ask()
            row = np.array([trial.suggest_categorical(f"g{i}", kinds) for i, kinds in enumerate(options)])
            study.tell(trial, [float(value) for value in costs(row[None])[0]])
            seen.append(row)
    return np.array(seen, dtype=np.int64)
