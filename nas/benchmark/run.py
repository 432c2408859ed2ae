"""Strategies x problems x seeds, in parallel processes; what is finished is kept, and a killed benchmark goes on."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles import plugins
from device_profiles.errors import ConditionMismatch, DeviceError, InvalidData, PluginError
from nas.benchmark import plan as benchmark_plan
from nas.benchmark import problems, scoring
from nas.benchmark.plan import BenchmarkPlan, Contender, read
from nas.evaluators.protocol import digest
from nas.isolation import checking
from nas.operators import pending

__all__ = ["RESULTS", "VERSION", "BenchmarkPlan", "Cell", "Contender", "Progress", "read", "run"]

#: Version of the lines in `results.jsonl`. 1: first (2026-11).
VERSION = 1
RESULTS = "results.jsonl"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Cell:
    """One search that was run.

    Attributes:
        problem: label.
        strategy: label.
        seed: of the plan; that of the search follows from it, see `search_seed`.
        seconds: that asking and telling took; evaluations are lookups.
        scores: by number of evaluations, see `nas.benchmark.scoring.score`.
    """

    problem: str
    strategy: str
    seed: int
    seconds: float
    scores: Mapping[int, Mapping[str, float]]


def run(plan: BenchmarkPlan, *, workers: int = 1, progress: Progress = lambda what, done, total: None) -> list[Cell]:
    """Run what is missing; all cells, in the order of the plan.

    Each cell is computed in a process of its own pool with one thread, from its seed alone, so that the number of
    workers changes nothing but the time. Finished cells are appended to `results.jsonl` in the output, one line each; a
    line that was cut short by a kill is run again.

    Args:
        plan: what is compared.
        workers: processes.
        progress: told `(what, done, total)`.

    Raises:
        ConditionMismatch: the output holds the same cell of another plan, or of a table that has changed since.
        DeviceError: a process ended before its search did.
    """
    benchmark_plan.check(plan)
    folder = Path(plan.output)
    folder.mkdir(parents=True, exist_ok=True)
    identities = {label: _identity(options) for label, options in plan.problems.items()}
    wanted = {
        (label, contender.label, seed): _facts(plan, identities[label], contender)
        for seed in range(plan.seeds)
        for label in plan.problems
        for contender in plan.strategies
    }
    done = _kept(folder / RESULTS, wanted)
    missing = [key for key in wanted if key not in done]
    progress("benchmark", len(done), len(wanted))
    if missing:
        with (folder / RESULTS).open("a", encoding="utf-8") as file:
            for cell in _finished(plan, missing, workers):
                key = (cell.problem, cell.strategy, cell.seed)
                done[key] = cell
                file.write(json.dumps(_line(cell, wanted[key])) + "\n")
                file.flush()
                progress("benchmark", len(done), len(wanted))
    return [done[key] for key in wanted]


def _finished(plan: BenchmarkPlan, missing: Sequence[tuple[str, str, int]], workers: int) -> Iterator[Cell]:
    """Cells as they finish.

    Raises:
        DeviceError: a process ended before its search did; all that were finished come first.
    """
    contenders = {contender.label: contender for contender in plan.strategies}
    broken: BrokenProcessPool | None = None
    pool = ProcessPoolExecutor(
        min(workers, len(missing)), mp_context=get_context("spawn"), initializer=_prepare, initargs=(plan.plugins,)
    )
    with pool:
        futures = {
            pool.submit(_searched, plan, label, contenders[name], seed): (label, name, seed)
            for label, name, seed in missing
        }
        try:
            for future in as_completed(futures):
                try:
                    seconds, scores = future.result()
                except BrokenProcessPool as error:
                    broken = error  # the others of this pool are finished, or as broken as this one
                else:
                    yield Cell(*futures[future], seconds, scores)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if broken is not None:
        raise DeviceError(
            "a process ended before its search did",
            hint="What is finished is kept. If memory was short, go on with fewer --workers.",
        ) from broken


def _identity(options: Mapping[str, Any]) -> dict[str, Any]:
    """A problem's options, with the content of its file in place of where that lies."""
    if "file" not in options:
        return dict(options)
    path = Path(options["file"])
    return {**options, "file": path.name, "content": digest(path)}


def _facts(plan: BenchmarkPlan, problem: Mapping[str, Any], contender: Contender) -> dict[str, Any]:
    """What a cell depends on, as JSON-ready data."""
    facts = {
        "problem": problem,
        "strategy": {name: getattr(contender, name) for name in ("name", "known", "features", "canonical", "settings")},
        "evaluations": plan.evaluations,
        "batch": plan.batch,
        "checkpoints": list(plan.marks),
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return plain


def _line(cell: Cell, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "problem": cell.problem,
        "strategy": cell.strategy,
        "seed": cell.seed,
        "seconds": cell.seconds,
        "scores": {str(count): dict(scores) for count, scores in cell.scores.items()},
        "facts": dict(facts),
    }


def _kept(path: Path, wanted: Mapping[tuple[str, str, int], Mapping[str, Any]]) -> dict[tuple[str, str, int], Cell]:
    """Cells of this plan that are finished; a last line that was cut short is taken away."""
    if not path.exists():
        return {}
    text = path.read_text(encoding="utf-8")
    if text and not text.endswith("\n") and _is_cut(text[text.rfind("\n") + 1 :]):
        text = text[: text.rfind("\n") + 1]
        temporary = path.with_suffix(".partial")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
            key = (row["problem"], row["strategy"], row["seed"])
            scores = {int(count): values for count, values in row["scores"].items()}
            version, facts, seconds = row["version"], row["facts"], row["seconds"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidData(f"line {number} of {path} is no result: {error!r}", hint="Delete that line.") from error
        if version != VERSION:
            raise InvalidData(f"{path} is of version {version}; this version reads {VERSION}")
        if key not in wanted:
            continue
        different = [name for name in wanted[key] if facts.get(name) != wanted[key][name]]
        if different:
            raise ConditionMismatch(
                f"{path} holds {key[1]} on {key[0]} of another plan",
                expected={name: facts.get(name) for name in different},
                got={name: wanted[key][name] for name in different},
                hint="Give it another label, or the benchmark another output.",
            )
        found[key] = Cell(*key, seconds, scores)
    return found


def _is_cut(line: str) -> bool:
    """Whether a line is the beginning of a result; anything else is not ours to take away."""
    begin = json.dumps({"version": VERSION})[:-1]
    return line.startswith(begin) or begin.startswith(line)


def _prepare(modules: Sequence[str]) -> None:
    """What a worker does first: keep what is loaded and what will be to one thread, and import the plugins."""
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    benchmark_plan.import_plugins(modules)
    threadpool_limits(1)


def search_seed(label: str, seed: int) -> int:
    """Seed of a search: each problem has its own, or luck on one would be luck on all; all strategies have the same."""
    return zlib.crc32(f"{label} {seed}".encode())


def _searched(
    plan: BenchmarkPlan, label: str, contender: Contender, seed: int
) -> tuple[float, dict[int, dict[str, float]]]:
    """One search: the seconds it took, and its scores; one that ran out of architectures keeps its last ones.

    Raises:
        PluginError: a strategy of others failed, or asked for what is not in the space.
    """
    with plugins.blamed():
        return _search(plan, label, contender, seed)


def _search(
    plan: BenchmarkPlan, label: str, contender: Contender, seed: int
) -> tuple[float, dict[int, dict[str, float]]]:
    from time import perf_counter_ns

    problem = problems.load(**plan.problems[label])
    strategy = benchmark_plan.strategy_of(contender, problem, search_seed(label, seed))
    found = [np.empty((0, len(problem.choices)), dtype=np.int64)]
    began = perf_counter_ns()
    missing = plan.evaluations
    while missing > 0:
        count = min(plan.batch, missing)
        archs = strategy.ask(count)
        if plugins.is_foreign(pending.inner(strategy)):
            archs = _checked(archs, problem.choices, count, contender.name)
        if len(archs) == 0:
            break
        strategy.tell(archs, problem.search(archs))
        found.append(archs)
        missing -= len(archs)
    seconds = (perf_counter_ns() - began) / 1e9
    archs = np.concatenate(found)
    reached = {mark: min(mark, len(archs)) for mark in plan.marks}
    scores = scoring.score(problem, archs, sorted(set(reached.values())))
    return seconds, {mark: scores[count] for mark, count in reached.items()}


def _checked(asked: Any, choices: Sequence[int], count: int, name: str) -> NDArray[np.int64]:
    try:
        return checking.rows(asked, choices, count)
    except checking.Broken as error:
        raise PluginError(
            f"strategy {name!r} failed when it was asked for {count} architectures: {error}",
            hint="This is a fault of the plug-in.",
        ) from error
