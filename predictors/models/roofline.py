"""The roofline: no samples at all, the device's speed of light alone.

The baseline that a model must beat to be worth its samples.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from predictors.features import roofline_ms
from predictors.models.protocol import DeviceFacts, KernelPrediction, KernelSamples
from predictors.sealed import read_json, understood
from profiler.operators import Operator

_SCHEMA = "hwnas.roofline/1"
_REMEDY = "Fit the predictor again."


@dataclass(frozen=True)
class Roofline:
    """The longer of computing and moving, for each kernel; networks are plain sums.

    Source: Williams et al., "Roofline: an insightful visual performance model", CACM 52(4), 2009.
    """

    composed: ClassVar[bool] = False

    device: DeviceFacts

    @staticmethod
    def fit(samples: KernelSamples) -> Roofline:
        """Keep the speed of light; the kernels are not looked at."""
        return Roofline(samples.device)

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Bounds from below, for any kernel."""
        return KernelPrediction(
            np.array([roofline_ms(operator, self.device) for operator in operators], dtype=np.float64),
            np.ones(len(operators), dtype=np.bool_),
        )

    def save(self, folder: Path) -> None:
        """Write `roofline.json`."""
        (folder / "roofline.json").write_text(json.dumps({"schema": _SCHEMA, **asdict(self.device)}))

    @staticmethod
    def load(folder: Path) -> Roofline:
        """Read `roofline.json`."""
        path = folder / "roofline.json"
        data = read_json(path, _SCHEMA, _REMEDY)
        with understood(f"cannot read {path}", _REMEDY):
            return Roofline(DeviceFacts.from_plain(data))


MODEL = Roofline
