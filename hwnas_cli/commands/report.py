"""`hwnas report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers


@answers("report")
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a search.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file.")],
    as_json: Json = False,
) -> Answer:
    """Write a run as one HTML page.

    It is self-contained: front, table, kernels, hypervolume.

    Examples:

        hwnas report runs/s -o front.html

        hwnas report runs/s -o front.html --json
    """
    from device_profiles import outputs
    from nas.report import front as page
    from nas.study.study import open_study
    from nas.study.summary import not_compared, states

    outputs.check(output, outputs.PAGE)
    study = open_study(run, as_copy=True)
    with study.store:
        path = page.write(study, output)
        smaller = study.not_compared
        data = {"path": str(path), "front": len(study.front()), "states": states(study.trials())}
        data["not_compared"] = smaller
    return Answer(data, "\n".join(line for line in (f"written to {path}", not_compared(smaller)) if line))
