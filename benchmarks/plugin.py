"""Registers the searches of other libraries: `plugins = ["benchmarks.plugin"]` in a file for `hwnas benchmark`."""

from __future__ import annotations

from benchmarks import opponents
from nas.strategies import REGISTRY

REGISTRY.register("pymoo-nsga2", opponents.nsga2)
REGISTRY.register("pymoo-nsga3", opponents.nsga3)
REGISTRY.register("pymoo-moead", opponents.moead)
REGISTRY.register("optuna", opponents.Optuna)
