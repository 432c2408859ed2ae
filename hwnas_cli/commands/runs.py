"""`hwnas runs` and `hwnas status`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas_cli.answer import Answer, Json, answers, table

if TYPE_CHECKING:
    from nas.study.summary import Summary


@answers("runs")
def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with runs, up to three folders below it.")],
    as_json: Json = False,
) -> Answer:
    """List the searches below a folder.

    A run that cannot be read is named with the reason, and the others are listed. Nothing is changed.

    Examples:

        hwnas runs runs

        hwnas runs runs --json
    """
    from device_profiles.errors import HwnasError, UsageError
    from device_profiles.system_errors import named
    from nas.study.summary import below, summarise

    if "://" in str(folder) or ":/" in str(folder):
        raise UsageError(f"{folder} is not a folder: each run is a folder of its own", hint="hwnas runs FOLDER")
    found, damaged = [], []
    for place in below(folder):
        try:
            found.append(summarise(place))
        except Exception as error:
            known = error if isinstance(error, HwnasError) else named(error)
            if known is None:
                raise
            reason = {"type": type(known).__name__, "reason": known.message, "hint": known.hint}
            damaged.append({"path": str(place), **reason})
    heads = ["", *_WORDS]
    lines = [table(heads, [_cells(one) for one in found])] if found else []
    lines += [f"cannot be read: {one['path']}: {one['reason']}" for one in damaged]
    data = {"folder": str(folder), "runs": [_fields(one) for one in found], "damaged": damaged}
    return Answer(data, "\n".join(lines) or f"no run below {folder}")


@answers("status")
def status(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a search.")],
    as_json: Json = False,
) -> Answer:
    """Say how far a search is.

    It may still be going on. Nothing is changed.

    Examples:

        hwnas status runs/search

        hwnas status runs/search --json
    """
    from nas.study.summary import summarise

    found = summarise(run)
    words = [f"{name}: {cell}" for name, cell in zip(("", *_WORDS), _cells(found), strict=True) if name]
    return Answer(_fields(found), "\n".join([str(found.folder), *words]))


_WORDS = ("space", "objectives", "strategies", "evaluations", "front")


def _fields(found: Summary) -> dict[str, Any]:
    """A run as data."""
    return {
        "path": str(found.folder),
        "space": found.space,
        "objectives": [
            {"name": o.name, "unit": o.unit, "maximise": o.maximise, "source": o.source} for o in found.objectives
        ],
        "strategies": list(found.strategies),
        "evaluations": found.evaluations,
        "asked": found.asked,
        "failed": found.failed,
        "front": found.front,
        "states": found.states,
        "not_compared": found.not_compared,
    }


def _cells(found: Summary) -> list[str]:
    """A run as a row for people."""
    from nas.study.summary import not_compared

    more = [f"{found.failed} failed"] if found.failed else []
    more += [said] if (said := not_compared(found.not_compared)) else []
    return [
        str(found.folder),
        found.space,
        ", ".join(objective.name for objective in found.objectives),
        ", ".join(found.strategies),
        ", ".join([f"{found.evaluations} of {found.asked}", *more]),
        str(found.front),
    ]
