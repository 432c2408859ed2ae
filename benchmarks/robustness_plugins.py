"""What becomes of plug-ins that misbehave: evaluators cost their architecture, strategies and spaces are named.

    python -m benchmarks.robustness_plugins

Prints JSON: for each evaluator the reason that was kept, for each other plug-in the error; and counts of what kept to
the contract and what did not.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import nas
from benchmarks import misbehaving
from benchmarks.machine import machine
from device_profiles.errors import HwnasError, PluginError
from nas.study.study import Study, open_study

#: Seconds for an evaluation, and for the other plug-ins.
SECONDS = {"evaluation_seconds": 0.5, "plugin_seconds": 60.0}
SHORT = {"evaluation_seconds": 0.5, "plugin_seconds": 1.0}


def archive(study: Study) -> list[tuple[Any, ...]]:
    """All that a search was told, in order; NaN as text, so that it equals itself."""
    return [(trial.batch, trial.arch, str(trial.result)) for trial in study.trials()]


def evaluators(folder: Path, objective: str = "acts", evaluations: int | None = None) -> dict[str, Any]:
    """One search of all deeds; by deed the reason and whether it is as it must be."""
    start = time.monotonic()
    result = nas.search(
        "acts",
        objectives=[objective],
        strategy="random",
        evaluations=evaluations or len(misbehaving.ACTS),
        settings=SECONDS,
        folder=folder,
    )
    reasons, found = result.failures, {}
    for trial in result.study.trials():
        name, _, word = misbehaving.ACTS[trial.arch[0]]
        reason = reasons.get(trial.arch, "")
        value = trial.value("acts")
        good = value == 7.0 and not reason if word == "" else not np.isfinite(value) and word in reason
        found[name] = {"reason": reason, "as agreed": bool(good)}
    return {
        "deeds": found,
        "seconds": round(time.monotonic() - start, 2),
        "left behind": [one.pid for one in psutil.Process().children(recursive=True)],
    }


def resumed(folder: Path) -> bool:
    """Whether a search of all deeds that was stopped twice ends on the archive of one that was not."""
    for count in (20, 40, len(misbehaving.ACTS)):  # whole batches, as a search that was killed between them
        evaluators(folder / "parts", evaluations=count)
    evaluators(folder / "whole")
    return archive(open_study(folder / "parts")) == archive(open_study(folder / "whole"))


def refused(search: Callable[[], Any], word: str) -> dict[str, Any]:
    """What a search with a broken plug-in raises, and whether it is as it must be."""
    try:
        search()
    except HwnasError as error:
        good = isinstance(error, PluginError) and word in error.message
        return {"error": f"{type(error).__name__}: {error.message}", "code": error.exit_code, "as agreed": good}
    except BaseException as error:  # a traceback is what must not be
        return {"error": f"a traceback: {type(error).__name__}: {error}", "as agreed": False}
    return {"error": "none", "as agreed": False}


def strategies(folder: Path) -> dict[str, Any]:
    """Each broken strategy's error."""

    def search(name: str) -> Any:
        return nas.search(
            "acts", objectives=["acts"], strategy=name, evaluations=5, settings=SHORT, folder=folder / name
        )

    return {
        name: refused(lambda name=name: search(name), word)  # type: ignore[misc]
        for name, (_, word) in misbehaving.STRATEGIES.items()
    }


def spaces(folder: Path) -> dict[str, Any]:
    """Each broken space's error."""

    def search(name: str) -> Any:
        return nas.search(
            name, objectives=["acts"], strategy="random", evaluations=5, settings=SHORT, folder=folder / name
        )

    return {
        name: refused(lambda name=name: search(name), word)  # type: ignore[misc]
        for name, (_, word) in misbehaving.SPACES.items()
    }


def kinds(folder: Path) -> dict[str, Any]:
    """Each evaluator's error that cannot be opened."""

    def search(spec: str) -> Any:
        return nas.search(
            "acts", objectives=[spec], strategy="random", evaluations=5, settings=SHORT, folder=folder / spec
        )

    return {spec: refused(lambda spec=spec: search(spec), spec) for spec in misbehaving.OPENS}  # type: ignore[misc]


def main() -> None:
    """Run all of them."""
    misbehaving.register()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = evaluators(folder / "evaluators")
        tables = {
            "evaluators": first["deeds"],
            "kinds": kinds(folder / "kinds"),
            "strategies": strategies(folder / "strategies"),
            "spaces": spaces(folder / "spaces"),
        }
        same = resumed(folder / "resumed")
    counts = {
        table: {"all": len(rows), "as agreed": sum(row["as agreed"] for row in rows.values())}
        for table, rows in tables.items()
    }
    wrong = {
        f"{table}: {name}": row for table, rows in tables.items() for name, row in rows.items() if not row["as agreed"]
    }
    print(
        json.dumps(
            {
                "benchmark": "robustness_plugins",
                "counts": counts,
                "wrong": wrong,
                "left_behind": first["left behind"],
                "resumed_bit_identical": same,
                "seconds_of_evaluators": first["seconds"],
                **tables,
                "machine": machine(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
