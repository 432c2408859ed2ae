"""`hwnas evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers


@answers("evaluate")
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A predictor's folder.")],
    store: Annotated[str, typer.Option(help="Measurements to hold it against.")],
    compare: Annotated[str | None, typer.Option(help="Further predictors beside the baselines, with commas.")] = None,
    as_json: Json = False,
) -> Answer:
    """Hold a predictor against measured networks.

    Beside baselines, and beside the noise of measuring itself.

    Networks that it was fitted on do not count; if the store has no others, it is cross-validated.

    Examples:

        hwnas evaluate runs/latency --store runs/a.db

        hwnas evaluate runs/latency --store runs/unseen.db --compare lightgbm
    """
    from dataclasses import asdict

    import predictors
    import profiler

    names = tuple(name.strip() for name in compare.split(",") if name.strip()) if compare else ()
    with profiler.Store(store, create=False) as opened:
        found = predictors.evaluate(predictors.load(folder), opened, compare=names)
    baselines = {name: {**asdict(scores), "noise_mape": found.noise_mape} for name, scores in found.baselines.items()}
    data = {
        "predictor": found.predictor,
        "target": found.target,
        **asdict(found.scores),
        "noise_mape": found.noise_mape,
        "split": found.split,
        "baselines": baselines,
    }
    return Answer(data, found.table())
