"""`hwnas fit`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas_cli.answer import Answer, Json, answers, say

if TYPE_CHECKING:
    from predictors import Predictor


@answers("fit")
def fit(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the predictor.")],
    target: Annotated[str | None, typer.Argument(help="A shipped target or a TOML file.")] = None,
    store: Annotated[str | None, typer.Option(help="Where it was measured.")] = None,
    known: Annotated[
        str | None, typer.Option("--from", help="A predictor's folder, or a measured device, instead of measurements.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Space whose architectures it will answer.")] = None,
    predictor: Annotated[str | None, typer.Option(help="Which kind, such as lookup or lightgbm.")] = None,
    cost: Annotated[str, typer.Option(help="latency, energy or memory.")] = "latency",
    as_json: Json = False,
) -> Answer:
    """Learn to predict a cost from measurements.

    Examples:

        hwnas fit local-onnxruntime --space nasbench201 --predictor lookup --store runs/a.db -o runs/latency

        hwnas fit local-onnxruntime --predictor lightgbm --store runs/a.db -o runs/any-model

        hwnas fit local-onnxruntime --space nasbench201 --cost memory --store runs/a.db -o runs/memory

        hwnas fit --from xeon-amx-onnxruntime --space mobilenetv3 -o runs/elsewhere
    """
    import nas
    import predictors
    from device_profiles.errors import UsageError
    from hwnas_cli.progress import Live
    from predictors import folders
    from predictors.card import is_predictor

    folders.check(output, "a predictor", is_predictor)
    opened_space = None if space is None else nas.spaces.load(space)
    with Live() as live:

        def progress(done: int, total: int) -> None:
            live("networks of the space", done, total)

        if known is not None:
            if opened_space is None or target or store or predictor or cost != "latency":
                raise UsageError(
                    f"{known} says of which target and cost it is, and is told of a space alone",
                    hint=f"hwnas fit --from {known} --space SPACE -o DIR, or as it is: hwnas predict {known}",
                )
            fitted = predictors.for_space(_known(known), opened_space, progress=progress)
        else:
            fitted = _fitted(target, store, opened_space, predictor, cost, progress)
        fitted.save(output)
    return _answer(fitted, output)


def _known(folder: str) -> Predictor:
    import predictors
    from device_profiles.errors import UsageError

    found = predictors.load(folder)
    if not isinstance(found, predictors.Predictor):
        raise UsageError(
            f"a {found.card.predictor} knows no kernels", hint="Give what hwnas fit made of measurements of a device."
        )
    return found


def _fitted(
    target: str | None, store: str | None, space: Any, predictor: str | None, cost: str, progress: Callable[..., None]
) -> Predictor:
    """Learned from the measurements of a store."""
    import device_profiles
    import predictors
    import profiler
    from device_profiles.errors import UsageError

    if target is None or store is None:
        missing = "TARGET" if target is None else "--store"
        raise UsageError(f"{missing} is missing", hint="hwnas fit TARGET --store STORE -o DIR")
    if cost == "memory" and predictor not in (None, "simulation"):
        say(f"memory is simulated, not learned: {predictor} is not used")
        predictor = "simulation"
    name = predictor or ("simulation" if cost == "memory" else "lookup")
    chosen = device_profiles.load(target)
    with profiler.Store(store, create=False) as opened:
        return predictors.fit(name, opened, target=chosen, space=space, cost=cost, progress=progress)


def _answer(fitted: Predictor, output: Path) -> Answer:
    """What was fitted, and how good it is."""
    from predictors.encodings import Fidelity

    card = fitted.card
    data = {
        "predictor": card.predictor,
        "cost": card.cost,
        "unit": card.unit,
        "target": card.target,
        "space": card.space,
        "networks": len(card.trained_on),
        "kernels": card.kernels,
        "device_s": card.device_s,
        "half_width": card.half_width,
        "encoding": card.encoding,
        "sensor": card.sensor,
        "path": str(output),
    }
    width = "without an interval (fewer than 9 networks)"
    if card.half_width is not None:
        width = f"90 % interval +-{card.half_width:.1%}"
    text = (
        f"{card.predictor} for {card.cost} on {card.target}: {len(card.trained_on)} networks, {card.kernels} kernels, "
        f"{card.device_s:.0f} s of device time; {width}; written to {output}"
    )
    if card.sensor is not None:
        text += f"\nenergy, net of idling, by {card.sensor}"
    if card.encoding is not None:
        text += f"\n{card.space}: {Fidelity(**card.encoding)}"
        if card.encoding["why"]:
            text += f"\nnot exact, since {card.encoding['why']}"
    return Answer(data, text)
