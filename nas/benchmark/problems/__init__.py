"""Problems to benchmark searches on: published tables, and functions whose fronts are known exactly.

Example:
    >>> from nas.benchmark import problems
    >>> problems.load("zdt1", genes=10).objectives
    ('f1', 'f2')

A problem is one file here that defines `PROBLEM(**options)`. Nothing here searches.
"""

from __future__ import annotations

import inspect
from typing import Any

from device_profiles.arguments import check_arguments
from device_profiles.errors import UnknownName
from device_profiles.registry import Registry
from nas.benchmark.problems.protocol import MakeProblem, Problem

__all__ = ["REGISTRY", "Problem", "load", "names"]

REGISTRY: Registry[MakeProblem] = Registry("problem", "nas.benchmark.problems", attribute="PROBLEM")


def names() -> tuple[str, ...]:
    """All registered kinds of problems."""
    return REGISTRY.names()


def load(kind: str, **options: Any) -> Problem:
    """Make a problem.

    Raises:
        UnknownName: there is no such kind, or it has no such option.
        UsageError: an option is missing, of another kind, or out of its range.
        InvalidData: a table cannot be read.
    """
    make = REGISTRY.get(kind)
    known = inspect.signature(make).parameters
    for option in options:
        if option not in known:
            raise UnknownName(f"option of problem {kind}", option, known)
    check_arguments(f"problem {kind!r}", make, (), options, hint="See the page on benchmarks for its options.")
    return make(**options)
