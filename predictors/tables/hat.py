"""HAT's latency data sets: a CSV of transformers, ten averaged features each, encoder and decoder latency in ms.

Layout: `latency_dataset.py` of mit-han-lab/hardware-aware-transformers (Wang et al., "HAT: Hardware-Aware Transformers
for Efficient Natural Language Processing", ACL 2020, section 3.2): the columns of `get_feature_info()`, then
`latency_mean_encoder`, `latency_mean_decoder`, `latency_std_encoder`, `latency_std_decoder`. It writes milliseconds:
CUDA events give them, and CPU times are multiplied by 1000. Means and deviations are over the middle 80 % of the runs.

The features are averages over layers, so that several transformers share a row's features; a row is no encoding.
"""

from __future__ import annotations

import numpy as np

from device_profiles.errors import InvalidTable
from predictors.tables._files import number, read_csv
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Column, Floats, Table

LICENCE = "HAT: MIT"

_PARTS = ("encoder", "decoder")
_VALUES = tuple(f"latency_{what}_{part}" for what in ("mean", "std") for part in _PARTS)


class Hat:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A CSV with a column `latency_mean_encoder`."""
        return "latency_mean_encoder" in file.first_line.split(",")

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: a column is missing, or a cell is no number.
        """
        heads, rows = read_csv(file)
        missing = [name for name in _VALUES if name not in heads]
        features = [head for head in heads if head not in _VALUES]
        if missing or not features:
            raise InvalidTable(
                f"{file.path} lacks {', '.join(missing) or 'features'}",
                hint=f"A HAT table has features, and {', '.join(_VALUES)}.",
            )
        values: dict[str, Floats] = {
            head: np.array([number(row[i], f"{file.path}, row {r + 1}, {head}") for r, row in enumerate(rows)])
            for i, head in enumerate(heads)
        }
        device = options.device_of(file)
        columns = tuple(
            Column(
                name=f"latency_ms.{device}.{part}",
                cost="latency",
                unit="ms",
                values=values[f"latency_mean_{part}"],
                device=device,
                workload=part,
                stated_unit="ms",
                std=values[f"latency_std_{part}"],
            )
            for part in _PARTS
        )
        places = [heads.index(name) for name in features]
        return Table(
            kind="hat",
            keys=tuple(";".join(f"{heads[i]}={row[i]}" for i in places) for row in rows),
            columns=columns,
            source=file.source(LICENCE),
            exact=False,
            fields={name: values[name] for name in features},
        )


IMPORTER = Hat()
