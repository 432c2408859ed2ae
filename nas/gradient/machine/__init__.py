"""Differentiable search as one machine: weights and an architecture are trained in turns, by parts that are named.

A strategy is a choice of parts and numbers. Papers' names are presets, a file each in `nas.gradient`; `preset` makes
one of your own, for `nas.gradient.REGISTRY.register`:

Example:
    >>> from inspect import signature
    >>> from nas.gradient.machine import preset
    >>> mine = preset("mine", sampler="gumbel", bounds="lagrangian")
    >>> signature(mine).parameters["sampler"].default
    'gumbel'
"""

from nas.gradient.machine.presets import preset
from nas.gradient.machine.settings import DEFAULT_WEIGHTS, Settings

__all__ = ["DEFAULT_WEIGHTS", "Settings", "preset"]
