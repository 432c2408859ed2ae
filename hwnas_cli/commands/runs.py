"""`hwnas runs` and `hwnas status`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas_cli.answer import Answer, Json, answers, table

if TYPE_CHECKING:
    from nas.study.summary import Summary
    from profiler.watching import CampaignState

Watch = Annotated[bool, typer.Option("--watch", help="Look again every few seconds, on standard error, until Ctrl-C.")]


@answers("runs")
def runs(
    place: Annotated[
        str, typer.Argument(metavar="FOLDER|URL", help="Folder with runs up to three folders below it, or a database.")
    ],
    watch: Watch = False,
    as_json: Json = False,
) -> Answer:
    """List the searches below a folder, or the searches and the measuring campaigns of a database.

    A run that cannot be read is named with the reason, and the others are listed. Nothing is changed.

    Examples:

        hwnas runs runs

        hwnas runs postgresql://me@lab/hwnas --watch

        hwnas runs runs/a.db --json
    """
    from hwnas_cli.watching import watched

    return watched(lambda: _runs(place), watch=watch)


@answers("status")
def status(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a search.")],
    watch: Watch = False,
    as_json: Json = False,
) -> Answer:
    """Say how far a search is.

    It may still be going on. Nothing is changed.

    Examples:

        hwnas status runs/search

        hwnas status runs/search --watch

        hwnas status runs/search --json
    """
    from hwnas_cli.watching import watched

    return watched(lambda: _status(run), watch=watch)


def _runs(place: str) -> Answer:
    from nas.study.summary import below, in_database, summarise
    from profiler import watching
    from profiler.store import Store

    if "://" not in place and not Path(place).is_file():
        found, damaged = _read((str(folder), partial(summarise, folder)) for folder in below(place))
        return _listed(place, found, damaged, [])
    with Store(place, create=False, as_copy=True) as store:
        found, damaged = _read(in_database(store))
        return _listed(store.url, found, damaged, watching.campaigns(store))


def _status(run: Path) -> Answer:
    from nas.study.summary import summarise

    found = summarise(run)
    words = [f"{name}: {cell}" for name, cell in zip(("", *_WORDS), _cells(found), strict=True) if name]
    return Answer(_fields(found), "\n".join([str(found.folder), *words]))


def _read(makers: Iterable[tuple[str, Callable[[], Summary]]]) -> tuple[list[Summary], list[dict[str, str]]]:
    """What can be read, and what cannot be and why."""
    from device_profiles.errors import HwnasError
    from device_profiles.system_errors import named

    found, damaged = [], []
    for place, make in makers:
        try:
            found.append(make())
        except Exception as error:
            known = error if isinstance(error, HwnasError) else named(error)
            if known is None:
                raise
            reason = {"type": type(known).__name__, "reason": known.message, "hint": known.hint}
            damaged.append({"path": place, **reason})
    return found, damaged


def _listed(place: str, found: list[Summary], damaged: list[dict[str, str]], campaigns: list[CampaignState]) -> Answer:
    lines = [table(["", *_WORDS], [_cells(one) for one in found])] if found else []
    if campaigns:
        heads = ["campaigns", "models", "failed", "processes", "blocks", "device time", "state"]
        lines.append(table(heads, [_campaign_cells(one) for one in campaigns]))
    lines += [f"cannot be read: {one['path']}: {one['reason']}" for one in damaged]
    data = {"folder": place, "runs": [_fields(one) for one in found], "damaged": damaged}
    data["campaigns"] = [_campaign_fields(one) for one in campaigns]
    return Answer(data, "\n".join(lines) or f"no run below {place}")


_WORDS = ("space", "objectives", "strategies", "evaluations", "front", "state")


def _fields(found: Summary) -> dict[str, Any]:
    """A run as data."""
    return {
        "path": found.folder,
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
        "state": found.state,
        "lab": found.lab,
        "study": found.study,
        **_writer_fields(found.writer.host, found.writer.pid, found.writer.seen_s),
    }


def _campaign_fields(found: CampaignState) -> dict[str, Any]:
    """A campaign as data."""
    last = found.last
    return {
        "target": found.target,
        "conditions": found.conditions,
        "state": found.state,
        "models": found.models,
        "failed": found.failed,
        "processes": found.processes,
        "blocks": found.blocks,
        "device_s": found.device_s,
        **(_writer_fields("", 0, 0.0) if last is None else _writer_fields(last.host, last.pid, last.seen_s)),
    }


def _writer_fields(host: str, pid: int, seen_s: float) -> dict[str, Any]:
    """Who wrote last and when; null where nobody knows."""
    seen_at = datetime.fromtimestamp(seen_s, UTC).isoformat(timespec="seconds") if seen_s else None
    return {"host": host or None, "pid": pid or None, "seen_at": seen_at}


def _cells(found: Summary) -> list[str]:
    """A run as a row for people."""
    from nas.study.summary import not_compared

    more = [f"{found.failed} failed"] if found.failed else []
    more += [said] if (said := not_compared(found.not_compared)) else []
    return [
        found.folder,
        found.space,
        ", ".join(objective.name for objective in found.objectives),
        ", ".join(found.strategies),
        ", ".join([f"{found.evaluations} of {found.asked}", *more]),
        str(found.front),
        _state(found.state, found.writer.host, found.writer.pid, found.writer.seen_s),
    ]


def _campaign_cells(found: CampaignState) -> list[str]:
    """A campaign as a row for people."""
    last = found.last
    state = found.state if last is None else _state(found.state, last.host, last.pid, last.seen_s)
    counts = [found.models, found.failed, found.processes, found.blocks]
    return [found.target, *map(str, counts), f"{found.device_s:.0f} s", state]


def _state(state: str, host: str, pid: int, seen_s: float) -> str:
    """A state for people, with who is at work, or when somebody was."""
    if state == "running":
        return f"running, process {pid} of {host}" if pid else "running"
    when = datetime.fromtimestamp(seen_s, UTC).strftime(" %Y-%m-%d %H:%M UTC") if seen_s else ""
    return f"{state}{when}"
