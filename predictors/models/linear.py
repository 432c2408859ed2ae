"""The simplest model that learns: a line for each kind of kernel. A baseline for those that learn more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from device_profiles.errors import InvalidTable
from predictors.kind_lines import Lines
from predictors.models.protocol import KernelPrediction, KernelSamples, require_costs
from predictors.sealed import read_json, understood
from profiler.operators import Operator

_SCHEMA = "hwnas.linear/1"
_REMEDY = "Fit the predictor again."


@dataclass(frozen=True)
class Linear:
    """Lines by kind of kernel, see `predictors.kind_lines`."""

    composed: ClassVar[bool] = True

    lines: Lines

    @staticmethod
    def fit(samples: KernelSamples) -> Linear:
        """Fit the lines.

        Raises:
            InvalidTable: there are no samples, or one is not positive and finite.
        """
        if not samples.operators:
            raise InvalidTable("a line needs measured kernels", hint="Profile some networks first.")
        require_costs(samples)
        return Linear(Lines.fit(samples))

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Times on the lines; kinds without one of their own take the common one and are not known."""
        return KernelPrediction(*self.lines.predict(operators))

    def save(self, folder: Path) -> None:
        """Write `linear.json`."""
        (folder / "linear.json").write_text(json.dumps({"schema": _SCHEMA, **self.lines.to_plain()}, indent=1))

    @staticmethod
    def load(folder: Path) -> Linear:
        """Read `linear.json`."""
        path = folder / "linear.json"
        data = read_json(path, _SCHEMA, _REMEDY)
        with understood(f"cannot read {path}", _REMEDY):
            return Linear(Lines.from_plain(data))


MODEL = Linear
