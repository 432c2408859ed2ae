"""Decomposed exact search: sums are solved exactly, true costs decide, and it runs as any strategy by gradients."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from device_profiles.errors import UsageError
from nas import testing
from nas.gradient.additive import scores as scoring
from nas.gradient.additive.choosing import Chooser
from nas.gradient.additive.costs import Affine, affine
from nas.gradient.additive.knapsack import Knapsack, Limits
from nas.gradient.blockwise import blockwise
from nas.gradient.parts.costs import one_hot
from nas.gradient.protocol import Diverged, Priced
from nas.testing import gradients as kit
from predictors.differentiable.surface import Surface
from predictors.encoding import CostTable

pytestmark = pytest.mark.usefixtures("one_thread")


def table(parts):
    """A cost that is a sum over genes."""
    return CostTable(tuple(map(len, parts)), tuple((gene,) for gene in range(len(parts))), tuple(parts))


def parts_of(rng, choices, low=0.0):
    return tuple(rng.uniform(low, 1.0, options) for options in choices)


def everything(choices):
    return np.array(list(itertools.product(*map(range, choices))))


def total(parts, archs):
    return np.sum([part[archs[:, gene]] for gene, part in enumerate(parts)], axis=0)


@pytest.fixture(scope="module")
def problem():
    """27 networks of three layers, with a cost by layer."""
    return kit._Kit("blockwise", {}).problem(kit._table().differentiable())


def plain(runs):
    return [(one.run, one.archs.tolist(), one.note) for one in runs]


# -- exactness


@settings(max_examples=40, deadline=None)
@given(
    choices=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    seed=st.integers(0, 2**16),
    share=st.floats(0.0, 1.0),
    bounds=st.sampled_from(["upper", "lower", "both", "two"]),
    integers=st.booleans(),
)
def test_the_knapsack_finds_what_enumeration_finds(choices, seed, share, bounds, integers):
    rng = np.random.default_rng(seed)
    scores, cost, other = (parts_of(rng, choices, -1.0) for _ in range(3))
    if integers:  # ties, and sums that are equal to bounds
        scores, cost, other = (tuple(np.round(4 * part) for part in parts) for parts in (scores, cost, other))
    archs = everything(choices)
    sums, others = total(cost, archs), total(other, archs)
    middle = float(np.quantile(sums, share, method="nearest"))
    limits = {
        "upper": [Limits(cost, middle)],
        "lower": [Limits(cost, lower=middle)],
        "both": [Limits(cost, middle + 0.5, middle - 0.5)],
        "two": [Limits(cost, middle), Limits(other, float(np.median(others)))],
    }[bounds]
    meets = np.all(
        [
            (total(one.parts, archs) <= one.upper + 1e-9) & (total(one.parts, archs) >= one.lower - 1e-9)
            for one in limits
        ],
        axis=0,
    )
    found = Knapsack(tuple(choices)).best(scores, limits)
    if not meets.any():
        assert found is None
        return
    assert found is not None and meets[(archs == found).all(axis=1)].all()
    assert total(scores, found[None, :])[0] == pytest.approx(total(scores, archs)[meets].min(), abs=1e-7)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_cuts_give_the_next_best_until_all_are_ruled_out(seed):
    choices, rng = (2, 3, 2), np.random.default_rng(seed)
    scores, knapsack = parts_of(rng, choices), Knapsack((2, 3, 2))
    found = []
    while (arch := knapsack.best(scores, [])) is not None:
        knapsack.cuts.append(arch)
        found.append(arch)
    np.testing.assert_allclose(total(scores, np.array(found)), np.sort(total(scores, everything(choices))), atol=1e-7)


@pytest.mark.parametrize("sign", [1, -1], ids=["upper", "lower"])
def test_where_no_network_meets_bounds_the_closest_is_found(sign):
    choices, rng = (3, 3, 2), np.random.default_rng(1)
    cost = parts_of(rng, choices, 0.5)
    limit = Limits(cost, 0.1) if sign > 0 else Limits(cost, lower=100.0)
    found = Knapsack(choices).closest([limit])
    assert total(cost, found[None, :])[0] == pytest.approx((sign * total(cost, everything(choices))).min() * sign)


class Chain:
    """A space of any size in which all genomes are networks of their own; those that `dead` says have no function."""

    spec = "chain of the test"

    def __init__(self, choices, dead=lambda archs: np.zeros(len(archs), dtype=bool)):
        self.choices, self.dead = tuple(choices), dead
        self.size = int(np.prod([float(options) for options in choices]))

    def sample(self, n, rng):
        rows = np.stack([rng.integers(0, options, 4 * n) for options in self.choices], axis=1)
        return rows[self.is_valid(rows)][:n]

    def canonical(self, archs):
        return archs

    def is_valid(self, archs):
        return ~self.dead(archs)


def chooser(problem, space, scores, *costs, **bounds):
    """A chooser over costs, the first with the bounds."""
    first, *more = costs
    more = tuple(one if isinstance(one, Priced) else Priced(one) for one in more)
    problem = replace(problem, space=space, cost=first, more=more, **bounds)
    none = np.zeros((0, len(space.choices)), dtype=np.int64)
    return Chooser(problem, scores, tuple(affine(problem, price.cost, none) for price in problem.priced))


@pytest.mark.parametrize("seed", range(4))
def test_every_budget_has_the_best_that_enumeration_finds(problem, seed):
    choices, rng = (3, 4, 2, 3), np.random.default_rng(seed)
    scores, cost = parts_of(rng, choices), parts_of(rng, choices, 0.1)
    found = list(chooser(problem, Chain(choices), scores, table(cost).differentiable()).all(6, 6))
    archs = everything(choices)
    assert found
    for arch, (budget,) in found[:3]:  # of the first round
        assert total(cost, arch[None, :])[0] <= budget
    meets = total(cost, archs) <= found[0][1][0]
    assert total(scores, found[0][0][None, :])[0] == pytest.approx(total(scores, archs)[meets].min(), abs=1e-7)


def test_first_the_best_of_budgets_then_what_is_next(problem):
    choices, rng = (3, 3, 2), np.random.default_rng(2)
    scores, cost = parts_of(rng, choices), parts_of(rng, choices, 0.1)
    made = chooser(problem, Chain(choices), scores, table(cost).differentiable())
    found = [tuple(arch) for arch, _ in made.all(100, 5)]
    assert len(found) == len(set(found)) == 18, "all there are, each once"


def test_networks_without_a_function_are_ruled_out(problem):
    choices, rng = (3, 3, 2), np.random.default_rng(3)
    scores, cost = parts_of(rng, choices), parts_of(rng, choices, 0.1)
    best = [part.argmin() for part in scores]
    space = Chain(choices, lambda archs: (archs[:, :2] == best[:2]).all(axis=1))
    (arch, limits), *_ = chooser(problem, space, scores, table(cost).differentiable()).all(1, 1)
    archs = everything(choices)
    alive = space.is_valid(archs)
    assert limits == (np.inf,) and space.is_valid(arch[None, :])[0]
    assert total(scores, arch[None, :])[0] == pytest.approx(total(scores, archs)[alive].min(), abs=1e-7)


# -- costs that are no sums


def curved(rng, choices):
    """A cost with pairs of genes that matter."""
    effects = np.concatenate([[3.0], *(part - part.mean() for part in parts_of(rng, choices))])
    anchors = np.stack([rng.integers(0, options, 6) for options in choices], axis=1)
    return Surface(tuple(choices), effects, 0.01, anchors, rng.normal(0, 0.2, 6))


def test_a_sum_is_fitted_exactly_and_says_how_far_it_is_off(problem):
    choices, rng = (3, 4, 2, 3), np.random.default_rng(0)
    space, none = Chain(choices), np.zeros((0, 4), dtype=np.int64)
    cost, archs = parts_of(rng, choices, 0.1), everything(choices)
    exact = affine(replace(problem, space=space), table(cost).differentiable(), none)
    np.testing.assert_allclose(exact.predict(archs), total(cost, archs), rtol=1e-9)
    assert exact.error < 1e-9
    off = affine(replace(problem, space=space), curved(rng, choices), none)
    assert isinstance(off, Affine) and off.error > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_find_is_above_a_budget_or_a_bound_by_the_true_cost(problem, seed):
    choices, rng = (3, 4, 3, 4), np.random.default_rng(seed)
    cost, archs = curved(rng, choices), everything(choices)
    true = one_hot(cost, archs, choices)
    low, high = np.quantile(true, [0.2, 0.7])
    made = chooser(problem, Chain(choices), parts_of(rng, choices), cost, bound=float(high), floor=float(low))
    found = list(made.all(6, 4))
    assert len(found) > 2
    for arch, (budget,) in found:
        value = float(one_hot(cost, arch[None, :], choices)[0])
        assert low <= value <= min(budget, high)


def test_a_further_cost_is_held_by_its_bound_and_has_budgets_where_it_has_none(problem):
    choices, rng = (3, 4, 3, 4), np.random.default_rng(5)
    scores = parts_of(rng, choices)
    first, second = (table(parts_of(rng, choices, 0.1)) for _ in range(2))
    bound = float(np.quantile(second.predict(everything(choices)), 0.4))
    bounded = Priced(second.differentiable(), bound)
    found = list(chooser(problem, Chain(choices), scores, first.differentiable(), bounded).all(9, 9))
    assert found and all(np.isinf(limits[1]) for _, limits in found)
    assert all(second.predict(arch[None, :])[0] <= bound for arch, _ in found)
    free = chooser(problem, Chain(choices), scores, first.differentiable(), second.differentiable())
    grid = free.grid(9)
    assert len(grid) == 9 and len({limits[1] for limits in grid}) == 3 and grid[-1] == (np.inf, np.inf)
    for arch, limits in free.all(9, 9):
        values = [one.predict(arch[None, :])[0] for one in (first, second)]
        assert all(value <= limit + 1e-9 for value, limit in zip(values, limits, strict=True))


def test_twenty_two_genes_of_seven_options(problem):
    choices, rng = (7,) * 22, np.random.default_rng(0)
    made = chooser(problem, Chain(choices), parts_of(rng, choices), table(parts_of(rng, choices, 0.1)).differentiable())
    assert len(list(made.all(24, 24))) == 24


# -- scores


def test_scores_are_losses_of_single_replacements(problem):
    found = scoring.score(problem, 2, 16)
    supernet, data = problem.supernet().eval(), problem.data()
    near = scoring.neighbourhoods(problem, 2)
    (inputs, targets) = scoring.minibatch(data.valid, 16, scoring.stream(problem.seed, "blockwise.batch"))
    for gene, effects in enumerate(found.effects):
        rows = []
        for centre in near:
            with torch.no_grad():
                losses = np.array([float(data.loss(supernet.forward_path(inputs, a), targets)) for a in centre[gene]])
            rows.append(losses - losses.min())
        mean = np.mean(rows, axis=0)
        np.testing.assert_allclose(effects, mean - mean.min(), atol=1e-9)
    assert found.lost == 0 and problem.space.is_valid(found.archs).all()


def test_the_one_that_scores_best_is_near_the_best_of_all(problem):
    """Three layers nearly add up: what is found is in the best half by the loss itself."""
    run = next(blockwise(replace(problem, budget=1)))
    judge = scoring._judge(problem, 64)
    losses = np.array([judge(arch) for arch in everything((3, 3, 3))])
    assert judge(run.archs[0]) <= np.median(losses)


def test_what_has_no_number_counts_as_the_worst():
    np.testing.assert_allclose(scoring._filled(np.array([2.0, np.nan, 3.0, 1.0])), [1.0, 2.0, 2.0, 0.0])


# -- as a strategy


def test_it_holds_to_the_kit():
    testing.check_gradient("blockwise")


def test_the_kit_sees_a_solver_that_breaks_bounds(monkeypatch):
    from nas import gradient
    from nas.gradient.protocol import all_costs, no_descent

    def careless(problem, **settings):
        more = tuple(replace(price, bound=None, floor=None) for price in problem.more)
        return blockwise(replace(problem, more=more), batch=8)

    monkeypatch.setattr(gradient.REGISTRY, "_registered", {"careless": no_descent(all_costs(careless))})
    with pytest.raises(AssertionError, match="rule 7"):
        testing.check_gradient("careless")


def test_runs_have_numbers_and_finished_ones_are_left_out(problem):
    runs = list(blockwise(problem, batch=16))
    assert [one.run for one in runs] == list(range(8))
    assert "budget " in runs[0].note and "costs as sums are off by 0.00%" in runs[0].note
    rest = list(blockwise(replace(problem, skip=frozenset({0, 2, 5})), batch=16))
    assert plain(rest) == [one for one in plain(runs) if one[0] not in (0, 2, 5)]
    assert not list(blockwise(replace(problem, skip=frozenset(range(8)), supernet=None), batch=16))


def test_bounds_that_none_meets_give_the_closest(problem):
    (run,) = blockwise(replace(problem, bound=0.1), batch=16)
    assert run.archs.tolist() == [[2, 2, 2]] and run.note.startswith("beyond the bounds")


def test_losses_without_numbers_are_told(problem):
    broken = kit._data(frozenset({2, 5}))
    run = next(blockwise(replace(problem, data=lambda: broken), batch=16))
    assert "2 losses without a number left out" in run.note
    nothing = kit._data(None)
    with pytest.raises(Diverged, match="no scores") as ended:
        list(blockwise(replace(problem, data=lambda: nothing), batch=16))
    assert "train_steps" in ended.value.hint


@pytest.mark.parametrize("name", ["budgets", "references", "batch"])
def test_settings_below_one_are_refused(problem, name):
    with pytest.raises(UsageError, match="at least one"):
        list(blockwise(problem, **{name: 0}))


def test_it_runs_in_a_search_and_goes_on_where_it_ended(small, fake, latency, tmp_path):
    def search(evaluations, folder):
        return nas.search(
            small,
            objectives=["accuracy", f"latency:{latency}"],
            strategy="blockwise",
            evaluations=evaluations,
            constraints=["latency <= 10 s"],
            data="digits",
            target=fake,
            settings={"train_steps": 5, "images": 100, "blockwise.references": 2, "blockwise.batch": 32},
            folder=tmp_path / folder,
        )

    first = search(4, "run")
    trials = first.study.trials()
    assert len(trials) == 4 and first.front and not first.failures
    assert len(np.unique(small.canonical(np.array([trial.arch for trial in trials])), axis=0)) == 4
    again = search(4, "run")
    assert [trial.arch for trial in again.study.trials()] == [trial.arch for trial in trials]
    other = search(4, "other")
    assert [trial.arch for trial in other.study.trials()] == [trial.arch for trial in trials]


def test_a_bound_is_kept_in_a_search(bounded):
    settings = {"train_steps": 5, "images": 100, "blockwise.references": 2, "blockwise.batch": 32}
    result, bound = bounded("blockwise", 5, settings)
    found = [trial.value("latency") for trial in result.study.trials()]
    assert found and max(found) <= bound * (1 + 1e-9)
