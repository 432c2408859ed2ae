"""Latency tables of ProxylessNAS and once-for-all: YAML, a text key for each block, its mean in ms.

Layout: `ofa/nas/efficiency_predictor/latency_lookup_table.py` of mit-han-lab/once-for-all, which reads the tables of
ProxylessNAS (Cai et al., ICLR 2019, section 3.3) and those for MobileNetV3; NSGANetV2 writes the same. A key is
`TYPE-input:HxWxC-output:HxWxC-expand:E-kernel:K-stride:S-idskip:I-se:S-hs:H`, of which plain layers have the first
part alone. Below it are `mean`, and `var` or `std`, and `count` where they are known. The tables are in milliseconds: a
network's latency in ms is the sum of its blocks.
"""

from __future__ import annotations

import re

import numpy as np

from device_profiles.errors import InvalidTable
from predictors.tables._files import number
from predictors.tables._yaml_reader import read_mappings
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Column, Floats, Table

LICENCE = "once-for-all: MIT; tables of other projects have their own"

_SHAPE = r"\d+(?:x\d+)*"
_KEY = re.compile(rf"^(\w+)-input:({_SHAPE})-output:({_SHAPE})((?:-[a-z_]+:-?\d+)*)$")
_LINE = re.compile(rf"^['\"]?\w+-input:{_SHAPE}-output:{_SHAPE}", re.MULTILINE)
_KNOWN = ("mean", "var", "variance", "std", "count")


class OnceForAll:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """Lines that begin with `TYPE-input:...-output:...`."""
        return _LINE.search(file.head) is not None

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it; variances become standard deviations.

        Raises:
            InvalidData: it is no YAML of this form, is nested too deep, or uses aliases.
            InvalidTable: a key or a field is not of this layout, or a value is no number.
        """
        entries = read_mappings(file)
        device = options.device_of(file)
        parsed = [_parse(key, file) for key in entries]
        stray = {field for fields in entries.values() for field in fields} - set(_KNOWN)
        if stray:
            raise InvalidTable(
                f"{file.path} has fields {sorted(stray)[:5]}", hint=f"This layout has {', '.join(_KNOWN)}."
            )
        lacking = next((key for key, fields in entries.items() if "mean" not in fields), None)
        if lacking is not None:
            raise InvalidTable(f"{file.path}: {lacking!r} has no mean", hint="Repair the file.")

        def values(field: str) -> Floats | None:
            if not any(field in fields for fields in entries.values()):
                return None
            return np.array([number(fields.get(field, ""), f"{file.path}, {key}") for key, fields in entries.items()])

        variance = values("var")
        variance = values("variance") if variance is None else variance
        # A negative variance stays negative, so that lint sees it.
        std = values("std") if variance is None else np.sign(variance) * np.sqrt(np.abs(variance))
        mean = values("mean")
        assert mean is not None
        fields = {name for _, numbers in parsed for name in numbers}
        return Table(
            kind="ofa",
            keys=tuple(entries),
            columns=(
                Column(
                    name=f"latency_ms.{device}",
                    cost="latency",
                    unit="ms",
                    values=mean,
                    device=device,
                    stated_unit="ms",
                    std=std,
                    count=values("count"),
                ),
            ),
            source=file.source(LICENCE),
            types=tuple(kind for kind, _ in parsed),
            fields={name: np.array([numbers.get(name, np.nan) for _, numbers in parsed]) for name in sorted(fields)},
        )


IMPORTER = OnceForAll()


def _parse(key: str, file: RawFile) -> tuple[str, dict[str, float]]:
    """The type of a block, and its numbers."""
    match = _KEY.match(key)
    if match is None:
        raise InvalidTable(
            f"{file.path}: {key[:80]!r} is no key of a block",
            hint="Keys look like expanded_conv-input:112x112x16-output:56x56x24-expand:3-kernel:3-stride:2-idskip:0.",
        )
    kind, given, made, rest = match.groups()
    into, out = given.split("x"), made.split("x")
    numbers = {"cin": float(into[-1]), "cout": float(out[-1])}
    if len(into) == 3:
        numbers["hw"] = float(into[0])
    for part in filter(None, rest.split("-")):
        name, _, value = part.partition(":")
        numbers[name] = float(value)
    return kind, numbers
