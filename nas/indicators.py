"""How good a set of points is; see `nas.pareto.indicators`. Costs and fronts are lower-is-better."""

from nas.pareto.indicators import (
    additive_epsilon,
    coverage,
    distinct,
    gd_plus,
    hypervolume,
    igd_plus,
    nondominated,
    recall,
    regret,
)

__all__ = [
    "additive_epsilon",
    "coverage",
    "distinct",
    "gd_plus",
    "hypervolume",
    "igd_plus",
    "nondominated",
    "recall",
    "regret",
]
