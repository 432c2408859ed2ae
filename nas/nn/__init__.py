"""Choices inside of a torch module; `nas.spaces.from_module` makes a space of the function that builds it.

Example:
    >>> from torch import nn
    >>> from nas.nn import Choice, Option, Repeat, choose
    >>> def network():
    ...     width = Option("width", (4, 8))
    ...     stem = nn.Conv2d(1, width, 3, padding=1)
    ...     op = Choice({"k3": nn.Conv2d(width, width, 3, padding=1), "skip": nn.Identity()}, name="op")
    ...     body = Repeat(lambda place: nn.Conv2d(width, width, 1), depths=(1, 2), name="depth")
    ...     return nn.Sequential(stem, op, body)
    >>> choose(network(), {"op": "skip", "depth": 2})[1].chosen
    'skip'
"""

from __future__ import annotations

from nas.nn.choices import Choice, Repeat, choose, plain
from nas.nn.options import Option

__all__ = ["Choice", "Option", "Repeat", "choose", "plain"]
