"""`hwnas predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas_cli.answer import Answer, Json, answers, table
from hwnas_cli.model_files import Batch, Dims, Inputs, Shapes, asked_of

if TYPE_CHECKING:
    from device_profiles.errors import HwnasError
    from predictors import EncodingPredictor, Prediction
    from predictors.architectures import Archs
    from profiler.model_files import Asked

#: What was asked for, under the name that the answer gives it: `{"model": path}` or `{"arch": text}`.
Name = dict[str, str]
#: What was predicted, and what cannot be, each with its name.
Predicted = tuple[list[dict[str, Any]], list[tuple[Name, "HwnasError"]]]


@answers("predict")
def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A predictor's folder.")],
    model: Annotated[list[Path] | None, typer.Option(help="ONNX files.")] = None,
    arch: Annotated[list[str] | None, typer.Option(help="Architectures, as text of the space or integers.")] = None,
    target: Annotated[str | None, typer.Option(help="Refuse if the predictor is of another target.")] = None,
    shape: Shapes = None,
    dim: Dims = None,
    batch: Batch = None,
    inputs: Inputs = None,
    as_json: Json = False,
) -> Answer:
    """Predict models or architectures.

    Each with its interval, and what the predictor does not know of it. One that cannot be predicted is named, and the
    others are answered.

    Examples:

        hwnas predict runs/latency --arch "4,2,3,3,0,1"

        hwnas predict runs/latency --model mobilenet.onnx --json

        hwnas predict runs/latency --model detector.onnx --shape images=1x3x320x320
    """
    import predictors
    from device_profiles.errors import UsageError
    from predictors import trust

    if bool(model) == bool(arch):
        raise UsageError("say what to predict in one way", hint="Give --model FILE or --arch TEXT.")
    asked = asked_of(shape, dim, batch, inputs, model)
    loaded = predictors.load(folder)
    if target is not None:
        loaded.require_target(target)
    rows, refused = _architectures(loaded, arch) if arch else _models(loaded, model or (), asked)
    failed = [
        {**name, "type": type(error).__name__, "reason": error.message, "hint": error.hint} for name, error in refused
    ]
    found = [row["coverage"] for row in rows]
    missing = [row["missing"] for row in rows if row["coverage"] < trust.LEAST_COVERAGE]
    warning = trust.warning(loaded.card.cost, found, missing, cost=loaded.card.cost)
    data = {"predictions": rows, "failed": failed, "warning": warning}
    sensor = getattr(loaded.card, "sensor", None)
    if sensor is not None:
        data["sensor"] = sensor
    lines = [f"failed: {_called(row)}: {row['reason']}" for row in failed]
    if not rows:
        last = refused[-1][1]
        return Answer(data, "\n".join(lines), last.exit_code, last)
    shown = [
        [
            _called(row),
            f"{row['value']:.4g}",
            "-" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}",
            f"{row['coverage']:.0%}",
            str(len(row["missing"])),
        ]
        for row in rows
    ]
    heads = ["", f"{loaded.card.cost} [{rows[0]['unit']}]", "90 % interval", "coverage", "unknown kernels"]
    lines += [] if warning is None else [f"warning: {warning}"]
    lines += [] if sensor is None else [f"energy, net of idling, by {sensor}"]
    return Answer(data, "\n".join([table(heads, shown), *lines]))


def _models(loaded: EncodingPredictor, paths: Sequence[Path], asked: Asked | None) -> Predicted:
    """Files one by one, so that a bad one costs itself alone."""
    from device_profiles.errors import InvalidData, InvalidModel, UsageError
    from predictors import Predictor

    if not isinstance(loaded, Predictor):
        raise UsageError(f"a {loaded.card.predictor} takes no files", hint="Give architectures: --arch TEXT.")
    rows: list[dict[str, Any]] = []
    refused: list[tuple[Name, HwnasError]] = []
    for path in paths:
        name = {"model": str(path)}
        try:
            rows += _rows([name], loaded.predict(path, asked=asked))
        except InvalidData as error:
            refused.append((name, error))
        except OSError as error:
            refused.append((name, InvalidModel(f"cannot read {path}: {error}", hint="Give a file that can be read.")))
    return rows, refused


def _architectures(loaded: EncodingPredictor, texts: Sequence[str]) -> Predicted:
    """Those that the space can read, all at once."""
    import numpy as np

    import nas
    from device_profiles.errors import HwnasError, UsageError

    card = loaded.card
    if card.choices is None:
        raise UsageError("this predictor was fitted without a space", hint="Fit it with --space NAME.")
    choices, space = card.choices, card.space
    read = (lambda text: _genes(text, choices)) if space is None else nas.spaces.load(space).parse
    names: list[Name] = []
    genomes = []
    refused: list[tuple[Name, HwnasError]] = []
    for text in texts:
        try:
            genomes.append(read(text))
            names.append({"arch": text})
        except HwnasError as error:
            refused.append(({"arch": text}, error))
    return (_rows(names, loaded.predict(np.array(genomes))) if genomes else []), refused


def _genes(text: str, choices: tuple[int, ...]) -> Archs:
    """An architecture of a space that nobody named, `(d,)`, from integers with commas.

    Raises:
        UsageError: it is none.
    """
    import numpy as np

    from device_profiles.errors import UsageError

    words = text.split(",")
    if len(words) != len(choices) or not all(word.strip().isdecimal() for word in words):
        raise UsageError(
            f"{text!r} is no architecture of {len(choices)} genes",
            hint="The predictor does not say of which space it speaks: give the numbers of options, with commas.",
        )
    return np.array([int(word) for word in words], dtype=np.int64)


def _rows(names: Sequence[Name], prediction: Prediction) -> list[dict[str, Any]]:
    return [
        {
            **name,
            "value": float(prediction.value[i]),
            "low": None if prediction.low is None else float(prediction.low[i]),
            "high": None if prediction.high is None else float(prediction.high[i]),
            "unit": prediction.unit,
            "coverage": float(prediction.coverage[i]),
            "missing": list(prediction.missing[i]),
        }
        for i, name in enumerate(names)
    ]


def _called(row: dict[str, Any]) -> str:
    return str(row.get("arch") or row.get("model"))
