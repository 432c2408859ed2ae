"""Train the shared weights of a search by several processes.

The words of `hwnas search` are said to each of them:
`python -m torch.distributed.run --nproc-per-node 2 -m hwnas_cli.train_shared --space ... -o RUN`. The same
`hwnas search` then finds the weights in the folder of the run. Options that have nothing to do with weights are read
and not used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwnas_cli.answer import Answer, Ended, end, refusal


def main(words: Sequence[str] | None = None) -> None:
    """Train, and exit with a code as `hwnas search` does; the first process alone says something of it."""
    from nas.weights import processes

    try:
        answer = _trained(list(sys.argv[1:] if words is None else words))
    except (Exception, KeyboardInterrupt) as error:
        answer = refusal(error)
    finally:
        processes.leave()
    silent = processes.rank() > 0 and answer.error is None
    sys.exit(0 if silent else end(Ended("train_shared", answer), as_json=False))


def _trained(words: list[str]) -> Answer:
    """Train what the words of a search say."""
    from hwnas_cli.commands.search import read_settings, restricted
    from hwnas_cli.progress import Live
    from nas.loop import shared_weights
    from nas.study.plan import SearchPlan
    from nas.weights import processes

    given = _read(words)
    restrict_from = given["restrict_from"]
    plan = SearchPlan(
        space=restricted(given["space"], None if restrict_from is None else Path(restrict_from)),
        objectives=tuple(given["objective"]),
        strategies=tuple(given["strategy"]),
        seed=given["seed"],
        data=given["data"],
        settings=read_settings(given["settings"] or (), given["device"]),
    )
    folder = Path(given["output"])
    with Live() as live:
        first = processes.rank() == 0
        shared_weights.train(plan, folder, progress=live if first else lambda what, done, total: None)
    return Answer({}, f"shared weights are in {folder / 'supernet.safetensors'}; go on with hwnas search")


def _read(words: list[str]) -> dict[str, Any]:
    """Options of `hwnas search`, by their names in Python.

    Raises:
        UsageError: they cannot be read.
    """
    from device_profiles.errors import UsageError
    from hwnas_cli.app import command, spread

    try:
        context = command().commands["search"].make_context("search", spread(["search", *words])[1:])
    except Exception as error:
        said = getattr(error, "format_message", None)  # of click, or of typer's copy of it
        if said is None:
            raise
        raise UsageError(said(), hint="hwnas search --help") from error
    found: dict[str, Any] = context.params
    return found


if __name__ == "__main__":
    main()
