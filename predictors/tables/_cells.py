"""NAS-Bench-201's cells as text and as genes, for the layouts that have them.

Source: Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020,
    section 2.1. The order of the genes is that of the string, the order of the operators that of the space
    `nasbench201` of this toolkit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable
from predictors.tables.table import Archs

SPACE = "nasbench201"

#: Operators in the order of the genes' options.
OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

#: Edges `(source, target)` in the order of the string; node 0 is the input, node 3 the output.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))

CHOICES = (len(OPERATORS),) * len(EDGES)

_TERM = r"\|([a-z_0-9]+)~{0}"
_CELL = re.compile(
    rf"^{_TERM.format(0)}\|\+{_TERM.format(0)}{_TERM.format(1)}\|\+"
    rf"{_TERM.format(0)}{_TERM.format(1)}{_TERM.format(2)}\|$"
)
_INDEX = {name: i for i, name in enumerate(OPERATORS)}


def looks_like_a_cell(text: str) -> bool:
    """Whether it is a cell's string."""
    match = _CELL.match(text.strip())
    return match is not None and all(name in _INDEX for name in match.groups())


def parse(texts: Sequence[str], path: Path) -> Archs:
    """Genes of cells, `(n, 6)`, each in 0..4.

    Raises:
        InvalidTable: a text is no cell.
    """
    genes = np.empty((len(texts), len(EDGES)), dtype=np.int64)
    for row, text in enumerate(texts):
        match = _CELL.match(text.strip())
        names = () if match is None else match.groups()
        if not names or any(name not in _INDEX for name in names):
            raise InvalidTable(
                f"{path}, row {row + 1}: {text[:120]!r} is no cell of NAS-Bench-201",
                hint="Write |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with " + ", ".join(OPERATORS) + ".",
            )
        genes[row] = [_INDEX[name] for name in names]
    return genes


def constant(archs: Archs) -> NDArray[np.bool_]:
    """`(n,)`: cells without a path from the input to the output; their output does not depend on the input.

    Args:
        archs: `(n, 6)` genes.
    """
    reached = np.zeros((len(archs), 4), dtype=bool)
    reached[:, 0] = True
    for edge, (source, target) in enumerate(EDGES):
        reached[:, target] |= reached[:, source] & (archs[:, edge] != 0)
    return ~reached[:, -1]
