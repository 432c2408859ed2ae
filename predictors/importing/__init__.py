"""Published tables of costs: read, judged, and kept in one form. One file for each layout, found by its name.

Example:
    >>> from predictors import importing
    >>> importing.names()
    ('accelnasbench', 'hat', 'hwnasbench', 'nasbench201', 'nbmacro', 'nnmeter', 'ofa', 'plain')

It reads what others measured, says what is wrong with it, and keeps it as a folder. It measures nothing, mends
nothing, and never guesses a unit. Files are untrusted: sizes and depths are bounded, and nothing of them is run.
"""

from __future__ import annotations

from predictors.importing.linter import lint
from predictors.importing.protocol import Importer, Options, RawFile
from predictors.importing.reading import REGISTRY, detect, names, read
from predictors.importing.table import Column, Finding, LeftOut, Source, Table, check, load

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
