"""Searches that look at many networks: what is exact is found, bounds hold, what was found is found again."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import InfeasibleBudget, UnknownName, UsageError
from nas import gradient, testing
from nas.gradient.big_nas import big_nas
from nas.gradient.once_for_all import once_for_all
from nas.gradient.one_shot import one_shot
from nas.gradient.protocol import Diverged, Priced, wanted_by
from nas.gradient.random_nas import random_nas
from nas.gradient.screening import budgets, drawing, judging
from nas.gradient.screening.judging import Judge, Scored
from nas.pareto import dominance
from nas.testing import gradients as kit

pytestmark = pytest.mark.usefixtures("one_thread")

TRAINERS = {"random-nas": "uniform", "one-shot": "path-dropout", "big-nas": "sandwich", "once-for-all": "shrinking"}
QUICK = {
    "random-nas": {"candidates": 20, "batch": 16},
    "one-shot": {"candidates": 20, "batch": 16},
    "big-nas": {"coarse": 20, "mutants": 2, "rounds": 1, "batch": 16},
    "once-for-all": {"scored": 20, "generations": 3, "population": 10, "batch": 16},
}
MAKERS = {"random-nas": random_nas, "one-shot": one_shot, "big-nas": big_nas, "once-for-all": once_for_all}
ALL = np.array(list(itertools.product(range(3), repeat=3)))


@pytest.fixture(scope="module")
def problem():
    """27 networks of three layers, with a cost by layer."""
    return kit._Kit("random-nas", {}).problem(kit._table().differentiable())


@pytest.fixture(scope="module")
def losses(problem):
    """Of all 27, on all validation examples, as the networks alone have them."""
    valid = problem.data().valid
    found = []
    with torch.no_grad():
        for arch in ALL:
            outputs = problem.supernet().subnet(arch).eval()(valid.inputs)
            found.append(float(torch.nn.functional.cross_entropy(outputs, valid.targets)))
    return np.array(found)


def plain(runs):
    return [(one.run, one.archs.tolist(), one.note) for one in runs]


def archs_of(runs):
    return np.concatenate([one.archs for one in runs])


def cost_of(archs):
    return kit._table().predict(archs)


# -- as strategies


@pytest.mark.parametrize("name", TRAINERS)
def test_each_is_registered_with_the_weights_it_is_made_for_and_holds_to_the_kit(name):
    assert name in gradient.names()
    assert wanted_by(gradient.REGISTRY.get(name)) == {"trainer": TRAINERS[name]}
    testing.check_gradient(name, **QUICK[name])


@pytest.mark.parametrize("name", TRAINERS)
def test_runs_are_single_networks_and_finished_ones_are_left_out(problem, name):
    make, settings = MAKERS[name], QUICK[name]
    runs = list(make(problem, **settings))
    assert [one.run for one in runs] == list(range(len(runs))) and len(runs) > 3
    assert len(np.unique(archs_of(runs), axis=0)) == len(runs)
    rest = list(make(replace(problem, skip=frozenset({0, 2})), **settings))
    assert plain(rest) == [one for one in plain(runs) if one[0] not in (0, 2)]
    assert not list(make(replace(problem, skip=frozenset(range(8)), supernet=None), **settings)), "nothing is scored"


@pytest.mark.parametrize("name", TRAINERS)
def test_bounds_of_all_costs_are_kept(problem, name):
    second = kit._table(kit._PRICES[::-1])
    bounded = replace(
        problem, bound=4.0, floor=1.0, more=(Priced(second.differentiable(), bound=6.5),), cost=problem.cost
    )
    found = archs_of(MAKERS[name](bounded, **QUICK[name]))
    assert (cost_of(found) <= 4.0).all() and (cost_of(found) >= 1.0).all() and (second.predict(found) <= 6.5).all()


@pytest.mark.parametrize("name", ["random-nas", "one-shot", "big-nas"])
def test_bounds_that_none_meets_give_the_closest(problem, name):
    (run,) = MAKERS[name](replace(problem, bound=0.1), **QUICK[name])
    assert run.archs.tolist() == [[2, 2, 2]] and "beyond the bounds" in run.note


@pytest.mark.parametrize("seed", range(4))
def test_once_for_all_takes_its_budgets_from_networks_as_they_are_judged(problem, monkeypatch, seed):
    """A genome may cost less than the canonical one of the same network, as in tables of measurements."""

    def canonical(self, archs):
        return np.where(archs[:, [0]] == 2, np.array([2, 1, 1]), archs)

    monkeypatch.setattr(type(problem.space), "canonical", canonical)
    cheap = cost_of(ALL).min()
    assert cheap < cost_of(canonical(None, ALL)).min()
    runs = list(once_for_all(replace(problem, seed=seed), **QUICK["once-for-all"]))
    assert runs and (canonical(None, archs_of(runs)) == archs_of(runs)).all()


def test_once_for_all_finds_as_many_networks_as_are_wanted_where_many_genomes_are_one(problem, monkeypatch):
    """The best of an evolution may all be one network, by its genomes."""
    monkeypatch.setattr(type(problem.space), "canonical", lambda self, archs: archs * np.array([1, 1, 0]))
    settings = QUICK["once-for-all"] | {"budgets": 2, "population": 27, "generations": 5}
    for seed in range(5):
        assert len(list(once_for_all(replace(problem, seed=seed, budget=6), **settings))) == 6


def test_once_for_all_says_that_no_network_is_within_the_bounds(problem):
    with pytest.raises(InfeasibleBudget, match=r"cost 1 <= 0\.1 in 2700 draws") as refused:
        list(once_for_all(replace(problem, bound=0.1)))
    assert "big-nas" in refused.value.hint


@pytest.mark.parametrize("name", TRAINERS)
def test_losses_without_numbers_are_counted_and_only_if_all_are_such_it_ends(problem, name):
    broken = kit._data(frozenset({15, 16}))
    assert (
        "2 losses without a number left out"
        in next(MAKERS[name](replace(problem, data=lambda: broken), **QUICK[name])).note
    )
    nothing = kit._data(None)
    with pytest.raises(Diverged, match=f"{name} has no scores") as ended:
        list(MAKERS[name](replace(problem, data=lambda: nothing), **QUICK[name]))
    assert "train_steps" in ended.value.hint


@pytest.mark.parametrize(
    ("name", "setting"),
    [("random-nas", "rounds"), ("one-shot", "keep"), ("big-nas", "coarse"), ("once-for-all", "population")],
)
def test_settings_that_are_too_small_are_refused(problem, name, setting):
    with pytest.raises(UsageError, match=f"{name} needs at least one"):
        list(MAKERS[name](problem, **{setting: 0}))


def test_a_surrogate_that_there_is_not_is_refused(problem):
    with pytest.raises(UnknownName, match="forest"):
        list(once_for_all(problem, surrogate="forest"))


# -- exactness


def test_losses_are_those_of_networks_alone(problem, losses):
    judge = Judge(problem, "random-nas", 10)
    pool = drawing.Pool(ALL, cost_of(ALL)[:, None])
    np.testing.assert_allclose(judge.fully(pool).losses, losses, rtol=1e-5)
    few = judge.quickly(pool)
    other = judge.quickly(pool, 1)
    assert not np.allclose(few.losses, losses) and not np.allclose(few.losses, other.losses)
    assert (judge.quickly(pool).losses == few.losses).all()


@pytest.mark.parametrize("name", ["random-nas", "one-shot"])
def test_screening_finds_the_front_of_all_networks(problem, losses, name):
    """With all networks as candidates and all validation examples, what is found first is the front."""
    values = np.column_stack([losses, cost_of(ALL)])
    front = {tuple(arch) for arch in ALL[dominance.nondominated(values)]}
    found = archs_of(MAKERS[name](replace(problem, budget=len(front)), batch=64, keep=27))
    assert {tuple(arch) for arch in found} == front
    assert found[0].tolist() == ALL[losses.argmin()].tolist(), "the lowest loss is first"


def test_screening_finds_the_best_within_a_bound(problem, losses):
    inside = cost_of(ALL) <= 4.0
    best = ALL[inside][losses[inside].argmin()]
    assert archs_of(random_nas(replace(problem, bound=4.0), batch=64))[0].tolist() == best.tolist()


def test_rounds_have_networks_of_their_own(problem, monkeypatch):
    asked = []
    quickly = Judge.quickly

    def noted(self, pool, number=0):
        asked.append(pool.archs.tolist())
        return quickly(self, pool, number)

    monkeypatch.setattr(Judge, "quickly", noted)
    list(random_nas(problem, candidates=5, rounds=3, batch=8))
    assert len(asked) == 3 and all(len(one) == 5 for one in asked) and asked[0] != asked[1] != asked[2]


@pytest.mark.parametrize("name", ["big-nas", "once-for-all"])
def test_each_budget_has_the_best_that_enumeration_finds(problem, losses, name):
    """Where all 27 are looked at, or predicted from all 27."""
    settings = {"coarse": 27, "rounds": 1} if name == "big-nas" else {"scored": 27, "surrogate": "gaussian-process"}
    runs = list(MAKERS[name](replace(problem, budget=4), batch=64, **settings))
    costs = cost_of(ALL)
    found = {tuple(one.archs[0]) for one in runs}
    for budget in np.linspace(costs.min(), costs.max(), 4):
        inside = costs <= budget + 1e-9
        assert tuple(ALL[inside][losses[inside].argmin()]) in found, budget


def test_budgets_take_the_best_first_and_then_the_next():
    problem = kit._Kit("random-nas", {}).problem(kit._table().differentiable())
    scored = Scored(ALL[:4], np.array([4.0, 2.0, 3.0, 1.0]), np.array([[1.0], [2.0], [2.0], [3.0]]))
    rows, chosen = budgets.by_budget(problem, scored, np.array([1.0, 2.0, 2.5, 3.0]), 4)
    assert rows == [0, 1, 3, 2] and chosen == [1.0, 2.0, 3.0, 2.0], "2.5 has nothing that 2 has not"
    np.testing.assert_allclose(budgets.grid(scored.costs, 3), [1.0, 2.0, 3.0])
    assert budgets.grid(scored.costs, 1).tolist() == [3.0] and budgets.grid(scored.costs[:1], 5).tolist() == [1.0]


def test_nothing_is_predicted_that_was_not_learned(problem, losses):
    judge = Judge(problem, "once-for-all", 64)
    from nas.gradient.once_for_all import _predictor

    scored = judge.quickly(drawing.Pool(ALL, cost_of(ALL)[:, None]))
    predicted = _predictor(problem, scored, "gaussian-process")(ALL)
    assert np.corrcoef(predicted, losses)[0, 1] > 0.9
    assert judging.joined([scored, scored]).archs.tolist() == scored.archs.tolist()


# -- in a search


@pytest.mark.slow
def test_all_run_in_a_search_with_weights_that_the_user_chose(mobile, fake, mobile_latency, tmp_path):
    settings = {"train_steps": 5, "images": 100, "trainer": "fair"}
    for name, quick in QUICK.items():
        settings |= {f"{name}.{key}": value for key, value in quick.items()}
    result = nas.search(
        mobile,
        objectives=["accuracy", f"latency:{mobile_latency}"],
        strategy=list(TRAINERS),
        evaluations=2,
        data="digits",
        target=fake,
        settings=settings,
        folder=tmp_path,
    )
    counts = {name: sum(trial.strategy == name for trial in result.study.trials()) for name in TRAINERS}
    assert counts == dict.fromkeys(TRAINERS, 2)
    assert result.front and not result.failures


def test_strategies_that_want_different_weights_are_no_one_search(mobile, fake, mobile_latency, tmp_path):
    with pytest.raises(UsageError, match="'one-shot' is made for trainer=path-dropout, and 'big-nas'"):
        nas.search(
            mobile,
            objectives=["accuracy", f"latency:{mobile_latency}"],
            strategy=["one-shot", "big-nas"],
            evaluations=2,
            data="digits",
            target=fake,
            folder=tmp_path,
        )


def test_once_for_all_shrinks_predicts_and_finds_and_goes_on(mobile, mobile_latency, fake, tmp_path):
    def search(evaluations, folder):
        return nas.search(
            mobile,
            objectives=["accuracy", f"latency:{mobile_latency}"],
            strategy="once-for-all",
            evaluations=evaluations,
            constraints=["latency <= 10 s"],
            data="digits",
            target=fake,
            settings={
                "train_steps": 10,
                "images": 100,
                **{f"once-for-all.{key}": value for key, value in QUICK["once-for-all"].items()},
            },
            folder=tmp_path / folder,
        )

    first = search(4, "run")
    trials = first.study.trials()
    assert len(trials) == 4 and first.front and not first.failures
    assert first.study.fact("settings")["trainer"] == "shrinking", "the search takes the trainer that it is made for"
    assert len({tuple(trial.arch) for trial in trials}) == 4
    assert [trial.arch for trial in search(4, "run").study.trials()] == [trial.arch for trial in trials]
    assert [trial.arch for trial in search(4, "other").study.trials()] == [trial.arch for trial in trials]


def test_networks_that_cannot_be_mixed_are_searched_one_by_one(tmp_path):
    """Gates are for those that descend: others run paths alone."""
    from nas.evaluators.predicted import Predicted
    from nas.evaluators.protocol import Context
    from nas.evaluators.shared import EVALUATOR
    from nas.loop.checks import check_gradients
    from nas.objectives import Objective
    from nas.study.plan import SearchPlan

    space = nas.spaces.load("nsganet-macro:channels=4,resolution=8")
    judge = EVALUATOR.open("accuracy", "accuracy", Context(space, tmp_path, store=None, data="digits"))
    predicted = Predicted(Objective("latency", "ms", False, "predicted", "latency"), None, "")
    check_gradients(SearchPlan(space.spec, ("accuracy", "latency"), strategies=("random-nas",)), (judge, predicted), ())
