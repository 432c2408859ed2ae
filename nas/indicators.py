"""How good a set of points is; see `nas.pareto.indicators`. Costs and fronts are lower-is-better."""

from nas.pareto.indicators import (
    additive_epsilon,
    coverage,
    distinct,
    gd,
    gd_plus,
    hypervolume,
    igd,
    igd_plus,
    nondominated,
    r2,
    recall,
    regret,
    spacing,
)

__all__ = [
    "additive_epsilon",
    "coverage",
    "distinct",
    "gd",
    "gd_plus",
    "hypervolume",
    "igd",
    "igd_plus",
    "nondominated",
    "r2",
    "recall",
    "regret",
    "spacing",
]
