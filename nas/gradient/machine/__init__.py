"""Differentiable search as one machine: weights and an architecture are trained in turns, by parts that are named.

A strategy is a choice of parts and numbers. Papers' names are presets, a file each in `nas.gradient`; `preset` makes
one of your own:

Example:
    >>> from nas import gradient
    >>> from nas.gradient.machine import preset
    >>> gradient.REGISTRY.register("mine", preset("mine", sampler="gumbel", bounds="lagrangian"))
    >>> "mine" in gradient.names()
    True
"""

from nas.gradient.machine.presets import preset
from nas.gradient.machine.settings import DEFAULT_WEIGHTS, Settings

__all__ = ["DEFAULT_WEIGHTS", "Settings", "preset"]
