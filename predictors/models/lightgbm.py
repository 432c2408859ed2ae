"""Measured kernels as they are; others by boosted trees on the utilisation of the roofline, monotone in work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable, SchemaMismatch
from predictors import features
from predictors.models.protocol import DeviceFacts, Floats, KernelPrediction, KernelSamples, require_costs
from profiler.operators import Operator

_SCHEMA = "hwnas.lightgbm/2"
ROUNDS = 250
LEAST_KERNELS = 8
#: Fewest kernels for quantiles of their own; with fewer all kernels are taken as equally unsure.
LEAST_FOR_QUANTILES = 60
#: Least spread, in the log of the cost.
LEAST_SPREAD = 0.02

#: The boosters: with the kernel's kind, without it, and the two quantiles.
_BOOSTERS = ("kinds", "any", "low", "high")


@dataclass(frozen=True)
class LightGbm:
    """`cost = speed of light / utilisation`, the utilisation learned in log space.

    A kernel among the samples keeps its measured cost. Another of a known kind is predicted by trees that see the kind
    and the sizes; one of an unknown kind by trees that see the sizes alone, and is not known. Two more boosters, for
    the quantiles 0.05 and 0.95, say where the model is less sure.

    Source: Ke et al., "LightGBM", NeurIPS 2017; the utilisation in place of the time: Lee et al., "Forecasting GPU
        performance for deep learning training and inference" (NeuSight), ASPLOS 2025, section 4; the quantiles:
        Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978.

    Attributes:
        texts: the boosters in LightGBM's own text form, by name.
        kinds: kinds of kernels among the samples.
        table: costs of the samples by the kernel's key.
        device: speed of light.
    """

    composed: ClassVar[bool] = True

    texts: Mapping[str, str]
    kinds: tuple[str, ...]
    table: Mapping[str, float]
    device: DeviceFacts

    @staticmethod
    def fit(samples: KernelSamples) -> LightGbm:
        """Train, deterministic, on one thread.

        Raises:
            InvalidTable: fewer than 8 kernels, or a cost that is not positive and finite.
        """
        if len(samples.operators) < LEAST_KERNELS:
            raise InvalidTable(
                f"lightgbm needs at least {LEAST_KERNELS} measured kernels, got {len(samples.operators)}",
                hint="Profile more networks, or fit 'linear'.",
            )
        require_costs(samples)
        kinds = tuple(sorted({operator.kind for operator in samples.operators}))
        columns = _columns(samples.operators, kinds, samples.device)
        target = np.log(samples.cost) - columns[:, _LIGHT]
        weight = np.sqrt(samples.weights)
        texts = {
            "kinds": _train(columns, target, weight, {"objective": "regression"}),
            "any": _train(columns[:, :-1], target, weight, {"objective": "regression"}),
        }
        if len(target) >= LEAST_FOR_QUANTILES:
            for name, alpha in (("low", 0.05), ("high", 0.95)):
                texts[name] = _train(columns, target, weight, {"objective": "quantile", "alpha": alpha})
        table = {operator.key: float(cost) for operator, cost in zip(samples.operators, samples.cost, strict=True)}
        return LightGbm(texts, kinds, table, samples.device)

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Costs of any kernels; kinds that were not among the samples are not known."""
        if not operators:
            return KernelPrediction(np.empty(0), np.empty(0, dtype=np.bool_))
        columns = _columns(operators, self.kinds, self.device)
        known = np.array([operator.kind in self.kinds for operator in operators], dtype=np.bool_)
        log_utilisation = np.where(known, self._ask("kinds", columns), self._ask("any", columns[:, :-1]))
        cost = np.exp(columns[:, _LIGHT] + log_utilisation)
        spread = np.ones(len(operators))
        if "low" in self.texts:
            width = (self._ask("high", columns) - self._ask("low", columns)) / 2
            spread = np.maximum(width, LEAST_SPREAD)
        measured = np.array([self.table.get(operator.key, np.nan) for operator in operators])
        return KernelPrediction(np.where(np.isnan(measured), cost, measured), known, spread)

    def save(self, folder: Path) -> None:
        """Write `lightgbm.json` and a text file for each booster."""
        for name, text in self.texts.items():
            (folder / f"lightgbm-{name}.txt").write_text(text)
        data = {
            "schema": _SCHEMA,
            "features": features.SCHEMA,
            "kinds": self.kinds,
            "sha256": {name: _digest(text) for name, text in self.texts.items()},
            "device": {"flops_per_s": self.device.flops_per_s, "bytes_per_s": self.device.bytes_per_s},
            "table": dict(self.table),
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
            names = [name for name in _BOOSTERS if name in data["sha256"]]
            if names[:2] != list(_BOOSTERS[:2]):
                raise KeyError(f"boosters {_BOOSTERS[:2]}, has {names}")
            texts = {name: (folder / f"lightgbm-{name}.txt").read_text() for name in names}
            # LightGBM ends the process, not the call, where a model's text is cut short.
            for name, text in texts.items():
                if _digest(text) != data["sha256"][name]:
                    raise SchemaMismatch(f"{folder}/lightgbm-{name}.txt is damaged", hint="Fit the predictor again.")
            table = {str(key): float(cost) for key, cost in data["table"].items()}
            return LightGbm(texts, tuple(data["kinds"]), table, DeviceFacts(**data["device"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SchemaMismatch(
                f"cannot read {folder}/lightgbm.json: {error}", hint="Fit the predictor again."
            ) from error

    def _ask(self, name: str, columns: Floats) -> Floats:
        return np.asarray(self._boosters[name].predict(columns, num_threads=1), dtype=np.float64)

    @cached_property
    def _boosters(self) -> dict[str, Any]:
        import lightgbm

        return {name: lightgbm.Booster(model_str=text) for name, text in self.texts.items()}


MODEL = LightGbm

_LIGHT = features.NAMES.index("log_roofline_ms")


def _train(columns: Floats, target: Floats, weight: Floats, objective: Mapping[str, Any]) -> str:
    """A booster as text; the last column is the kind where there is one more than the features have."""
    import lightgbm

    width = columns.shape[1]
    named = [features.NAMES.index(name) for name in features.CATEGORICAL]
    settings = {
        **objective,
        "learning_rate": 0.08,
        "num_leaves": 15,
        "min_data_in_leaf": 2 if len(target) < 200 else 4,
        "min_data_in_bin": 1,
        "min_data_per_group": 2,
        "cat_smooth": 1.0,
        "lambda_l2": 0.05,
        "feature_fraction": 0.7,
        "seed": 0,
        "deterministic": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    if objective["objective"] == "regression":
        rest = [0] * (width - len(features.NAMES))
        settings["monotone_constraints"] = [int(name in features.MONOTONE) for name in features.NAMES] + rest
        settings["monotone_constraints_method"] = "advanced"
    data = lightgbm.Dataset(
        columns, label=target, weight=weight, categorical_feature=named + list(range(len(features.NAMES), width))
    )
    return str(lightgbm.train(settings, data, num_boost_round=ROUNDS).model_to_string())


def _columns(operators: Sequence[Operator], kinds: tuple[str, ...], device: DeviceFacts) -> NDArray[np.float64]:
    number = {kind: index for index, kind in enumerate(kinds)}
    kind = np.array([number.get(operator.kind, np.nan) for operator in operators])
    return np.column_stack([features.features(operators, device), kind])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
