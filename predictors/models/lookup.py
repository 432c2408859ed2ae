"""A table of measured kernels: exact keys, nothing in between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from device_profiles.errors import InvalidTable, SchemaMismatch
from predictors.models.protocol import Floats, KernelPrediction, KernelSamples
from profiler.operators import Operator

_SCHEMA = "hwnas.lookup/1"


@dataclass(frozen=True)
class Lookup:
    """Kernel times by the kernel's key.

    Source: the latency tables of ProxylessNAS (Cai et al., ICLR 2019, section 3.3), here over the runtime's own fused
        kernels.

    Attributes:
        keys: kernels, as `Operator.key`.
        ms: `(k,)`, their times.
    """

    composed: ClassVar[bool] = True

    keys: tuple[str, ...]
    ms: Floats

    @staticmethod
    def fit(samples: KernelSamples) -> Lookup:
        """Keep the samples.

        Raises:
            InvalidTable: there are none, or one is not positive and finite.
        """
        if not samples.operators:
            raise InvalidTable("a table needs at least one measured kernel", hint="Profile some networks first.")
        bad = ~(np.isfinite(samples.ms) & (samples.ms > 0))
        if bad.any():
            worst = samples.operators[int(np.flatnonzero(bad)[0])]
            raise InvalidTable(f"the time of kernel {worst} is {samples.ms[bad][0]} ms; it must be above 0 and finite")
        return Lookup(tuple(operator.key for operator in samples.operators), np.asarray(samples.ms, dtype=np.float64))

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Times of known kernels; NaN for others."""
        index = np.array([self._index.get(operator.key, -1) for operator in operators], dtype=np.int64)
        known = index >= 0
        return KernelPrediction(np.where(known, self.ms[index], np.nan), known)

    def save(self, folder: Path) -> None:
        """Write `lookup.json`."""
        table = dict(zip(self.keys, self.ms.tolist(), strict=True))
        (folder / "lookup.json").write_text(json.dumps({"schema": _SCHEMA, "unit": "ms", "kernels": table}, indent=1))

    @staticmethod
    def load(folder: Path) -> Lookup:
        """Read `lookup.json`."""
        try:
            data = json.loads((folder / "lookup.json").read_text())
            if data["schema"] != _SCHEMA:
                raise SchemaMismatch(
                    f"{folder}/lookup.json has schema {data['schema']!r}; this version reads {_SCHEMA!r}"
                )
            return Lookup(tuple(data["kernels"]), np.array(list(data["kernels"].values()), dtype=np.float64))
        except (OSError, ValueError, KeyError) as error:
            raise SchemaMismatch(
                f"cannot read {folder}/lookup.json: {error}", hint="Fit the predictor again."
            ) from error

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys)}


MODEL = Lookup
