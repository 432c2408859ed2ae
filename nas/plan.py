"""What a search is asked for: one frozen record, checked before anything is computed, stored with the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from device_profiles.errors import UnknownName, UsageError
from device_profiles.profile import Target, to_plain
from nas import evaluators, gradient, strategies
from nas.evaluators.protocol import Evaluator
from nas.objectives import Constraint
from nas.spaces.protocol import Space

#: Settings of the search itself: how long one evaluation may take, how long a plug-in may take to open, ask or be told,
#: and how many of each architecture a noisy objective is the mean of.
SETTINGS = ("evaluation_seconds", "plugin_seconds", "replicates")


@dataclass(frozen=True)
class SearchPlan:
    """What a search is asked for, resolved.

    Attributes:
        space: spec of the space.
        objectives: `NAME`, `SPEC` or `NAME=SPEC`, see `nas.evaluators`.
        strategies: registered names, of those that ask and tell and of those that own gradients.
        evaluations: architectures that each strategy has judged.
        constraints: such as `latency <= 2 ms`.
        seed: of everything random.
        data: `digits`, an image folder, or None.
        target: where `latency:measured` and the finalists are measured, or None.
        settings: of evaluators (`train_steps`) and of strategies (`gdas.steps`).
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
    for name in plan.strategies:
        if name not in known:
            raise UnknownName("strategy", name, known)
    readers = {setting for kind in evaluators.kinds() for setting in kind.settings} | set(SETTINGS)
    for key in plan.settings:
        strategy, dot, _ = key.partition(".")
        if strategy not in known if dot else key not in readers:
            raise UnknownName("setting", key, (*readers, *(f"{name}.SETTING" for name in known)))
    for key in ("evaluation_seconds", "plugin_seconds"):
        value = plan.settings.get(key)
        if value is not None and (isinstance(value, bool | str) or not 0 < value < float("inf")):
            raise UsageError(f"setting {key} must be a number of seconds above 0, got {value!r}")
    if not isinstance(count := plan.replicates, int) or isinstance(count, bool) or count < 1:
        raise UsageError(f"setting replicates must be a whole number of at least 1, got {count!r}")


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
        "settings": plan.shared_settings,
    }
