"""NAS-Bench-201 as one CSV: a row for each cell, accuracies in %, whole-network latencies of many devices in ms.

The layout is that of tables which join NAS-Bench-201 (Dong & Yang, ICLR 2020) with the latencies that HELP publishes
(Lee et al., "Hardware-adaptive Efficient Latency Prediction for NAS via Meta-Learning", NeurIPS 2021, repository
HayeonLee/HELP): `arch` in the space's text form, `accuracy.DATASET.SPLIT.EPOCHS`, and `latency_ms.DEVICE_BATCH`.
"""

from __future__ import annotations

from device_profiles.errors import InvalidTable
from predictors.tables import _cells
from predictors.tables._columns import read_columns
from predictors.tables._files import read_csv
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Table

LICENCE = "NAS-Bench-201, HELP and HW-NAS-Bench: MIT"


class NasBench201:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A CSV whose first column is `arch` and whose first row is a cell."""
        lines = file.head.splitlines()
        if len(lines) < 2 or lines[0].split(",")[0].strip() != "arch":
            return False
        return _cells.looks_like_a_cell(lines[1].split(",")[0].strip('"'))

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: no column `arch`, a row that is no cell, a cell that is no number, a cost without a unit.
        """
        heads, rows = read_csv(file)
        if "arch" not in heads:
            raise InvalidTable(
                f"{file.path} has no column 'arch'", hint=f"It has: {', '.join(head[:40] for head in heads[:12])}."
            )
        place = heads.index("arch")
        keys = tuple(row[place].strip() for row in rows)
        archs = _cells.parse(keys, file.path)
        others = [i for i in range(len(heads)) if i != place]
        return Table(
            kind="nasbench201",
            keys=keys,
            columns=read_columns([heads[i] for i in others], [[row[i] for i in others] for row in rows], file.path),
            source=file.source(LICENCE),
            space=_cells.SPACE,
            choices=_cells.CHOICES,
            archs=archs,
            constant=_cells.constant(archs),
        )


IMPORTER = NasBench201()
