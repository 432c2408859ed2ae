"""Shared weights of a search are trained before it, by several processes; the search finds their checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from device_profiles.errors import UsageError
from nas import evaluators
from nas.evaluators import Context
from nas.evaluators.protocol import OwnsWeights
from nas.evaluators.shared import EVALUATOR
from nas.isolation import space_parts
from nas.isolation.apart import PLUGIN_SECONDS
from nas.loop.checks import check_place
from nas.study.plan import SearchPlan, check, with_wanted
from nas.weights import processes
from profiler.lock import run_lock

#: How processes are started.
HOW = "python -m torch.distributed.run --nproc-per-node 2 -m hwnas_cli.train_shared, with the options of hwnas search"


def require_alone() -> None:
    """Refuse a search of several processes: each would write the same run.

    Raises:
        UsageError: torchrun has started several.
    """
    if (size := processes.count()) > 1:
        raise UsageError(
            f"a search is one process, and torchrun has started {size}",
            hint=f"Train its shared weights with them first ({HOW}), then search with one.",
        )


def train(plan: SearchPlan, folder: Path, *, progress: Callable[[str, int, int], None]) -> None:
    """Train the shared weights of a search, in all processes that torchrun has started, or in this one.

    The first process writes the checkpoint into the folder of the run; its identity is the search's, by construction.

    Args:
        plan: of the search.
        folder: of its run.
        progress: told `(what, done, total)`.

    Raises:
        UsageError: no objective has shared weights, or the plan names what is not there.
        RunBusy: another process writes to the folder.
    """
    check(plan)
    plan = with_wanted(plan)
    texts = [text for text in plan.objectives if EVALUATOR.claims(evaluators.split(text)[1])]
    if not texts:
        raise UsageError(
            f"none of {', '.join(plan.objectives)} has shared weights",
            hint=f"Give an objective such as {EVALUATOR.forms}.",
        )
    space, _ = space_parts.load(plan.space, float(plan.shared_settings.get("plugin_seconds", PLUGIN_SECONDS)))
    check_place(folder)
    nothing: Any = None  # shared weights are not measured
    context = Context(
        space=space,
        folder=folder,
        store=nothing,
        seed=plan.seed,
        data=plan.data,
        settings=plan.shared_settings,
        progress=progress,
    )
    owner = evaluators.open_objective(texts[0], context)
    assert isinstance(owner, OwnsWeights)
    with run_lock(folder) if processes.rank() == 0 else nullcontext():
        _ = owner.supernet
