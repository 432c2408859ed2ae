"""The conformance kit for encodings: predictions of architectures as integer vectors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from predictors.encodings.protocol import Encoding
from predictors.prediction import Prediction
from predictors.testing.costs import check_differentiable_cost
from predictors.testing.files import require

Archs = NDArray[np.int64]

_ROUNDING = 1e-9


def check_encoding(encoding: Encoding, archs: Archs, model: Any, unit: str) -> None:
    """Hold an encoding to `predictors.encodings.protocol`.

    Args:
        encoding: what is checked.
        archs: `(n, d)`, some genomes of its space, at least 2.
        model: of graphs, that it was made with.
        unit: of the cost.

    Raises:
        AssertionError: it breaks the protocol; the message says how.
    """
    found = encoding.predict(archs)
    _check_prediction(found, archs, unit)
    alone = np.concatenate([encoding.predict(archs[i : i + 1]).value for i in range(len(archs))])
    require(
        np.allclose(alone, found.value, rtol=_ROUNDING), "rows", "a row is predicted otherwise alone than among others"
    )
    require(len(encoding.predict(archs[:0]).value) == 0, "no rows", "no architectures must give no values")
    choices = np.array(encoding.choices)
    for what, bad in (
        ("a gene beyond its options", np.tile(choices, (1, 1))),
        ("a gene below 0", np.full((1, len(choices)), -1)),
        ("too few genes", archs[:, :-1]),
    ):
        try:
            encoding.predict(bad)
        except UsageError:
            continue
        require(False, "refusals", f"{what} must be a UsageError")
    check_differentiable_cost(encoding.differentiable(), encoding.predict)
    with tempfile.TemporaryDirectory() as place:
        encoding.save(Path(place))
        back = type(encoding).load(Path(place), encoding.choices, model, unit)
    _check_same(back.predict(archs), found)


def _check_prediction(found: Prediction, archs: Archs, unit: str) -> None:
    count = len(archs)
    require(found.unit == unit, "unit", f"it speaks of {found.unit!r}, the cost is in {unit!r}")
    require(found.value.shape == (count,), "shape", f"{count} architectures gave values {found.value.shape}")
    require(bool((np.isfinite(found.value) & (found.value > 0)).all()), "values", "a cost is not above 0 and finite")
    require(bool(((found.coverage >= 0) & (found.coverage <= 1 + _ROUNDING)).all()), "coverage", "it must be in 0..1")
    require(len(found.missing) == count, "missing", "each architecture has its own keys")
    require((found.low is None) == (found.high is None), "interval", "both ends must be there, or neither")
    if found.low is not None and found.high is not None:
        holds = (found.low <= found.value) & (found.value <= found.high) & (found.low >= 0)
        require(bool(holds.all()), "interval", "an interval does not hold its value, or is below 0")


def _check_same(back: Prediction, found: Prediction) -> None:
    for name in ("value", "low", "high", "coverage"):
        one, other = getattr(back, name), getattr(found, name)
        same = one is other if one is None or other is None else np.array_equal(one, other)
        require(bool(same), "files", f"{name} is another when it was saved and read")
    require(back.missing == found.missing, "files", "missing is another when it was saved and read")
