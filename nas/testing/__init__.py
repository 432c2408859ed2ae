"""Conformance kits: what every strategy, space and evaluator must hold to, for those of this package and for your own.

Example:
    >>> from nas import testing
    >>> testing.check_strategy("random")

A kit takes what it checks by its registered name, returns None if all is well, and raises AssertionError that says
which rule was broken and how. It is no benchmark: it does not ask how good a strategy or a space is.
"""

from nas.testing.evaluators import check_evaluator
from nas.testing.gradients import check_gradient
from nas.testing.spaces import check_space
from nas.testing.strategies import check_strategy
from nas.testing.weights import check_shared_weights, check_weights

__all__ = [
    "check_evaluator",
    "check_gradient",
    "check_shared_weights",
    "check_space",
    "check_strategy",
    "check_weights",
]
