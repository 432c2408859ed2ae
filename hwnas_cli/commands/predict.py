"""`hwnas predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers, table


@answers("predict")
def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A predictor's folder.")],
    model: Annotated[list[Path] | None, typer.Option(help="ONNX files.")] = None,
    arch: Annotated[list[str] | None, typer.Option(help="Architectures, as text of the space or integers.")] = None,
    target: Annotated[str | None, typer.Option(help="Refuse if the predictor is of another target.")] = None,
    as_json: Json = False,
) -> Answer:
    """Predict models or architectures.

    Each with its interval, and what the predictor does not know of it.

    Examples:

        hwnas predict runs/latency --arch "4,2,3,3,0,1"

        hwnas predict runs/latency --model mobilenet.onnx --json
    """
    import numpy as np

    import nas
    import predictors
    from device_profiles.errors import UsageError

    if bool(model) == bool(arch):
        raise UsageError("say what to predict in one way", hint="Give --model FILE or --arch TEXT.")
    loaded = predictors.load(folder)
    if target is not None:
        loaded.require_target(target)
    if arch:
        if loaded.card.space is None:
            raise UsageError("this predictor was fitted without a space", hint="Fit it with --space NAME.")
        space = nas.spaces.load(loaded.card.space)
        prediction = loaded.predict(np.array([space.parse(text) for text in arch]))
        names = [("arch", text) for text in arch]
    else:
        prediction = loaded.predict(list(model or ()))
        names = [("model", str(path)) for path in model or ()]
    rows = [
        {
            kind: name,
            "value": float(prediction.value[i]),
            "low": None if prediction.low is None else float(prediction.low[i]),
            "high": None if prediction.high is None else float(prediction.high[i]),
            "unit": prediction.unit,
            "coverage": float(prediction.coverage[i]),
            "missing": list(prediction.missing[i]),
        }
        for i, (kind, name) in enumerate(names)
    ]
    shown = [
        [
            name,
            f"{row['value']:.4g}",
            "-" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}",
            f"{row['coverage']:.0%}",
            str(len(prediction.missing[i])),
        ]
        for i, ((_, name), row) in enumerate(zip(names, rows, strict=True))
    ]
    heads = ["", f"{loaded.card.cost} [{prediction.unit}]", "90 % interval", "coverage", "unknown kernels"]
    return Answer({"predictions": rows}, table(heads, shown))
