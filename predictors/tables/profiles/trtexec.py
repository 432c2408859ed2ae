"""TensorRT's layer profile: the JSON of `trtexec --exportProfile=profile.json`, times in ms.

Layout: `samples/common/sampleReporting.cpp` of NVIDIA/TensorRT: a list that begins with `{"count": N}`, the number of
runs; then for each layer `name`, `timeMs` over all runs, `averageMs`, `medianMs` (from TensorRT 8) and `percentage`.

The median is taken where it is there. TensorRT fuses a network to few layers whose names are long; copies that change a
layout are of type `reformat`, and those of 0 ms were optimised away and are left out. Layers are timed one by one, so
that their sum is above what the network takes; measure that with `trtexec` without the profile. Whether a layer ran on
the GPU or on a DLA the file does not say.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from device_profiles.errors import InvalidTable
from device_profiles.reading import parse_json
from predictors.tables._files import number
from predictors.tables.profiles._rows import Row, label, said, table
from predictors.tables.protocol import Options, RawFile
from predictors.tables.table import Table

_HINT = "Give the file of trtexec --exportProfile=FILE, whole; --exportTimes and --exportLayerInfo write others."

#: How far a stated mean may be from the total over the runs, relative.
_APART = 0.02


class Trtexec:
    """See the module."""

    def claims(self, file: RawFile) -> bool:
        """A list that begins with an object of `count`."""
        return "".join(file.head[:64].split()).startswith('[{"count":')

    def read(self, file: RawFile, options: Options) -> Table:
        """Read it.

        Raises:
            InvalidTable: it is no such list, a layer has no time, or times and the number of runs do not fit.
            UsageError: `options.part` says something else than threads and accelerator.
        """
        told = said(file, options)
        layers = parse_json(file.text, str(file.path), kind=InvalidTable, hint=_HINT)
        if not isinstance(layers, list) or not all(isinstance(layer, Mapping) for layer in layers) or not layers:
            raise InvalidTable(f"{file.path} is no list of layers", hint=_HINT)
        if "count" not in layers[0]:
            raise InvalidTable(f"{file.path} does not begin with a count of runs", hint=_HINT)
        runs = number(layers[0]["count"], f"{file.path}, count")
        if not (np.isfinite(runs) and runs >= 1):
            raise InvalidTable(f"{file.path} counts {runs:g} runs", hint=_HINT)
        made = [_row(layer, runs, f"{file.path}, layer {i + 1}") for i, layer in enumerate(layers[1:])]
        rows = [row for row in made if row.ms or row.kind != "reformat"]
        stated = {"runtime": "tensorrt", "runs": f"{runs:g}", **told}
        return table("trtexec", rows, file, options, stated=stated)


IMPORTER = Trtexec()


def _row(layer: Mapping[str, object], runs: float, where: str) -> Row:
    if not isinstance(layer.get("name"), str) or "averageMs" not in layer:
        raise InvalidTable(f"{where} has no name or no averageMs", hint=_HINT)
    name = label(layer["name"]) or "layer"
    found = {key: number(layer[key], f"{where}, {key}") for key in ("averageMs", "medianMs", "timeMs") if key in layer}
    mean = found["averageMs"]
    if "timeMs" in found and abs(found["timeMs"] / runs - mean) > _APART * abs(mean) + 1e-3:
        raise InvalidTable(
            f"{where}: {found['timeMs']:g} ms in {runs:g} runs are no {mean:g} ms each",
            hint=f"The file was put together from several profiles, or edited. {_HINT}",
        )
    return Row(
        name,
        found.get("medianMs", mean),
        "reformat" if name.startswith("Reformatting CopyNode") else "layer",
        count=runs,
        labels={"unit": "GPU or DLA"},
        numbers={"mean_ms": mean},
    )
