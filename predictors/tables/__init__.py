"""Tables of costs that others made, published or profiled: read, judged, and kept in one form.

One file for each layout, found by its name.

Example:
    >>> from predictors import tables
    >>> [name for name in tables.names() if name.startswith("n")]
    ['nasbench201', 'nbmacro', 'neurstrucenergy', 'nnmeter']

It reads what others measured, says what is wrong with it, and keeps it as a folder. It measures nothing, mends
nothing, and never guesses a unit. Files are untrusted: sizes and depths are bounded, and nothing of them is run.
"""

from __future__ import annotations

from predictors.tables._folder import check, load
from predictors.tables.linter import lint
from predictors.tables.protocol import Importer, Options, RawFile
from predictors.tables.reading import REGISTRY, detect, names, read
from predictors.tables.table import Column, Finding, LeftOut, Source, Table

__all__ = [
    "REGISTRY",
    "Column",
    "Finding",
    "Importer",
    "LeftOut",
    "Options",
    "RawFile",
    "Source",
    "Table",
    "check",
    "detect",
    "lint",
    "load",
    "names",
    "read",
]
