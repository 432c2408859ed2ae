"""A search on tables searches the rows that they have: other genomes are none of its architectures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from device_profiles.errors import InvalidTable
from nas.arrays import Archs
from nas.evaluators import Evaluator
from nas.evaluators.tabular import Tabular
from nas.isolation.space_parts import Parts
from nas.operators.listed import Listed
from nas.spaces.protocol import Space
from predictors import genes

#: Spaces up to this size are counted, to see whether the tables have all of their networks.
ENUMERABLE = 1_000_000


def tabulated(space: Space, parts: Parts, evaluators: Sequence[Evaluator]) -> Parts:
    """The functions of a space, of the rows that all tables among the objectives have.

    Where they have every network of the space, and where there is no table, they stay as they are.

    Args:
        space: of the search.
        parts: its functions.
        evaluators: of the objectives.

    Raises:
        InvalidTable: no row is in all tables, or none is a network.
    """
    tables = [evaluator for evaluator in evaluators if isinstance(evaluator, Tabular)]
    if not tables:
        return parts
    keys = set(tables[0].index).intersection(*(table.index for table in tables[1:]))
    rows = np.array([np.frombuffer(key, dtype=np.int64) for key in keys], dtype=np.int64)
    rows = np.unique(rows.reshape(len(keys), len(space.choices)), axis=0)
    rows = rows[parts.is_valid(rows)]
    if len(rows) == 0:
        names = " and ".join(table.objective.name for table in tables)
        raise InvalidTable(
            f"no network of {space.spec} has a value of {names}",
            hint="Give tables that have rows in common, of architectures whose output depends on the input.",
        )
    if len(rows) == space.size or len(rows) == _networks(space, parts):
        return parts
    listed = Listed(rows, space.choices)

    def sample(count: int, rng: np.random.Generator) -> Archs:
        return rows[rng.permutation(len(rows))[:count]]

    return replace(parts, sample=sample, is_valid=listed.has, listed=rows)


def _networks(space: Space, parts: Parts) -> int | None:
    """How many genomes of a space are networks; None where it is too large to count them."""
    if space.size > ENUMERABLE:
        return None
    archs = genes.numbered(np.arange(space.size), space.choices)
    return int(parts.is_valid(archs).sum())
