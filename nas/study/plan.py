"""What a search is asked for: one frozen record, checked before anything is computed, stored with the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from device_profiles.arguments import check_arguments
from device_profiles.errors import PluginError, UnknownName, UsageError
from device_profiles.profile import Target, to_plain
from device_profiles.units import LONGEST_S
from nas import evaluators, gradient, strategies
from nas.evaluators.protocol import Budget, Evaluator
from nas.gradient import protocol as gradient_protocol
from nas.objectives import Constraint
from nas.spaces.protocol import Space

#: Settings of the search itself: how long one evaluation may take, how long a plug-in may take to open, ask or be told,
#: how many of each architecture a noisy objective is the mean of, the budget of each that takes one, and how many
#: networks are trained alone in the end.
SETTINGS = ("budget", "evaluation_seconds", "plugin_seconds", "replicates", "stand_alone")
#: Those that may be asked anew of a run: no value depends on them.
_ASKED_ANEW = ("stand_alone",)

#: Seeds are numbers of 32 bits: they are added to, stored, and given to libraries that take no more.
LARGEST_SEED = 2**32 - 1
#: Evaluations of one architecture; the mean of more is known to 0.1 % of their scatter.
MOST_REPLICATES = 1_000_000


@dataclass(frozen=True)
class SearchPlan:
    """What a search is asked for, resolved.

    Attributes:
        space: spec of the space.
        objectives: `NAME`, `SPEC` or `NAME=SPEC`, see `nas.evaluators`.
        strategies: registered names, of those that ask and tell and of those that own gradients.
        evaluations: architectures that each strategy has judged; with `then`, both together.
        constraints: such as `latency <= 2 ms`.
        seed: of everything random.
        data: name of the data, see `nas.weights.data`, or None.
        target: where `latency:measured` and the finalists are measured, or None.
        settings: of evaluators (`train_steps`) and of strategies (`gdas.steps`).
        again: further evaluations after the search, of what makes the front most certain.
        finalists: architectures of the front to export and measure after that.
        then: a strategy that asks and tells, which goes on where the only other one has ended, told all that was
            judged; or None.
    """

    space: str
    objectives: tuple[str, ...]
    strategies: tuple[str, ...] = ("auto",)
    evaluations: int = 200
    constraints: tuple[str, ...] = ()
    seed: int = 0
    data: str | None = None
    target: Target | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    again: int = 0
    finalists: int = 0
    then: str | None = None

    @property
    def named(self) -> tuple[str, ...]:
        """All strategies, in the order in which they run."""
        return self.strategies if self.then is None else (*self.strategies, self.then)

    @property
    def first_share(self) -> int:
        """Evaluations of each strategy before `then`, which has what they leave: half of them where there is one."""
        return self.evaluations if self.then is None else self.evaluations // 2

    def settings_of(self, strategy: str) -> dict[str, Any]:
        """Settings of one strategy, without its prefix."""
        prefix = f"{strategy}."
        return {key.removeprefix(prefix): value for key, value in self.settings.items() if key.startswith(prefix)}

    @property
    def shared_settings(self) -> dict[str, Any]:
        """Settings of the evaluators."""
        return {key: value for key, value in self.settings.items() if "." not in key}

    @property
    def replicates(self) -> int:
        """Evaluations of each architecture by objectives that can be asked again."""
        count: int = self.settings.get("replicates", 1)
        return count

    @property
    def budget(self) -> Budget:
        """Under which objectives that take a budget are evaluated.

        Raises:
            UsageError: the setting is none.
        """
        text = self.settings.get("budget", "")
        if not isinstance(text, str):
            raise UsageError(f"setting budget must be text such as epochs=5, got {text!r}")
        return Budget.of(text)


def check(plan: SearchPlan) -> None:
    """Refuse a plan that names what is not there.

    Raises:
        UsageError: there is nothing to search for, or with.
        UnknownName: no strategy, or no reader of a setting, has the name.
    """
    if plan.evaluations < 1 or not plan.strategies or not plan.objectives:
        raise UsageError(
            f"a search needs at least one objective, one strategy and one evaluation, got {plan.objectives}, "
            f"{plan.strategies}, {plan.evaluations}"
        )
    known = (*strategies.names(), *gradient.names())
    for name in plan.named:
        if name not in known:
            raise UnknownName("strategy", name, known)
    if plan.then is not None:
        _check_then(plan, plan.then)
    readers = {setting for kind in evaluators.kinds() for setting in kind.settings} | set(SETTINGS)
    for key in plan.settings:
        strategy, dot, _ = key.partition(".")
        if strategy not in known if dot else key not in readers:
            raise UnknownName("setting", key, (*readers, *_meant(key, plan)))
    if not isinstance(plan.seed, int) or isinstance(plan.seed, bool) or not 0 <= plan.seed <= LARGEST_SEED:
        raise UsageError(f"a seed must be a whole number in 0..{LARGEST_SEED}, got {plan.seed!r}")
    if not _is_count(count := plan.replicates):
        raise UsageError(f"setting replicates must be a whole number of 1 to {MOST_REPLICATES}, got {count!r}")
    _ = plan.budget  # refused if it is none
    for key in ("evaluation_seconds", "plugin_seconds"):
        seconds = plan.settings.get(key)
        if seconds is not None and not _is_duration(seconds):
            raise UsageError(
                f"setting {key} must be a number of seconds above 0 and at most {LONGEST_S:.0f}, got {seconds!r}"
            )
    for name in plan.named:
        _check_settings(name, plan)


def with_wanted(plan: SearchPlan) -> SearchPlan:
    """The plan with the shared weights that its strategies are made for, where the user did not say otherwise.

    Raises:
        UsageError: two of them are made for different ones.
    """
    found: dict[str, tuple[str, Any]] = {}
    for name in plan.strategies:
        if name not in gradient.names():
            continue
        for key, value in gradient_protocol.wanted_by(gradient.REGISTRY.get(name)).items():
            other, before = found.setdefault(key, (name, value))
            if before != value and key not in plan.settings:
                raise UsageError(
                    f"strategy {other!r} is made for {key}={before}, and {name!r} for {key}={value}: a search has one "
                    "set of shared weights",
                    hint=f"Say which: --set {key}=..., or search in two runs.",
                )
    return replace(plan, settings={**{key: value for key, (_, value) in found.items()}, **plan.settings})


def _check_then(plan: SearchPlan, then: str) -> None:
    """Refuse a strategy that cannot go on.

    Raises:
        UsageError: it does not ask and tell, is the one that it follows, or there is not one that it follows alone; or
            there is no evaluation for each.
    """
    if then in gradient.names():
        raise UsageError(
            f"strategy {then!r} cannot go on where another one ended: it is told nothing",
            hint=f"Use one that asks and tells: {', '.join(strategies.names())}.",
        )
    if len(plan.strategies) > 1 or then in plan.strategies:
        raise UsageError(
            f"{then!r} goes on after one other strategy, got {', '.join(plan.strategies)}",
            hint="Give one --strategy, and another one with --then.",
        )
    if plan.evaluations < len(plan.named):
        raise UsageError(f"two strategies need an evaluation each, got {plan.evaluations}")


#: What `strategies.create` takes by these names, the search says.
_SAID = frozenset(inspect.signature(strategies.create).parameters)


def settings_of(strategy: str) -> dict[str, inspect.Parameter] | None:
    """The settings of a strategy by their names, with defaults; None where it takes any."""
    parameters = inspect.signature(_maker(strategy)).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    # The first is the problem.
    return {key: one for key, one in list(parameters.items())[1:] if key not in _SAID}


def _maker(strategy: str) -> Callable[..., Any]:
    return gradient.REGISTRY.get(strategy) if strategy in gradient.names() else strategies.REGISTRY.get(strategy)


def _meant(key: str, plan: SearchPlan) -> list[str]:
    """Settings of the plan's strategies; where none is called as the unknown one is, those of others that are, too."""
    known: dict[str, dict[str, inspect.Parameter]] = {}
    for name in (*strategies.names(), *gradient.names()):
        with suppress(PluginError):
            known[name] = settings_of(name) or {}
    mine = [f"{name}.{setting}" for name in plan.named for setting in known.get(name, ())]
    if any(key in known.get(name, ()) for name in plan.named):
        return mine
    return [*mine, *(f"{name}.{key}" for name, settings in known.items() if key in settings)]


def _check_settings(name: str, plan: SearchPlan) -> None:
    """Refuse a setting that the strategy does not take, or a value of another type.

    Raises:
        UsageError: it is, or one that the strategy cannot be without is missing.
        UnknownName: the strategy has no such setting.
    """
    known, given = settings_of(name), plan.settings_of(name)
    for key in given:
        if known is not None and key in _SAID:
            raise UsageError(f"{key} is no setting of {name}: the search says it", hint=f"Leave {name}.{key} out.")
        if known is not None and key not in known:
            raise UnknownName(f"setting of {name}", key, known)
    said = {} if name in gradient.names() else {"seed": plan.seed}
    check_arguments(f"strategy {name!r}", _maker(name), (None,), {**given, **said})


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_REPLICATES


def _is_duration(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= LONGEST_S


def asked(plan: SearchPlan) -> dict[str, Any]:
    """What may be asked anew of a run, as JSON-ready data."""
    return {
        "strategies": list(plan.strategies),
        "evaluations": plan.evaluations,
        "constraints": list(plan.constraints),
        "target": "" if plan.target is None else plan.target.name,
        "again": plan.again,
        "finalists": plan.finalists,
        **({} if plan.then is None else {"then": plan.then}),
    }


def facts(
    plan: SearchPlan, space: Space, judges: Sequence[Evaluator], constraints: Sequence[Constraint]
) -> dict[str, Any]:
    """What the study is about, as JSON-ready data: a run is continued only with the same."""
    return {
        "space": space.spec,
        "objectives": [asdict(evaluator.objective) for evaluator in judges],
        "sources": [evaluator.identity for evaluator in judges],
        "constraints": [asdict(constraint) for constraint in constraints],
        "seed": plan.seed,
        "data": plan.data or "",
        "target": "" if plan.target is None else to_plain(plan.target),
        "settings": {key: value for key, value in plan.shared_settings.items() if key not in _ASKED_ANEW},
    }
