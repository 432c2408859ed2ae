"""Published tables of costs: read, judged, and kept in one form. One file for each layout, found by its name.

Example:
    >>> from predictors import tables
    >>> tables.names()
    ('accelnasbench', 'hat', 'hwnasbench', 'nasbench201', 'nbmacro', 'nnmeter', 'ofa', 'plain')

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
