"""Strategies x problems x seeds: what a search is worth, against fronts that are known."""
