"""What we believe about a device: predictors of cost, with intervals, learned from what was measured.

Example:
    >>> import device_profiles, profiler, predictors
    >>> target = device_profiles.load("local-onnxruntime")
    >>> with profiler.Store("runs/demo.db") as store:                                              # doctest: +SKIP
    ...     predictors.fit("lookup", store, target=target, space=space).save("runs/latency")

It learns and predicts. It does not measure, and it does not know what a search wants; importing it imports nothing
heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predictors import testing, transfer
    from predictors.architectures import EncodingPredictor
    from predictors.evaluation import Evaluation, evaluate
    from predictors.loading import load
    from predictors.prediction import Prediction
    from predictors.predictor import Predictor, fit, for_space, sign

__all__ = [
    "EncodingPredictor", "Evaluation", "Prediction", "Predictor", "evaluate", "fit", "for_space", "load", "names",
    "sign", "testing", "transfer",
]  # fmt: skip

_HOMES = {
    "evaluation": ("Evaluation", "evaluate"),
    "architectures": ("EncodingPredictor",),
    "loading": ("load",),
    "prediction": ("Prediction",),
    "predictor": ("Predictor", "fit", "for_space", "sign"),
}


def names() -> tuple[str, ...]:
    """All registered predictors."""
    from predictors import registry

    return registry.names()


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in ("testing", "transfer"):
        return import_module(f"predictors.{name}")
    for home, exported in _HOMES.items():
        if name in exported:
            value = getattr(import_module(f"predictors.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'predictors' has no attribute {name!r}")
