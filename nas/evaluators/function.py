"""An objective that is a function of the user: what it says of a network, or of an architecture, is the value."""

from __future__ import annotations

import inspect
import math
import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from device_profiles.errors import ConstantNetwork, UsageError
from nas.arrays import Archs
from nas.evaluators.protocol import Budget, Context, Traits
from nas.objectives import Objective, Values, is_source
from nas.sources import describe, digest
from nas.spaces.protocol import Space
from nas.streams import torch_seed

#: What specs of functions begin with.
FUNCTION = "function"
_MODULES = re.compile(r"module|model|network|\bnet\b", re.IGNORECASE)
_ARCHS = re.compile(r"arch|genome|genes|ndarray", re.IGNORECASE)


@dataclass(frozen=True)
class FunctionObjective:
    """An objective made by `nas.objective`; `nas.search` takes it beside texts.

    Attributes:
        name: of the objective.
        function: of a module or an architecture `(d,)`, and a budget if it has a second argument.
        maximise: whether more is better.
        unit: of its values.
        source: a word that fronts show.
        of_module: whether it is told a module, with fresh weights, or an architecture.
        budgeted: whether it is told a budget.
    """

    name: str
    function: Callable[..., Any]
    maximise: bool
    unit: str
    source: str
    of_module: bool
    budgeted: bool

    @cached_property
    def identity(self) -> str:
        """Digest of the function's source, of what it calls, and of the constants that it reads."""
        return digest(describe(self.function), str(self.maximise), self.unit)

    @property
    def spec(self) -> str:
        """The text it is known by in this process, as `NAME=SPEC`."""
        return f"{self.name}={FUNCTION}:{self.name}-{self.identity}"


#: Of this process, by spec.
_KNOWN: dict[str, FunctionObjective] = {}


def objective(
    name: str, function: Callable[..., Any], *, maximise: bool = False, unit: str = "", source: str = FUNCTION
) -> FunctionObjective:
    """Make an objective of a function, for `nas.search(objectives=[...])`.

    The function is told a module with fresh weights, `function(module, budget)`, or the architecture, `function(arch)`,
    `(d,)` integers: its first argument says which, by its name (`module`, `model`, `network`; `arch`, `genome`) or its
    annotation. The second argument, a `nas.evaluators.protocol.Budget`, may be left out. It gives one number; NaN, and
    an error, cost the architecture and not the search. Before each call torch's generator is seeded from the search's
    seed and the architecture. The function's source is a part of the run: with another one it is not gone on with.

    Args:
        name: letters, digits, `_`, `-` and dots.
        function: of the user.
        maximise: whether more is better.
        unit: such as `fraction` or `ms`.
        source: where values come from, a word of up to 20 letters and dashes, such as `trained`.

    Raises:
        UsageError: the name is none, or it cannot be seen what the function wants to be told.
    """
    if re.fullmatch(r"[A-Za-z_][\w.\-]*", str(name)) is None or not is_source(source):
        raise UsageError(
            f"an objective has a name such as 'accuracy' and a source such as 'trained', got {name!r}, {source!r}"
        )
    if not callable(function):
        raise UsageError(f"objective {name!r} needs a function, got {type(function).__name__}")
    asked = [one for one in _parameters(name, function) if one.default is one.empty or one.name == "budget"]
    if not 1 <= len(asked) <= 2 or asked[0].name == "budget":
        raise UsageError(
            f"the function of objective {name!r} takes {len(asked)} arguments",
            hint="Make it function(module, budget), function(module) or function(arch).",
        )
    return FunctionObjective(name, function, maximise, unit, source, _is_of_module(name, asked[0]), len(asked) == 2)


def _parameters(name: str, function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"it cannot be seen what the function of {name!r} takes", hint="Wrap it in one of Python."
        ) from error


def _is_of_module(name: str, first: inspect.Parameter) -> bool:
    note = first.annotation
    noted = "" if note is first.empty else note if isinstance(note, str) else getattr(note, "__name__", str(note))
    for text in (noted, first.name):
        if _ARCHS.search(text) or _MODULES.search(text):
            return _ARCHS.search(text) is None
    raise UsageError(
        f"the first argument of objective {name!r}, {first.name!r}, may be a module or an architecture",
        hint="Call it module or arch.",
    )


@dataclass(frozen=True)
class FunctionEvaluator:
    """A function's values, one architecture after the other; each distinct network is judged once."""

    objective: Objective
    function: FunctionObjective
    space: Space
    seed: int
    free: bool = False
    known: dict[tuple[bytes, str], float] = field(default_factory=dict)
    traits: ClassVar[Traits] = Traits()

    @property
    def identity(self) -> str:
        """Of the function."""
        return self.function.identity

    @property
    def budgeted(self) -> bool:
        """Whether the function is told a budget."""
        return self.function.budgeted

    def evaluate(self, archs: Archs, budget: Budget | None = None) -> Values:
        """What the function says of each of `(n, d)`; NaN where that is no finite number, or there is no network."""
        limit = budget or Budget()
        found = []
        for arch in self.space.canonical(archs):
            key = arch.tobytes(), limit.key
            if key not in self.known:
                self.known[key] = self._value(arch, limit)
            found.append(self.known[key])
        return Values(np.array(found, dtype=np.float64))

    def _value(self, arch: Archs, budget: Budget) -> float:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(self.seed, "evaluators.function", *map(int, arch)))
            try:
                told = self.space.to_module(arch) if self.function.of_module else arch.copy()
            except ConstantNetwork:
                return math.nan
            said = self.function.function(told, budget) if self.budgeted else self.function.function(told)
        value = said.item() if getattr(said, "ndim", None) == 0 and hasattr(said, "item") else said
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise UsageError(
                f"objective {self.objective.name!r} gave {_short(said)} for {self.space.format(arch)}: "
                "it must give a number",
                hint="Return a float from the function; NaN if the architecture has no value.",
            )
        return float(value) if math.isfinite(value) else math.nan


def _short(said: Any) -> str:
    text = repr(said)
    return f"{type(said).__name__} {text if len(text) < 60 else text[:57] + '...'}"


class FunctionKind:
    """`function:NAME-DIGEST`, as `nas.objective` gives it."""

    forms = "nas.objective(NAME, FUNCTION) from Python"
    settings = ()

    def claims(self, spec: str) -> bool:
        """What `nas.objective` gave."""
        return spec.startswith(f"{FUNCTION}:")

    def default_name(self, spec: str) -> str:
        """The function's."""
        return spec.partition(":")[2].rpartition("-")[0]

    def open(self, name: str, spec: str, context: Context) -> FunctionEvaluator:
        """Judge by a function that this process was given.

        Raises:
            UsageError: it was not.
        """
        if spec not in _KNOWN:
            raise UsageError(
                f"the objective {spec} is a function: no text makes it",
                hint="Pass nas.objective(NAME, FUNCTION) to nas.search in Python.",
            )
        found = _KNOWN[spec]
        about = Objective(name, found.unit, found.maximise, found.source, spec)
        return FunctionEvaluator(about, found, context.space, context.seed)


def keep(one: FunctionObjective) -> str:
    """Let this process know an objective by its text, which is returned."""
    _KNOWN[one.spec.partition("=")[2]] = one
    return one.spec


EVALUATOR = FunctionKind()
