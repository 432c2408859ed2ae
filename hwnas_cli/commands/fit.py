"""`hwnas fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers, say


@answers("fit")
def fit(
    target: Annotated[str, typer.Argument(help="A shipped target or a TOML file.")],
    store: Annotated[str, typer.Option(help="Where it was measured.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the predictor.")],
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
    """
    import device_profiles
    import nas
    import predictors
    import profiler
    from hwnas_cli.progress import Live
    from predictors import folders
    from predictors.card import is_predictor
    from predictors.encodings import Fidelity

    if cost == "memory" and predictor not in (None, "simulation"):
        say(f"memory is simulated, not learned: {predictor} is not used")
        predictor = "simulation"
    name = predictor or ("simulation" if cost == "memory" else "lookup")
    folders.check(output, "a predictor", is_predictor)
    chosen = device_profiles.load(target)
    opened_space = None if space is None else nas.spaces.load(space)
    with Live() as live, profiler.Store(store, create=False) as opened:
        fitted = predictors.fit(
            name,
            opened,
            target=chosen,
            space=opened_space,
            cost=cost,
            progress=lambda done, total: live("networks of the space", done, total),
        )
        fitted.save(output)
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
