"""Weights that are trained: the images they learn from, and supernets whose networks share them."""
