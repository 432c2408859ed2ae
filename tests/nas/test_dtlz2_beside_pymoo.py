"""NSGA-III and MOEA/D on DTLZ2, with the directions, evaluations and operators of pymoo's."""

import numpy as np
import pytest

from benchmarks import opponents
from nas.benchmark import problems
from nas.operators.protocol import Problem
from nas.pareto import directions, indicators
from nas.strategies import create


def igd_plus_beside_pymoo(name, objectives, wanted, generations, seeds):
    """IGD+ of our last population on DTLZ2, and of pymoo's, each `(seeds,)`.

    Both have the same directions, population and evaluations, crossover 1 and mutation 1 / genes; MOEA/D is PBI here,
    as it is there beyond two objectives.

    Args:
        name: `nsga3` or `moead`.
        objectives: m; there are m + 9 genes.
        wanted: about how many directions.
        generations: evaluations for each direction.
        seeds: from 0.
    """
    problem = problems.load("dtlz2", objectives=objectives)
    genes, count = len(problem.choices), len(directions.spread(objectives, wanted))
    settings = {"directions": count} if name == "nsga3" else {"weights": count, "kind": "pbi"}
    ours, theirs = [], []
    for seed in range(seeds):
        mine = create(
            name,
            choices=problem.choices,
            objectives=objectives,
            ordered=problem.ordered,
            seed=seed,
            crossover=1.0,
            mutation=1 / genes,
            **settings,
        )
        other = getattr(opponents, name)(Problem(problem.choices, objectives), seed=seed, directions=count)
        for strategy in (mine, other):
            told = 0
            while told < generations * count:
                rows = strategy.ask(count)
                strategy.tell(rows, problem.search(rows))
                told += len(rows)
        last = mine._population.costs if name == "nsga3" else mine._history.costs[np.unique(mine._incumbents)]
        ours.append(indicators.igd_plus(last, problem.front))
        theirs.append(indicators.igd_plus(other.population, problem.front))
    return np.array(ours), np.array(theirs)


@pytest.mark.parametrize("name", ["nsga3", "moead"])
def test_after_few_generations_they_are_about_where_pymoo_is(name):
    ours, theirs = igd_plus_beside_pymoo(name, 3, 21, 25, 3)
    assert ours.mean() < 1.4 * theirs.mean()
    assert ours.mean() < 0.25, "random points are at 0.5"


@pytest.mark.slow
@pytest.mark.parametrize(("objectives", "wanted"), [(3, 91), (5, 126)])
@pytest.mark.parametrize("name", ["nsga3", "moead"])
def test_they_match_pymoo_within_the_spread_of_its_seeds(name, objectives, wanted):
    ours, theirs = igd_plus_beside_pymoo(name, objectives, wanted, 60, 6)
    assert ours.mean() < theirs.mean() + 2 * max(ours.std(ddof=1), theirs.std(ddof=1))
