"""Pareto fronts: which points dominate which, how good a front is, and directions in the space of objectives."""
