"""Strategies x problems x seeds, in parallel processes; what is finished is kept, and a killed benchmark goes on."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import ConditionMismatch, InvalidData, UnknownName, UsageError
from nas import problems, scoring, strategies
from nas.problems.protocol import Problem

#: Version of the lines in `results.jsonl`. 1: first (2026-11).
VERSION = 1
RESULTS = "results.jsonl"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Contender:
    """A strategy and what it may know.

    Attributes:
        name: registered.
        label: in the tables; the name if not given.
        known: whether it is given the problem's known objectives.
        features: whether it is given the space's features.
        canonical: whether isomorphic networks are one to it.
        settings: its own.
    """

    name: str
    label: str = ""
    known: bool = True
    features: bool = True
    canonical: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        problems: by label, the kind and the options of each.
        strategies: that are compared.
        output: folder of the results.
        seeds: of each strategy on each problem: 0 to this.
        evaluations: of each search.
        batch: architectures that are asked for at once.
        checkpoints: numbers of evaluations at which is scored; ten if not given.
        plugins: modules that are imported first, which register further strategies, spaces or problems.
    """

    problems: Mapping[str, Mapping[str, Any]]
    strategies: tuple[Contender, ...]
    output: str
    seeds: int = 5
    evaluations: int = 100
    batch: int = 10
    checkpoints: tuple[int, ...] = ()
    plugins: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[int, ...]:
        """The checkpoints, ascending."""
        given = self.checkpoints or tuple(max(round(self.evaluations * share / 10), 1) for share in range(1, 11))
        return tuple(sorted({mark for mark in given if mark <= self.evaluations} | {self.evaluations}))


@dataclass(frozen=True)
class Cell:
    """One search that was run.

    Attributes:
        problem: label.
        strategy: label.
        seed: of the search.
        seconds: that asking and telling took; evaluations are lookups.
        scores: by number of evaluations, see `nas.scoring.score`.
    """

    problem: str
    strategy: str
    seed: int
    seconds: float
    scores: Mapping[int, Mapping[str, float]]


def read(path: Path) -> Plan:
    """A plan from a TOML file; paths in it are relative to it.

    Raises:
        InvalidData: the file is missing or no TOML.
        UnknownName: a key is not one, or names what is not there.
        UsageError: a value is of another kind or out of range.
    """
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidData(f"there is no benchmark file {path}", hint="hwnas benchmark FILE.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidData(f"{path} is no TOML: {error}") from error
    known = ("problem", "strategy", "output", "seeds", "evaluations", "batch", "checkpoints", "plugins")
    _require_known("key of a benchmark file", plain, known)
    for name in ("problem", "strategy", "output"):
        if not plain.get(name):
            raise UsageError(f"{path} has no {name}", hint="It needs output, [[problem]] and [[strategy]].")
    chosen: dict[str, dict[str, Any]] = {}
    for entry in plain["problem"]:
        options = dict(entry)
        if "kind" not in options:
            raise UsageError(f"a [[problem]] of {path} has no kind", hint=f"One of {', '.join(problems.names())}.")
        label = str(options.pop("label", options["kind"]))
        if label in chosen:
            raise UsageError(f"two problems of {path} are called {label!r}", hint="Give each a label.")
        if "file" in options:
            options["file"] = str((path.parent / options["file"]).resolve())
        chosen[label] = options
    contenders = []
    for entry in plain["strategy"]:
        _require_known("key of a [[strategy]]", entry, Contender.__dataclass_fields__)
        if "name" not in entry:
            raise UsageError(f"a [[strategy]] of {path} has no name", hint=f"One of {', '.join(strategies.names())}.")
        contenders.append(Contender(**{**entry, "label": entry.get("label", entry["name"])}))
    numbers = {name: plain[name] for name in ("seeds", "evaluations", "batch") if name in plain}
    output = str((path.parent / plain["output"]).resolve())
    marks, plugins = tuple(plain.get("checkpoints", ())), tuple(plain.get("plugins", ()))
    plan = Plan(chosen, tuple(contenders), output, checkpoints=marks, plugins=plugins, **numbers)
    _check(plan)
    return plan


def _require_known(kind: str, given: Mapping[str, Any], known: Any) -> None:
    for key in given:
        if key not in known:
            raise UnknownName(kind, key, known)


def _check(plan: Plan) -> None:
    """Refuse what cannot run, before anything does."""
    for name, value in (("seeds", plan.seeds), ("evaluations", plan.evaluations), ("batch", plan.batch)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name} must be a whole number of at least 1, got {value!r}")
    labels = [contender.label for contender in plan.strategies]
    if len(set(labels)) < len(labels):
        raise UsageError(f"two strategies have one label: {', '.join(labels)}", hint="Give each a label.")
    _prepare(plan.plugins)
    for options in plan.problems.values():
        problem = _problem(options)
        for contender in plan.strategies:
            _strategy(contender, problem, 0)


def run(plan: Plan, *, workers: int = 1, progress: Progress = lambda what, done, total: None) -> list[Cell]:
    """Run what is missing; all cells, in the order of the plan.

    Each cell is computed in a process of its own pool with one thread, from its seed alone, so that the number of
    workers changes nothing but the time. Finished cells are appended to `results.jsonl` in the output, one line each; a
    line that was cut short by a kill is run again.

    Args:
        plan: what is compared.
        workers: processes.
        progress: told `(what, done, total)`.

    Raises:
        ConditionMismatch: the output holds the same cell of another plan.
    """
    _check(plan)
    folder = Path(plan.output)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {
        (label, contender.label, seed): _facts(plan, options, contender)
        for seed in range(plan.seeds)
        for label, options in plan.problems.items()
        for contender in plan.strategies
    }
    done = _kept(folder / RESULTS, wanted)
    missing = [key for key in wanted if key not in done]
    contenders = {contender.label: contender for contender in plan.strategies}
    progress("benchmark", len(done), len(wanted))
    if missing:
        pool = ProcessPoolExecutor(
            min(workers, len(missing)), mp_context=get_context("spawn"), initializer=_prepare, initargs=(plan.plugins,)
        )
        with pool, (folder / RESULTS).open("a", encoding="utf-8") as file:
            futures = {
                pool.submit(_searched, plan, plan.problems[label], contenders[name], seed): (label, name, seed)
                for label, name, seed in missing
            }
            try:
                for future in as_completed(futures):
                    label, name, seed = key = futures[future]
                    seconds, scores = future.result()
                    done[key] = Cell(label, name, seed, seconds, scores)
                    file.write(json.dumps(_line(done[key], wanted[key])) + "\n")
                    file.flush()
                    progress("benchmark", len(done), len(wanted))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return [done[key] for key in wanted]


def _facts(plan: Plan, options: Mapping[str, Any], contender: Contender) -> dict[str, Any]:
    """What a cell depends on, as JSON-ready data."""
    facts = {
        "problem": dict(options),
        "strategy": {name: getattr(contender, name) for name in ("name", "known", "features", "canonical", "settings")},
        "evaluations": plan.evaluations,
        "batch": plan.batch,
        "checkpoints": list(plan.marks),
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
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
    if text and not text.endswith("\n"):
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


def _prepare(plugins: Sequence[str]) -> None:
    """Import what registers further entries; one thread for everything else."""
    from threadpoolctl import threadpool_limits

    for module in plugins:
        try:
            import_module(module)
        except ImportError as error:
            raise UsageError(f"cannot import the plugin {module!r}: {error}", hint="Is it on PYTHONPATH?") from error
    if get_context().current_process().name != "MainProcess":
        threadpool_limits(1)


def _problem(options: Mapping[str, Any]) -> Problem:
    return problems.load(**options)


def _strategy(contender: Contender, problem: Problem, seed: int) -> strategies.Strategy:
    space = problem.space
    known = {column: (lambda archs, c=column: problem.search(archs)[:, c]) for column in problem.known}
    return strategies.create(
        contender.name,
        choices=problem.choices,
        objectives=len(problem.objectives),
        seed=seed,
        known=known if contender.known else None,
        features=space.features if space is not None and contender.features else None,
        canonical=space.canonical if space is not None and contender.canonical else None,
        valid=space.is_valid if space is not None and contender.canonical else None,
        ordered=problem.ordered if space is None else space.ordered,
        **contender.settings,
    )


def _searched(
    plan: Plan, options: Mapping[str, Any], contender: Contender, seed: int
) -> tuple[float, dict[int, dict[str, float]]]:
    """One search: the seconds it took, and its scores."""
    from time import perf_counter_ns

    problem = _problem(options)
    strategy = _strategy(contender, problem, seed)
    found = [np.empty((0, len(problem.choices)), dtype=np.int64)]
    began = perf_counter_ns()
    missing = plan.evaluations
    while missing > 0:
        archs = strategy.ask(min(plan.batch, missing))
        if len(archs) == 0:
            break
        strategy.tell(archs, problem.search(archs))
        found.append(archs)
        missing -= len(archs)
    seconds = (perf_counter_ns() - began) / 1e9
    return seconds, scoring.score(problem, np.concatenate(found), plan.marks)
