"""The conformance kit for gradient strategies."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.errors import HwnasError
from nas import gradient, spaces
from nas.arrays import Archs
from nas.gradient.protocol import DifferentiableCost, Diverged, Found, GradientProblem, Priced, descends
from nas.nn import Choice
from nas.spaces.protocol import Space
from nas.testing.rules import require
from nas.weights import supernets
from nas.weights.data.protocol import Part
from predictors.encoding import CostTable

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Settings, of strategies that have them, where nothing needs to be learned, and where something does.
_QUICK, _LEARNING = {"weights": (0.0, 1.0), "steps": 3, "batch": 8}, {"steps": 40, "batch": 16}
#: Inputs, classes and examples of the toy problem.
_WIDTH, _CLASSES, _EXAMPLES = 8, 3, 64
#: Prices of the options of its genes: linear, tanh, skip.
_PRICES = np.array([1.0, 3.0, 0.2])
#: How far probabilities may be from adding up to 1, and a cost at one-hot ones from the table, relatively.
_SUM, _ONE_HOT = 1e-4, 1e-4


def check_gradient(name: str, **settings: Any) -> None:
    """Hold a gradient strategy to `nas.gradient.protocol`, on a space of 27 small networks with known costs.

    Of one that is marked by `no_descent` rules 5 to 8 ask for no gradient: costs must have been asked for, and all that
    is found must keep bounds that some networks keep.

    Args:
        name: a registered one.
        settings: of it; without them `weights`, `steps` and `batch` are what is quick.

    Raises:
        AssertionError: it breaks a rule; the message says which one, and how.
    """
    kit = _Kit(name, settings)
    _check_replay(kit)
    _check_gradients_arrive(kit)
    _check_bound(kit)
    _check_no_numbers(kit)


@dataclass(frozen=True)
class _Data:
    """A data set whose loss can be made no number: at the calls that `broken` says, or at all if it is None."""

    train: Part
    valid: Part
    broken: frozenset[int] | None = frozenset()
    calls: list[int] = field(default_factory=list)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy, a scalar."""
        from torch.nn import functional

        self.calls.append(len(self.calls))
        found = functional.cross_entropy(outputs, targets)
        return found * float("nan") if self.broken is None or self.calls[-1] in self.broken else found


@dataclass
class _Recorded:
    """A cost that remembers the probabilities it was given, and the gradients that came back through it.

    Attributes:
        table: of the cost.
        plain: also probabilities that no gradient reaches are remembered.
    """

    table: CostTable
    plain: bool = False
    given: list[list[Tensor]] = field(default_factory=list)
    slopes: list[float] = field(default_factory=list)

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """See `DifferentiableCost`."""
        cost = self.table.differentiable()(probabilities)
        if cost.requires_grad or self.plain:
            self.given.append([row.detach() for row in probabilities])
        if cost.requires_grad:
            cost.register_hook(lambda slope: self.slopes.append(float(slope)))  # type: ignore[no-untyped-call]
        return cost


class _Kit:
    """A strategy and the toy problem."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self.name = name
        self.settings = settings
        self.make = gradient.REGISTRY.get(name)
        self.descends = descends(self.make)
        known = inspect.signature(self.make).parameters
        self.quick, self.learning = (
            {key: value for key, value in given.items() if key in known} | settings for given in (_QUICK, _LEARNING)
        )

    def problem(self, cost: DifferentiableCost, budget: int = 8, **more: Any) -> GradientProblem:
        """A search for networks of the toy space; its supernet is fresh."""
        supernet = supernets.of(_space())
        data = more.pop("data", _data())
        return GradientProblem(
            _space(), supernet=lambda: supernet, data=lambda: data, cost=cost, budget=budget, seed=3, **more
        )

    def quickly(self, problem: GradientProblem) -> list[Found]:
        """What is found with few steps."""
        return list(self.make(problem, **self.quick))


@cache
def _space() -> Space:
    """27 networks of three layers."""
    from torch import nn

    def layer(name: str) -> nn.Module:
        curved = nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.Tanh())
        return Choice({"linear": nn.Linear(_WIDTH, _WIDTH), "tanh": curved, "skip": nn.Identity()}, name=name)

    def network() -> nn.Module:
        return nn.Sequential(layer("first"), layer("second"), layer("third"), nn.Linear(_WIDTH, _CLASSES))

    return spaces.from_module(network, (1, _WIDTH))


def _data(broken: frozenset[int] | None = frozenset()) -> _Data:
    """Classes that a small network tells apart."""
    import torch

    generator = torch.Generator().manual_seed(11)
    teacher = torch.randn(_WIDTH, _CLASSES, generator=generator)

    def part() -> Part:
        inputs = torch.randn(_EXAMPLES, _WIDTH, generator=generator)
        return Part(inputs, (inputs.tanh() @ teacher).argmax(dim=1))

    return _Data(part(), part(), broken)


def _table(prices: Sequence[float] | np.ndarray[Any, Any] = _PRICES) -> CostTable:
    genes = range(len(_space().choices))
    return CostTable(
        _space().choices,
        tuple((gene,) for gene in genes),
        (np.array(prices, dtype=float, copy=True, order="C"),) * len(genes),
    )


def _plain(found: Sequence[Found]) -> list[tuple[int, list[list[int]], str]]:
    return [(one.run, np.asarray(one.archs).tolist(), one.note) for one in found]


def _check_replay(kit: _Kit) -> None:
    """Equal seeds find the same, a finished run is left out, and the shared weights stay as they are."""
    import torch

    cost = _Recorded(_table(), plain=not kit.descends)
    problem = kit.problem(cost)
    before = {key: value.clone() for key, value in problem.supernet().state_dict().items()}
    found = kit.quickly(problem)
    _check_found(problem, found)
    after = problem.supernet().state_dict()
    same = all(torch.equal(value, after[key]) for key, value in before.items())
    require(same, "rule 1 (shared weights are the search's)", "they were changed; work on a copy")
    with _other_numbers():
        require(
            _plain(kit.quickly(problem)) == _plain(found), "rule 2 (equal seeds find the same)", "a second run differs"
        )
    for run in {one.run for one in found}:
        rest = kit.quickly(replace(problem, skip=frozenset({run})))
        wanted = [one for one in _plain(found) if one[0] != run]
        require(_plain(rest) == wanted, "rule 3 (finished runs are skipped)", f"others differ without run {run}")
    _check_probabilities(cost, found)


def _check_found(problem: GradientProblem, found: Sequence[Found]) -> None:
    rule = "rule 4 (what is found is in the space)"
    require(bool(found), rule, "nothing was found")
    numbers = [one.run for one in found]
    require(len(set(numbers)) == len(numbers), rule, f"runs have numbers {numbers}; each needs one of its own")
    total = 0
    for one in found:
        archs: Archs = np.asarray(one.archs)
        require(isinstance(one.note, str) and bool(one.note), rule, f"the note of run {one.run} is {one.note!r}")
        fits = archs.ndim == 2 and archs.shape[1] == len(problem.space.choices) and archs.dtype == np.int64
        require(fits, rule, f"run {one.run} found {archs.shape} of {archs.dtype}, not int64 (n, d)")
        inside = bool(((archs >= 0) & (archs < np.array(problem.space.choices))).all())
        require(inside, rule, f"run {one.run} found an option that no gene has")
        distinct = len(np.unique(problem.space.canonical(archs), axis=0))
        require(distinct == len(archs), rule, f"run {one.run} found one network twice")
        total += len(archs)
    require(total <= problem.budget, rule, f"{total} architectures were found, the budget is {problem.budget}")


def _check_probabilities(cost: _Recorded, found: Sequence[Found]) -> None:
    """Costs are asked for at probabilities, and at one-hot ones are those of the architecture."""
    import torch

    rule = "rule 5 (costs are expected under probabilities)"
    require(bool(cost.given), rule, f"no cost was asked for{'' if cost.plain else ' that gradients reach'}")
    for rows in cost.given:
        fits = tuple(row.shape[-1] for row in rows) == _space().choices
        sums = max(float((row.sum(dim=-1) - 1).abs().max()) for row in rows) if fits else np.inf
        require(fits and sums < _SUM, rule, f"it was asked for at rows that add up to 1 within {sums:.2g}")
        require(min(float(row.min()) for row in rows) >= 0, rule, "it was asked for at a negative probability")
    for archs in (one.archs for one in found):
        one_hot = [
            torch.nn.functional.one_hot(torch.from_numpy(archs[:, gene]), options).double()
            for gene, options in enumerate(_space().choices)
        ]
        got, wanted = cost.table.differentiable()(one_hot).numpy(), cost.table.predict(archs)
        require(np.allclose(got, wanted, rtol=_ONE_HOT), rule, f"one-hot costs are {got}, architectures' {wanted}")


def _check_gradients_arrive(kit: _Kit) -> None:
    """Every predicted cost, and every bound that is broken, moves the architecture."""
    if not kit.descends:
        _check_all_within(kit)
        return
    first, second = _Recorded(_table()), _Recorded(_table(_PRICES[::-1]))
    kit.quickly(kit.problem(first, more=(Priced(second),)))
    for label, cost in (("first", first), ("second", second)):
        require(any(cost.slopes), "rule 6 (every cost is descended)", f"no gradient reaches the {label} cost")
    for label, bounds in (("upper", {"bound": 0.1}), ("lower", {"floor": 100.0})):
        cost = _Recorded(_table())
        kit.quickly(kit.problem(cost, budget=1, **bounds))
        pulls = any(slope > 0 if label == "upper" else slope < 0 for slope in cost.slopes)
        require(pulls, "rule 7 (bounds are kept)", f"a broken {label} bound does not pull at the cost")


def _check_all_within(kit: _Kit) -> None:
    """Every predicted cost is asked for, and whatever is found is within bounds."""
    tables = (_table(), _table(_PRICES[::-1]))
    for label, bounds in (("upper", {"bound": 4.0}), ("lower", {"floor": 6.0})):
        first, second = (_Recorded(table, plain=True) for table in tables)
        found = kit.quickly(kit.problem(first, more=(Priced(second, **bounds),)))
        require(bool(first.given and second.given), "rule 6 (every cost counts)", "one was not asked for")
        costs = np.concatenate([tables[1].predict(one.archs) for one in found])
        kept = (costs <= bounds.get("bound", np.inf)) & (costs >= bounds.get("floor", -np.inf))
        require(bool(kept.all()), "rule 7 (bounds are kept)", f"costs {costs[~kept]} break the {label} bound")


def _check_bound(kit: _Kit) -> None:
    """The most probable network meets a bound that most networks break."""
    table, bound = _table(), 2.0
    found = list(kit.make(kit.problem(table.differentiable(), budget=1, bound=bound), **kit.learning))
    cost = float(table.predict(found[0].archs[:1])[0])
    require(cost <= bound, "rule 7 (bounds are kept)", f"a cost of {cost:.3g} was found, the bound is {bound:g}")


def _check_no_numbers(kit: _Kit) -> None:
    """Losses that are no numbers cost their step; if there are no others, the search says so, and keeps what it has."""
    rule = "rule 8 (losses that are no numbers)"
    few = kit.problem(_table().differentiable(), data=_data(frozenset({2, 5})))
    found = kit.quickly(few)
    _check_found(few, found)
    ended: HwnasError | None = None
    kept = []
    try:
        for one in kit.make(kit.problem(_table().differentiable(), data=_data(None)), **kit.learning):
            kept.append(one)
    except Diverged as error:
        ended = error
    require(ended is not None and bool(ended.hint), rule, "a search without any number did not end in Diverged")
    require(bool(kept) or not kit.descends, rule, "the last good state of the run was not yielded before")


@contextmanager
def _other_numbers() -> Iterator[None]:
    """Torch's generator of all is elsewhere, for a while."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1234)
        yield
