"""Gradient-boosted trees on the utilisation of the roofline, in log space, monotone in work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from device_profiles.errors import InvalidTable, SchemaMismatch
from predictors import features
from predictors.models.protocol import DeviceFacts, KernelPrediction, KernelSamples, require_times
from profiler.operators import Operator

_SCHEMA = "hwnas.lightgbm/1"
ROUNDS = 300
LEAST_KERNELS = 8


@dataclass(frozen=True)
class LightGbm:
    """`time = speed of light / utilisation`, the utilisation learned in log space.

    Source: Ke et al., "LightGBM", NeurIPS 2017; learning the utilisation instead of the time is AIConfigurator's and
        NeuSight's
    (Lee et al., ASPLOS 2025, section 4) lesson.

    Attributes:
        text: the booster in LightGBM's own text form.
        kinds: kinds of kernels among the samples.
        device: speed of light.
    """

    composed: ClassVar[bool] = True

    text: str
    kinds: tuple[str, ...]
    device: DeviceFacts

    @staticmethod
    def fit(samples: KernelSamples) -> LightGbm:
        """Train, deterministic, on one thread.

        Raises:
            InvalidTable: fewer than 8 kernels, or a time that is not positive and finite.
        """
        import lightgbm

        if len(samples.operators) < LEAST_KERNELS:
            raise InvalidTable(
                f"lightgbm needs at least {LEAST_KERNELS} measured kernels, got {len(samples.operators)}",
                hint="Profile more networks, or fit 'linear'.",
            )
        require_times(samples)
        kinds = tuple(sorted({operator.kind for operator in samples.operators}))
        columns = _columns(samples.operators, kinds, samples.device)
        target = np.log(samples.ms) - _log_light(samples.operators, samples.device)
        settings = {
            "objective": "regression",
            "learning_rate": 0.08,
            "num_leaves": 15,
            "min_data_in_leaf": 2 if len(samples.operators) < 200 else 5,
            "min_data_in_bin": 1,
            "lambda_l2": 0.05,
            "monotone_constraints": [int(name in features.MONOTONE) for name in features.NAMES] + [0],
            "monotone_constraints_method": "advanced",
            "seed": 0,
            "deterministic": True,
            "num_threads": 1,
            "verbosity": -1,
        }
        data = lightgbm.Dataset(
            columns, label=target, weight=np.sqrt(samples.weights), categorical_feature=[columns.shape[1] - 1]
        )
        booster = lightgbm.train(settings, data, num_boost_round=ROUNDS)
        return LightGbm(booster.model_to_string(), kinds, samples.device)

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Times of any kernels; kinds that were not among the samples are not known."""
        if not operators:
            return KernelPrediction(np.empty(0), np.empty(0, dtype=np.bool_))
        log_utilisation = self._booster.predict(_columns(operators, self.kinds, self.device), num_threads=1)
        known = np.array([operator.kind in self.kinds for operator in operators], dtype=np.bool_)
        return KernelPrediction(np.exp(_log_light(operators, self.device) + log_utilisation), known)

    def save(self, folder: Path) -> None:
        """Write `lightgbm.txt` and `lightgbm.json`."""
        (folder / "lightgbm.txt").write_text(self.text)
        data = {
            "schema": _SCHEMA,
            "features": features.SCHEMA,
            "kinds": self.kinds,
            "sha256": _digest(self.text),
            "device": {"flops_per_s": self.device.flops_per_s, "bytes_per_s": self.device.bytes_per_s},
        }
        (folder / "lightgbm.json").write_text(json.dumps(data, indent=1))

    @staticmethod
    def load(folder: Path) -> LightGbm:
        """Read what `save` wrote."""
        try:
            data = json.loads((folder / "lightgbm.json").read_text())
            if data["schema"] != _SCHEMA or data["features"] != features.SCHEMA:
                raise SchemaMismatch(
                    f"{folder}/lightgbm.json has schema {data['schema']!r} and features {data['features']!r}; "
                    f"this version reads {_SCHEMA!r} and {features.SCHEMA!r}",
                    hint="Fit the predictor again.",
                )
            text = (folder / "lightgbm.txt").read_text()
            # LightGBM ends the process, not the call, where a model's text is cut short.
            if _digest(text) != data["sha256"]:
                raise SchemaMismatch(f"{folder}/lightgbm.txt is damaged", hint="Fit the predictor again.")
            return LightGbm(text, tuple(data["kinds"]), DeviceFacts(**data["device"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SchemaMismatch(
                f"cannot read {folder}/lightgbm.json: {error}", hint="Fit the predictor again."
            ) from error

    @cached_property
    def _booster(self) -> Any:
        import lightgbm

        return lightgbm.Booster(model_str=self.text)


MODEL = LightGbm


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _columns(operators: Sequence[Operator], kinds: tuple[str, ...], device: DeviceFacts) -> Any:
    kind = np.array([kinds.index(operator.kind) if operator.kind in kinds else np.nan for operator in operators])
    return np.column_stack([features.features(operators, device), kind])


def _log_light(operators: Sequence[Operator], device: DeviceFacts) -> Any:
    return np.log([features.roofline_ms(operator, device) for operator in operators])
