"""NeurstrucEnergy's convolutions: energy of single layers, measured with a power meter, in J.

Layout: `conv2d.txt` of NeurstrucEnergy: the head `data mean_power time forward_num energy silence_energy all_energy`,
then a layer a line. `data` has 19 numbers: batch, channels, height and width of the input; batch and channels of the
output; height and width again; input and output channels of the convolution; kernel, stride, padding and dilation,
each twice; groups. `time` is in s for `forward_num` forward passes, `mean_power` in W, and the energies are in J for
one pass: above idle, of idling for as long, and both.

A line of zeros is a measurement that failed, and is left out. A row is a layer: latency is `time` over `forward_num`,
`energy_mj.DEVICE` is both energies, and `energy_mj.DEVICE.above_idle` the first alone. Energies have to add up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from device_profiles.errors import InvalidTable
from predictors.tables._files import number
from predictors.tables.profiles._rows import LIMIT_ROWS, Row, said, table
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Column, Table

LICENCE = "NeurstrucEnergy: MIT"

_HEAD = ("data", "mean_power", "time", "forward_num", "energy", "silence_energy", "all_energy")

#: Name of each of the 19 numbers; None where it repeats another.
_DATA = (
    *("batch", "cin", "h", "w", None, "cout", None, None, None, None),
    *("kernel", "kernel_w", "stride", "stride_w", "pad", "pad_w", "dilation", "dilation_w", "groups"),
)

#: How far a sum may be from its parts, relative.
_SUM = 1e-6

_HINT = f"Give lines of {len(_HEAD)} values with blanks between: {' '.join(_HEAD)}; data are {len(_DATA)} numbers."


class NeurstrucEnergy:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """Text that begins with the head."""
        return tuple(file.first_line.split()) == _HEAD

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: it has another head, a line has other values, or energies do not add up.
            UsageError: `options.part` says something else than threads and accelerator.
        """
        told = said(file, options)
        lines = [line.split() for line in file.text.splitlines()]
        if not lines or tuple(lines[0]) != _HEAD:
            raise InvalidTable(f"{file.path} begins with {' '.join(lines[0] if lines else [])[:80]!r}", hint=_HINT)
        if len(lines) > LIMIT_ROWS:
            raise InvalidTable(f"{file.path} has {len(lines)} lines; {LIMIT_ROWS} are allowed", hint="Split it.")
        failed = sum(set(line) == {"0"} for line in lines[1:])
        made = [_row(line, f"{file.path}, line {i + 2}") for i, line in enumerate(lines[1:]) if set(line) - {"0"}]
        energies = np.array([energy for _, *energy in made], dtype=np.float64).reshape(-1, 2) * 1e3
        more = (
            Column("energy_mj", "energy", "mJ", energies[:, 0], stated_unit="J"),
            Column("energy_mj", "energy", "mJ", energies[:, 1], workload="above_idle", stated_unit="J"),
        )
        stated = {"failed": str(failed or ""), **told}
        rows = [row for row, *_ in made]
        return table(
            *("neurstrucenergy", rows, file, options), stated=stated, stated_unit="s", licence=LICENCE, more=more
        )


IMPORTER = NeurstrucEnergy()


def _row(cells: Sequence[str], where: str) -> tuple[Row, float, float]:
    """A layer, its energy in J, and what of that is above idling."""
    if len(cells) != len(_HEAD):
        raise InvalidTable(f"{where}: {len(cells)} values, {len(_HEAD)} are needed", hint=_HINT)
    data = [number(text, f"{where}, data") for text in cells[0].split(",")]
    watts, seconds, passes, above, idle, both = (
        number(text, f"{where}, {name}") for text, name in zip(cells[1:], _HEAD[1:], strict=True)
    )
    if len(data) != len(_DATA) or not np.isfinite(data).all():
        raise InvalidTable(f"{where}: data are {len(data)} numbers, {len(_DATA)} are needed", hint=_HINT)
    if not (np.isfinite([watts, seconds, passes, above, idle, both]).all() and passes >= 1 and min(seconds, both) > 0):
        raise InvalidTable(f"{where}: {seconds:g} s and {both:g} J in {passes:g} passes are no measurement", hint=_HINT)
    if abs(above + idle - both) > _SUM * both:
        raise InvalidTable(
            f"{where}: {above:g} J and {idle:g} J are no {both:g} J",
            hint=f"The line was edited, or is shifted. {_HINT}",
        )
    numbers = {name: value for name, value in zip(_DATA, data, strict=True) if name is not None}
    return (
        Row(
            name=f"conv2d-{','.join(f'{value:g}' for value in data)}",
            ms=seconds / passes * 1e3,
            kind="conv2d",
            count=passes,
            labels={"unit": ""},
            numbers={**numbers, "mean_power_w": watts},
        ),
        both,
        above,
    )
