"""Measured kernels as they are; others by boosted trees and a smooth surface on the utilisation of the roofline."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable
from device_profiles.reading import read_bytes
from predictors import features, kind_surfaces
from predictors.kind_lines import Lines
from predictors.kind_surfaces import Surface
from predictors.models.protocol import DeviceFacts, Floats, KernelPrediction, KernelSamples, require_costs
from predictors.sealed import check_numbers, floats, read_json, read_tensors, understood
from profiler.operators import Operator

_SCHEMA, _BEFORE = "hwnas.lightgbm/3", "hwnas.lightgbm/2"
_REMEDY = "Fit the predictor again."
ROUNDS = 250
LEAST_KERNELS = 8
#: Fewest kernels for quantiles of their own; with fewer all kernels are taken as equally unsure.
LEAST_FOR_QUANTILES = 60
#: Least spread, in the log of the cost.
LEAST_SPREAD = 0.02

#: Arrays of a surface.
_PARTS = ("points", "weights", "center", "scale")

#: The boosters: with the kernel's kind, without it, and the two quantiles.
_BOOSTERS = ("kinds", "any", "low", "high")


@dataclass(frozen=True)
class LightGbm:
    """`cost = speed of light / utilisation`, the utilisation learned in log space.

    Of each kind a line in its work says what of the roofline is reached (`predictors.kind_lines`). What that leaves is
    learned twice and averaged: by boosted trees, monotone in work, which find steps; and by a Gaussian process, which
    is smooth and goes back to the line where nothing was measured (`predictors.kind_surfaces`). Where runtimes say how
    they do a kernel (`features.way`), trees see it, and ways that were measured often have surfaces of their own.

    A kernel among the samples keeps its measured cost. One of an unknown kind is predicted by trees that see sizes
    alone and by the line of all kernels, and is not known. Two more boosters, for the quantiles 0.05 and 0.95, say
    where the model is less sure.

    Source: Ke et al., "LightGBM", NeurIPS 2017; the utilisation in place of the time: Lee et al., "Forecasting GPU
        performance for deep learning training and inference" (NeuSight), ASPLOS 2025, section 4; the quantiles:
        Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978. The average with a smooth surface is ours.

    Attributes:
        texts: the boosters in LightGBM's own text form, by name.
        lines: by kind of kernel.
        surfaces: by family of kernels (`features.family`), and by family and way.
        kinds: kinds of kernels among the samples.
        ways: the ways among them; None for models of before these were learned from.
        table: costs of the samples by the kernel's key.
        device: speed of light.
    """

    composed: ClassVar[bool] = True

    texts: Mapping[str, str]
    lines: Lines
    surfaces: Mapping[str, Surface]
    kinds: tuple[str, ...]
    ways: tuple[str, ...] | None
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
        ways = tuple(sorted({features.way(operator) for operator in samples.operators}))
        lines = Lines.fit(samples)
        columns = _columns(samples.operators, kinds, ways, samples.device, lines)
        target = np.log(samples.cost) - columns[:, _LINE]
        weight = np.sqrt(samples.weights)
        plain = np.log(samples.cost) - columns[:, _LIGHT]
        texts = {
            "kinds": _train(columns, target, weight, {"objective": "regression"}),
            "any": _train(columns[:, :_LINE], plain, weight, {"objective": "regression"}),
        }
        if len(target) >= LEAST_FOR_QUANTILES:
            for name, alpha in (("low", 0.05), ("high", 0.95)):
                texts[name] = _train(columns, target, weight, {"objective": "quantile", "alpha": alpha})
        surfaces = _surfaces_of(samples.operators, columns, target)
        table = {operator.key: float(cost) for operator, cost in zip(samples.operators, samples.cost, strict=True)}
        return LightGbm(texts, lines, surfaces, kinds, ways, table, samples.device)

    def predict(self, operators: Sequence[Operator]) -> KernelPrediction:
        """Costs of any kernels; kinds that were not among the samples are not known."""
        if not operators:
            return KernelPrediction(np.empty(0), np.empty(0, dtype=np.bool_))
        columns = _columns(operators, self.kinds, self.ways, self.device, self.lines)
        kinds = [operator.kind for operator in operators]
        known = np.array([kind in self.kinds for kind in kinds], dtype=np.bool_)
        trees = self._ask("kinds", columns)
        surface, has = kind_surfaces.predict(
            self.surfaces, columns, [self._surface(operator) for operator in operators]
        )
        log_cost = columns[:, _LINE] + np.where(has, 0.5 * (trees + surface), trees)
        blind = 0.5 * (columns[:, _LIGHT] + self._ask("any", columns[:, :_LINE]) + columns[:, _LINE])
        log_cost = np.where(known, log_cost, blind)
        spread = np.ones(len(operators))
        if "low" in self.texts:
            width = (self._ask("high", columns) - self._ask("low", columns)) / 2
            spread = np.maximum(width, LEAST_SPREAD)
        measured = np.array([self.table.get(operator.key, np.nan) for operator in operators])
        return KernelPrediction(np.where(np.isnan(measured), np.exp(log_cost), measured), known, spread)

    def save(self, folder: Path) -> None:
        """Write `lightgbm.json`, `lightgbm.safetensors`, and a text file for each booster."""
        from safetensors.numpy import save_file

        tensors = {}
        for number, kind in enumerate(sorted(self.surfaces)):
            surface = self.surfaces[kind]
            for name in _PARTS:
                tensors[f"{number}.{name}"] = np.ascontiguousarray(getattr(surface, name))
        save_file(tensors, folder / "lightgbm.safetensors")
        for name, text in self.texts.items():
            (folder / f"lightgbm-{name}.txt").write_text(text)
        data = {
            "schema": _SCHEMA,
            "features": features.SCHEMA,
            "kinds": self.kinds,
            "ways": self.ways,
            "sha256": {name: _digest(text) for name, text in self.texts.items()},
            "device": {"flops_per_s": self.device.flops_per_s, "bytes_per_s": self.device.bytes_per_s},
            "lines": self.lines.to_plain(),
            "lengths": {kind: self.surfaces[kind].length for kind in sorted(self.surfaces)},
            "table": dict(self.table),
        }
        (folder / "lightgbm.json").write_text(json.dumps(data, indent=1))

    @staticmethod
    def load(folder: Path) -> LightGbm:
        """Read what `save` wrote."""
        path = folder / "lightgbm.json"
        data = read_json(path, _SCHEMA, _REMEDY, older=(_BEFORE,))
        with understood(f"cannot read {path}", _REMEDY):
            ways = data.get("ways")
            if data["features"] != features.SCHEMA:
                raise ValueError(f"features are {data['features']!r}; this version reads {features.SCHEMA!r}")
            names = [name for name in _BOOSTERS if name in data["sha256"]]
            if names[:2] != list(_BOOSTERS[:2]) or len(names) == 3:
                raise ValueError(f"boosters are {_BOOSTERS[:2]} or all of {_BOOSTERS}, not {names}")
            texts = {name: read_bytes(folder / f"lightgbm-{name}.txt").decode() for name in names}
            # LightGBM ends the process, not the call, where a model's text is cut short.
            for name, text in texts.items():
                if _digest(text) != data["sha256"][name]:
                    raise ValueError(f"lightgbm-{name}.txt is damaged")
            table = data["table"]
            check_numbers("costs of kernels", tuple(table.values()), len(table), least=sys.float_info.min)
            return LightGbm(
                texts,
                Lines.from_plain(data["lines"]),
                _surfaces(folder, data["lengths"]),
                tuple(map(str, data["kinds"])),
                None if ways is None else tuple(map(str, ways)),
                {key: float(cost) for key, cost in table.items()},
                DeviceFacts.from_plain(data["device"]),
            )

    def _surface(self, operator: Operator) -> str:
        """The surface that knows most of a kernel; its family's, if any, where its way was seen too seldom."""
        family = features.family(operator)
        own = _in_its_way(family, operator)
        return own if own in self.surfaces else family

    def _ask(self, name: str, columns: Floats) -> Floats:
        return np.asarray(self._boosters[name].predict(columns, num_threads=1), dtype=np.float64)

    @cached_property
    def _boosters(self) -> dict[str, Any]:
        import lightgbm

        return {name: lightgbm.Booster(model_str=text) for name, text in self.texts.items()}


MODEL = LightGbm


def _surfaces(folder: Path, lengths: Mapping[str, Any]) -> dict[str, Surface]:
    """The surfaces by kind, in the order in which they were written.

    Raises:
        ValueError: a tensor has another shape, or holds what is no finite number.
    """
    tensors, _ = read_tensors(folder / "lightgbm.safetensors")
    check_numbers("lengths", tuple(lengths.values()), len(lengths), least=sys.float_info.min)
    if len(tensors) != len(lengths) * len(_PARTS):
        raise ValueError(f"there are {len(tensors)} tensors for {len(lengths)} surfaces")
    found = {}
    for number, (kind, length) in enumerate(sorted(lengths.items())):
        points, weights, center = (floats(tensors, f"{number}.{name}") for name in ("points", "weights", "center"))
        scale = tensors[f"{number}.scale"]  # infinite where a column does not differ
        if scale.dtype.kind != "f" or not (scale > 0).all():
            raise ValueError(f"scales of {kind} are not above 0")
        count, columns = len(weights), len(center)
        if weights.ndim != 1 or points.shape != (count, columns) or center.shape != scale.shape or center.ndim != 1:
            raise ValueError(f"the surface of {kind} has parts of other shapes")
        found[kind] = Surface(points, weights, center, scale, float(length))
    return found


#: Columns: the features, the log of the line, the kind, the way.
_LIGHT, _LINE = features.NAMES.index("log_roofline_ms"), len(features.NAMES)


def _train(columns: Floats, target: Floats, weight: Floats, objective: Mapping[str, Any]) -> str:
    """A booster as text."""
    import lightgbm

    width = columns.shape[1]
    named = [features.NAMES.index(name) for name in features.CATEGORICAL] + list(range(_LINE + 1, width))
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
        rest = [0] * (width - _LINE)
        settings["monotone_constraints"] = [int(name in features.MONOTONE) for name in features.NAMES] + rest
        settings["monotone_constraints_method"] = "advanced"
    data = lightgbm.Dataset(columns, label=target, weight=weight, categorical_feature=named)
    return str(lightgbm.train(settings, data, num_boost_round=ROUNDS).model_to_string())


def _columns(
    operators: Sequence[Operator],
    kinds: tuple[str, ...],
    ways: tuple[str, ...] | None,
    device: DeviceFacts,
    lines: Lines,
) -> NDArray[np.float64]:
    """The features, the log of the line, and numbers of names: models of before ways were told have none of these."""
    names = [_numbers(kinds, [operator.kind for operator in operators])]
    if ways is not None:
        names.append(_numbers(ways, list(map(features.way, operators))))
    return np.column_stack([features.features(operators, device), np.log(lines.predict(operators)[0]), *names])


def _numbers(known: tuple[str, ...], names: Sequence[str]) -> Floats:
    """The place of each name among those that are known, or NaN."""
    number = {name: index for index, name in enumerate(known)}
    return np.array([number.get(name, np.nan) for name in names])


def _surfaces_of(operators: Sequence[Operator], columns: Floats, target: Floats) -> dict[str, Surface]:
    """Those of families, and of the ways of families that have several."""
    families = list(map(features.family, operators))
    ways = list(map(_in_its_way, families, operators))
    every = Counter(families + ways)
    several = [row for row, family in enumerate(families) if every[ways[row]] < every[family]]
    return {
        **kind_surfaces.fit(columns, target, families),
        **kind_surfaces.fit(columns[several], target[several], [ways[row] for row in several]),
    }


def _in_its_way(family: str, operator: Operator) -> str:
    return f"{family} {features.way(operator)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
