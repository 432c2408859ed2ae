"""The conformance kits for predictions of architectures as integer vectors: encodings, and whatever is loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import ConditionMismatch, HwnasError, UsageError
from predictors.architectures import EncodingPredictor
from predictors.encodings.protocol import Encoding
from predictors.loading import load
from predictors.prediction import UNITS, Prediction
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
    found = _check_rows(encoding.predict, archs, encoding.choices, unit)
    _check_gradients(encoding)
    with tempfile.TemporaryDirectory() as place:
        encoding.save(Path(place))
        back = type(encoding).load(Path(place), encoding.choices, model, unit)
    _check_same(back.predict(archs), found)


def check_encoding_predictor(predictor: EncodingPredictor, archs: Archs, *, features: Any = None) -> None:
    """Hold what predicts architectures to `predictors.architectures`.

    Args:
        predictor: what is checked.
        archs: `(n, d)`, some genomes of its space, at least 2.
        features: structural features that it was made with.

    Raises:
        AssertionError: it breaks the protocol; the message says how.
    """
    card = predictor.card
    require(UNITS.get(card.cost) == card.unit, "card", f"{card.cost!r} is not a cost in {card.unit!r}")
    require(card.predictor and card.choices, "card", "it must have a name, and options per gene")
    found = _check_rows(predictor.predict, archs, card.choices or (), card.unit)
    _check_same(predictor.predict(archs, missing="guess"), found)
    _refused(lambda: predictor.predict(archs, missing="ignore"), UsageError, "a way of missing kernels that is none")
    if not any(found.missing):
        _check_same(predictor.predict(archs, missing="raise"), found)
    _refused(lambda: predictor.require_target("no target has this name"), ConditionMismatch, "another target")
    if card.target is not None:
        predictor.require_target(card.target)
    if features is None:
        _check_gradients(predictor)
    with tempfile.TemporaryDirectory() as place:
        predictor.save(Path(place) / "saved")
        back = load(Path(place) / "saved", features=features)
    require(type(back) is type(predictor), "load", f"it comes back as {type(back).__name__}")
    for name in ("predictor", "cost", "unit", "target", "space", "choices"):
        one, other = getattr(back.card, name), getattr(card, name)
        require(one == other, "load", f"{name} of its card is {one!r} when it was saved and read, and was {other!r}")
    _check_same(back.predict(archs), found)


def _check_gradients(told: Encoding | EncodingPredictor) -> None:
    """Those that it has; it may say that it has none."""
    try:
        cost = told.differentiable()
    except UsageError:
        return
    check_differentiable_cost(cost, told.predict)


def _check_rows(
    predict: Callable[[Archs], Prediction], archs: Archs, choices: tuple[int, ...], unit: str
) -> Prediction:
    """Predictions row by row, and refusals of what is outside of the space."""
    found = predict(archs)
    _check_prediction(found, archs, unit)
    alone = np.concatenate([predict(archs[i : i + 1]).value for i in range(len(archs))])
    require(
        np.allclose(alone, found.value, rtol=_ROUNDING), "rows", "a row is predicted otherwise alone than among others"
    )
    require(len(predict(archs[:0]).value) == 0, "no rows", "no architectures must give no values")
    for what, bad in (
        ("a gene beyond its options", np.array([choices])),
        ("a gene below 0", np.full((1, len(choices)), -1)),
        ("too few genes", archs[:, :-1]),
    ):
        _refused(partial(predict, bad), UsageError, what)
    return found


def _refused(ask: Callable[[], object], kind: type[HwnasError], what: str) -> None:
    try:
        ask()
    except kind:
        return
    require(False, "refusals", f"{what} must be a {kind.__name__}")


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
