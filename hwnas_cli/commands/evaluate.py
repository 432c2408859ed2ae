"""`hwnas evaluate`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas_cli.answer import Answer, Json, answers
from hwnas_cli.options import LARGEST_SPLITS, count

if TYPE_CHECKING:
    from predictors import EncodingPredictor, Evaluation, Predictor
    from profiler import Store


@answers("evaluate")
def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A predictor's folder.")],
    store: Annotated[str, typer.Option(help="Measurements to hold it against.")],
    compare: Annotated[str | None, typer.Option(help="Predictors to hold beside it, with commas.")] = None,
    seeds: Annotated[int, count("Random splits of a comparison.", least=2, most=LARGEST_SPLITS)] = 5,
    page: Annotated[Path | None, typer.Option("--html", help="Write the comparison as a page.")] = None,
    as_json: Json = False,
) -> Answer:
    """Hold a predictor against measured networks.

    Beside baselines, and beside the noise of measuring itself.

    Networks that it was fitted on do not count; if the store has no others, it is cross-validated. With --compare all
    are fitted anew on the same random splits of the store's networks.

    Examples:

        hwnas evaluate runs/latency --store runs/a.db

        hwnas evaluate runs/latency --store runs/a.db --compare lightgbm,graph-network --html compare.html
    """
    from dataclasses import asdict

    import predictors
    import profiler
    from device_profiles import outputs
    from device_profiles.errors import UsageError

    names = tuple(name.strip() for name in compare.split(",") if name.strip()) if compare else ()
    if page is not None and not names:
        raise UsageError("--html needs --compare", hint="Name the predictors: --compare lookup,lightgbm.")
    if page is not None:
        outputs.check(page, outputs.PAGE)
    loaded = predictors.load(folder)
    with profiler.Store(store, create=False) as opened:
        if isinstance(loaded, predictors.Predictor):
            found = predictors.evaluate(loaded, opened, compare=names)
            compared = _compared(loaded, opened, names, seeds, page) if names else None
        else:
            found, compared = _of_architectures(loaded, opened, names), None
    baselines = {name: {**asdict(scores), "noise_mape": found.noise_mape} for name, scores in found.baselines.items()}
    data = {
        "predictor": found.predictor,
        "target": found.target,
        **asdict(found.scores),
        "noise_mape": found.noise_mape,
        "split": found.split,
        "baselines": baselines,
    }
    text = found.table()
    if compared is not None:
        fields, shown = compared
        data["comparison"] = fields
        text += f"\n\n{shown}"
    return Answer(data, text)


def _of_architectures(loaded: EncodingPredictor, store: Store, names: tuple[str, ...]) -> Evaluation:
    """What knows architectures alone, on those of its space."""
    import nas
    from device_profiles.errors import UsageError
    from predictors.evaluation import evaluate_architectures

    if names:
        raise UsageError(
            f"a {loaded.card.predictor} cannot be fitted again to be compared", hint="Leave out --compare."
        )
    load = cache(nas.spaces.load)
    return evaluate_architectures(loaded, store, lambda text: load(str(loaded.card.space)).parse(text))


def _compared(
    loaded: Predictor, store: Store, names: tuple[str, ...], seeds: int, page: Path | None
) -> tuple[dict[str, Any], str]:
    """The comparison as data and as text, and as a page if one is wanted."""
    from hwnas_cli.progress import Live
    from predictors import comparison
    from predictors import page as pages

    with Live() as live:
        found = comparison.compare(
            (loaded.card.predictor, *names),
            store,
            loaded.card.target,
            cost=loaded.card.cost,
            seeds=seeds,
            progress=lambda done, total: live("comparing predictors", done, total),
        )
    fields, shown = pages.plain(found), comparison.text(found)
    if page is not None:
        fields["path"] = str(pages.write(found, page))
        shown += f"\nwritten to {page}"
    return fields, shown
