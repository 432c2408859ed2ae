"""Tables of your own: a CSV whose heads say what each column is and in which unit.

`arch` (in a space's text form) or `key`, then columns `COST_UNIT.DEVICE.WORKLOAD` such as `latency_s.pixel7` or
`energy_kwh.a100.batch8`, with `.std`, `.count` and `.repeat1` ... after the name for what is known beside the value.
It is also the form of an imported table's `table.csv`, without its facts.
"""

from __future__ import annotations

from device_profiles.errors import InvalidTable
from predictors.tables import _cells
from predictors.tables._columns import read_columns
from predictors.tables._files import read_csv
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Table


class Plain:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A CSV that begins with a column `arch` or `key`."""
        return file.first_line.split(",")[0].strip().strip('"') in ("arch", "key")

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it; cells of NAS-Bench-201 are recognised and get their genes.

        Raises:
            InvalidTable: no first column `arch` or `key`, a cell that is no number, or a cost without a unit.
        """
        heads, rows = read_csv(file)
        if heads[0] not in ("arch", "key"):
            raise InvalidTable(
                f"{file.path}: the first column is {heads[0]!r}", hint="It has to be arch, or key for other rows."
            )
        types = None
        skipped = {heads[0], "type", *(head for head in heads if head.startswith(("field.", "label.")))}
        taken = [i for i, head in enumerate(heads) if head not in skipped]
        if "type" in heads:
            types = tuple(row[heads.index("type")] for row in rows)
        fields = read_columns(
            [head for head in heads if head.startswith("field.")],
            [[row[i] for i, head in enumerate(heads) if head.startswith("field.")] for row in rows],
            file.path,
        )
        columns = read_columns([heads[i] for i in taken], [[row[i] for i in taken] for row in rows], file.path)
        keys = tuple(row[0].strip() for row in rows)
        is_cells = heads[0] == "arch" and all(map(_cells.looks_like_a_cell, keys))
        archs = _cells.parse(keys, file.path) if is_cells else None
        return Table(
            kind="plain",
            keys=keys,
            columns=columns,
            source=file.source(None),
            space=_cells.SPACE if is_cells else None,
            choices=_cells.CHOICES if is_cells else None,
            archs=archs,
            constant=None if archs is None else _cells.constant(archs),
            types=types,
            fields={column.name.removeprefix("field."): column.values for column in fields},
            labels={
                head.removeprefix("label."): tuple(row[i].strip() for row in rows)
                for i, head in enumerate(heads)
                if head.startswith("label.")
            },
        )


IMPORTER = Plain()
