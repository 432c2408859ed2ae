"""What a benchmark compares: one frozen record, read from TOML, checked before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from device_profiles.errors import InvalidData, UnknownName, UsageError
from device_profiles.reading import LARGEST_TOML_BYTES, parse_toml, read_bytes, shown
from nas import strategies
from nas.benchmark import problems
from nas.benchmark.problems.protocol import Problem

_KEYS = ("problem", "strategy", "output", "seeds", "evaluations", "batch", "checkpoints", "plugins")
#: Largest number that a plan may hold: evaluations, genes, sizes of populations.
LARGEST_NUMBER = 1_000_000

_KINDS = {str: "a text", bool: "true or false", dict: "a table", list: "a list"}


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
class BenchmarkPlan:
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
        groups: by label of a problem, what it is shown under with others; one that is not there is shown alone.
    """

    problems: Mapping[str, Mapping[str, Any]]
    strategies: tuple[Contender, ...]
    output: str
    seeds: int = 5
    evaluations: int = 100
    batch: int = 10
    checkpoints: tuple[int, ...] = ()
    plugins: tuple[str, ...] = ()
    groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def grouped(self) -> dict[str, list[str]]:
        """Labels of the problems by group, both in the order of the plan."""
        found: dict[str, list[str]] = {}
        for label in self.problems:
            found.setdefault(self.groups.get(label, label), []).append(label)
        return found

    @property
    def marks(self) -> tuple[int, ...]:
        """The checkpoints, ascending."""
        given = self.checkpoints or tuple(max(round(self.evaluations * share / 10), 1) for share in range(1, 11))
        return tuple(sorted({mark for mark in given if mark <= self.evaluations} | {self.evaluations}))


def read(path: str | Path) -> BenchmarkPlan:
    """A plan from a TOML file; paths in it are relative to it.

    Raises:
        InvalidData: the file is missing or no TOML.
        UnknownName: a key is not one, or names what is not there.
        UsageError: a value is of another kind or out of range.
    """
    path, hint = Path(path), "hwnas benchmark FILE.toml"
    try:
        content = read_bytes(path, largest_bytes=LARGEST_TOML_BYTES, hint=hint)
    except InvalidData as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise InvalidData(f"there is no benchmark file {path}", hint=hint) from error
        raise
    plain = parse_toml(content, str(path), hint=hint)
    _require_known("key of a benchmark file", plain, _KEYS)
    for name in ("problem", "strategy", "output"):
        if not plain.get(name):
            raise UsageError(f"{path} has no {name}", hint="It needs output, [[problem]] and [[strategy]].")
    for name, kind in (("problem", list), ("strategy", list), ("checkpoints", list), ("plugins", list)):
        _require(kind, name, plain.get(name, []))
    chosen: dict[str, dict[str, Any]] = {}
    groups = {}
    for number, entry in enumerate(plain["problem"], start=1):
        options = dict(_require(dict, f"[[problem]] {number}", entry))
        if not isinstance(options.get("kind"), str):
            raise UsageError(f"[[problem]] {number} of {path} has no kind", hint=f"{', '.join(problems.names())}.")
        label = _require(str, "label", options.pop("label", options["kind"]))
        if label in chosen:
            raise UsageError(f"two problems of {path} are called {shown(label)}", hint="Give each a label.")
        groups[label] = _require(str, "group", options.pop("group", label))
        if "file" in options:
            options["file"] = _beside(path, "file", options["file"])
        chosen[label] = options
    numbers = {name: plain[name] for name in ("seeds", "evaluations", "batch") if name in plain}
    plan = BenchmarkPlan(
        chosen,
        tuple(_contender(number, entry) for number, entry in enumerate(plain["strategy"], start=1)),
        _beside(path, "output", plain["output"]),
        checkpoints=tuple(plain.get("checkpoints", ())),
        plugins=tuple(_require(str, "a plugin", plugin) for plugin in plain.get("plugins", ())),
        groups=groups,
        **numbers,
    )
    check(plan)
    return plan


def _contender(number: int, entry: Any) -> Contender:
    fields = _require(dict, f"[[strategy]] {number}", entry)
    _require_known("key of a [[strategy]]", fields, Contender.__dataclass_fields__)
    if not isinstance(fields.get("name"), str):
        raise UsageError(f"[[strategy]] {number} has no name", hint=f"{', '.join(strategies.names())}.")
    for name, kind in (("label", str), ("known", bool), ("features", bool), ("canonical", bool), ("settings", dict)):
        if name in fields:
            _require(kind, name, fields[name])
    taken = [name for name in fields.get("settings", {}) if name in inspect.signature(strategies.create).parameters]
    if taken:
        raise UsageError(f"{taken[0]} is no setting of a strategy: the problem says it", hint="Leave it out.")
    return Contender(**{**fields, "label": fields.get("label", fields["name"])})


def _require(kind: type, name: str, value: Any) -> Any:
    """The value, if it is of that kind and not an empty text."""
    if not isinstance(value, kind) or value == "":
        hint = f"Write [[{name}]]." if name in ("problem", "strategy") else ""
        raise UsageError(f"{name} must be {_KINDS[kind]}, got {shown(value)}", hint=hint)
    return value


def _beside(plan: Path, name: str, value: Any) -> str:
    """A path in a plan, which is relative to the plan."""
    text = _require(str, name, value)
    try:
        return str((plan.parent / text).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links in a circle
        raise UsageError(f"{name} of {plan} is no path: {shown(text)}") from error


def _require_known(kind: str, given: Mapping[str, Any], known: Any) -> None:
    for key in given:
        if key not in known:
            raise UnknownName(kind, key, known)


def check(plan: BenchmarkPlan) -> None:
    """Refuse what cannot run, before anything does.

    Raises:
        UnknownName: a problem, a strategy or an option is not there.
        UsageError: a number is out of range, labels are not distinct, or a plugin cannot be imported.
    """
    for name, value in (("seeds", plan.seeds), ("evaluations", plan.evaluations), ("batch", plan.batch)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name} must be a whole number of at least 1, got {shown(value)}")
    for mark in plan.checkpoints:
        if not isinstance(mark, int) or isinstance(mark, bool) or not 1 <= mark <= plan.evaluations:
            raise UsageError(
                f"checkpoints must be whole numbers in 1..{plan.evaluations} (evaluations), got {shown(mark)}"
            )
    for contender in plan.strategies:
        _require_small("a setting", contender.settings)
    for label, options in plan.problems.items():
        _require_small(label, options)
    for name, value in (("seeds", plan.seeds), ("evaluations", plan.evaluations), ("batch", plan.batch)):
        _require_small(name, value)
    labels = [contender.label for contender in plan.strategies]
    if len(set(labels)) < len(labels):
        raise UsageError(f"two strategies have one label: {', '.join(labels)[:200]}", hint="Give each a label.")
    import_plugins(plan.plugins)
    for options in plan.problems.values():
        problem = problems.load(**options)
        for contender in plan.strategies:
            strategy_of(contender, problem, 0)


def _require_small(what: str, value: Any) -> None:
    """Refuse numbers, also in lists and tables, that would keep this machine busy for days or fill it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _require_small(name, inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _require_small(what, inner)
    elif isinstance(value, (int, float)) and abs(value) > LARGEST_NUMBER:
        raise UsageError(f"{what[:60]} is {shown(value)}; numbers of a plan are at most {LARGEST_NUMBER}")


def import_plugins(plugins: Sequence[str]) -> None:
    """Import what registers further entries.

    Raises:
        UsageError: one cannot be imported.
    """
    for module in plugins:
        if not all(part.isidentifier() for part in module.split(".")):
            raise UsageError(
                f"a plugin is the name of a module, got {shown(module)}", hint="Such as my_strategies.fast."
            )
        try:
            import_module(module)
        except ImportError as error:
            raise UsageError(f"cannot import the plugin {module!r}: {error}", hint="Is it on PYTHONPATH?") from error
        except Exception as error:  # a module of somebody else may do whatever it likes
            raise UsageError(
                f"the plugin {module!r} fails where it is imported: {type(error).__name__}: {error}",
                hint=f"Mend it, or leave it out; python -c 'import {module}' shows where.",
            ) from error


def strategy_of(contender: Contender, problem: Problem, seed: int) -> strategies.Strategy:
    """The strategy, told of the problem what it may know."""
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
