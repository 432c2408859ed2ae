"""NAS-Bench-Macro: JSON, a text of 8 digits for each network, its accuracies on CIFAR-10, parameters and FLOPs.

Layout: `nas-bench-macro_cifar10.json` of xiusu/NAS-Bench-Macro (Su et al., "Prioritized Architecture Sampling with
Monto-Carlo Tree Search", CVPR 2021), by its README and by `train/collect_benchmark.py`, which writes it:
an object from a text such as `01201120` to `test_acc` (a list of three), `mean_acc`, `std`, `params` and `flops`. A
digit is the operator of one of 8 layers in stages of 2, 3 and 3: 0 the identity (a 1x1 convolution where the shape
changes), 1 an inverted residual with kernel 3 and expansion 3, 2 one with kernel 5 and expansion 6.

What that code says of the values:

- accuracies are in percent (`train/utils.py`), each the best of all epochs on the test set, so that they are
  optimistic; `std` is the population's, over the trainings of one network;
- `flops` are multiply-accumulates of convolutions and of the classifier;
- identities behind a stage's first layer can stand anywhere in it, so several texts are one network. It was trained
  once and its values written for each of them: all 6,561 texts are 3,969 networks.

Nothing here has a device or a latency. The layout was taken from these sources; no copy of the file was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from device_profiles.errors import InvalidTable, UsageError
from device_profiles.reading import parse_json
from predictors.tables._files import number
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Archs, Column, Floats, Table

LICENCE = "NAS-Bench-Macro: Apache-2.0"

#: The published file has 6,561 entries of about 200 bytes.
LIMIT_BYTES = 16 * 2**20

#: Trainings of one network; published are 3.
LIMIT_TRAININGS = 100

#: Layers of each stage; the first of each changes the shape.
STAGES = (2, 3, 3)

#: Options per gene.
CHOICES = (3,) * sum(STAGES)

_PARTS = ("texts", "networks")
_FIELDS = ("test_acc", "mean_acc", "std", "params", "flops")
_KEY = re.compile(r"[012]{8}")
_BEGIN = re.compile(r'\s*\{\s*"[012]{8}"\s*:')


class NasBenchMacro:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A JSON object whose first key has 8 digits of 0, 1, 2."""
        return _BEGIN.match(file.head) is not None

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it; `arch` becomes the genes with commas, `0,1,2,0,1,1,2,0`, which a space of 8 genes reads.

        `options.part` is `texts`, all entries (the default), or `networks`, the first entry of each network: whoever
        learns from some rows and tests on others wants each network in one of the two alone.

        Raises:
            InvalidTable: it is not of this layout, is too large, a value is no number, or accuracies are shares.
            UsageError: it has no such part.
        """
        part = options.part or _PARTS[0]
        if part not in _PARTS:
            raise UsageError(f"{file.path} has no part {part!r}", hint=f"It has: {', '.join(_PARTS)}.")
        entries = _entries(file)
        archs = np.array([[int(digit) for digit in key] for key in entries], dtype=np.int64)
        columns = [
            _accuracies(entries, file),
            *(
                Column(name, name, "", _values(entries, name, file))
                for name in ("params", "flops")
                if any(name in entry for entry in entries.values())
            ),
        ]
        table = Table(
            kind="nbmacro",
            keys=tuple(",".join(key) for key in entries),
            columns=tuple(columns),
            source=file.source(LICENCE),
            space="nbmacro",
            choices=CHOICES,
            archs=archs,
            constant=np.zeros(len(archs), dtype=bool),
        )
        if part == "texts":
            return table
        return table.take(np.sort(np.unique(_networks(archs), axis=0, return_index=True)[1]))


IMPORTER = NasBenchMacro()


def _entries(file: RawFile) -> dict[str, Mapping[str, Any]]:
    """The entries by their text; each has the mean accuracy and no field that is not known."""
    if len(file.data) > LIMIT_BYTES:
        raise _no_layout(file, f"it has {len(file.data)} bytes, and {LIMIT_BYTES} are allowed")
    data = parse_json(file.text, str(file.path), kind=InvalidTable, hint="Fetch the file again.")
    if not isinstance(data, Mapping) or not data:
        raise _no_layout(file, "it is no object with entries")
    for key, entry in data.items():
        if _KEY.fullmatch(key) is None:
            raise _no_layout(file, f"{key[:60]!r} is no text of 8 digits in 0..2")
        if not isinstance(entry, Mapping) or "mean_acc" not in entry:
            raise _no_layout(file, f"{key} has no mean_acc")
        stray = sorted(set(entry) - set(_FIELDS))
        if stray:
            raise _no_layout(file, f"{key} has {stray[0][:60]!r}")
    return dict(data)


def _values(entries: Mapping[str, Mapping[str, Any]], name: str, file: RawFile) -> Floats:
    return np.array([number(entry.get(name, ""), f"{file.path}, {key}, {name}") for key, entry in entries.items()])


def _accuracies(entries: Mapping[str, Mapping[str, Any]], file: RawFile) -> Column:
    """The mean with its deviation, and the single trainings where they are there."""
    trained: list[list[float]] = []
    for key, entry in entries.items():
        runs = entry.get("test_acc", [])
        if not isinstance(runs, list) or len(runs) > LIMIT_TRAININGS:
            raise _no_layout(file, f"{key}, test_acc is no list of at most {LIMIT_TRAININGS} numbers")
        trained.append([number(run, f"{file.path}, {key}, test_acc") for run in runs])
    width = max(map(len, trained))
    repeats = np.array([runs + [np.nan] * (width - len(runs)) for runs in trained]) if width else None
    values, std = _values(entries, "mean_acc", file), _values(entries, "std", file)
    if np.isfinite(values).any() and np.nanmax(values) <= 1:
        raise _no_layout(file, f"no accuracy is above 1 % (the highest is {np.nanmax(values):g}): they are shares")
    return Column(
        "accuracy.cifar10.test",
        "accuracy",
        "%",
        values,
        workload="cifar10.test",
        std=None if np.isnan(std).all() else std,
        count=np.array([float(len(runs)) for runs in trained]) if width else None,
        repeats=repeats,
    )


def _networks(archs: Archs) -> Archs:
    """Identities behind a stage's first layer moved to its end, `(n, 8)`: equal rows are one network.

    Source: `get_real_arch` of the published `train/utils.py`.
    """
    moved = archs.copy()
    first = 0
    for layers in STAGES:
        behind = slice(first + 1, first + layers)
        order = np.argsort(archs[:, behind] == 0, axis=1, kind="stable")
        moved[:, behind] = np.take_along_axis(archs[:, behind], order, axis=1)
        first += layers
    return moved


def _no_layout(file: RawFile, why: str) -> InvalidTable:
    return InvalidTable(
        f"{file.path} is not of NAS-Bench-Macro's layout: {why}",
        hint=f"Give an object from 8 digits in 0..2 to {', '.join(_FIELDS)}, with accuracies in percent.",
    )
