"""A controller that is rewarded: its probabilities, its gradient, its rewards against hand-computed ones, its runs."""

import itertools
from dataclasses import replace
from inspect import signature

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UsageError
from nas import gradient, testing
from nas.evaluators.predicted import Predicted
from nas.evaluators.protocol import Context
from nas.evaluators.shared import EVALUATOR
from nas.gradient.controller.network import Controller, reinforce, squashed
from nas.gradient.controller.reward import Reward, quality, targets_of
from nas.gradient.controller.run import Run
from nas.gradient.controller.settings import Settings
from nas.gradient.enas import enas
from nas.gradient.parts.costs import excess
from nas.gradient.parts.protocol import Reference
from nas.gradient.protocol import Diverged, GradientProblem, Priced, descends, takes_all
from nas.loop.checks import check_gradients
from nas.loop.priced import priced
from nas.objectives import Constraint, Objective, Values
from nas.study.plan import SearchPlan
from nas.testing import gradients as kit
from nas.weights import supernets
from predictors.encoding import CostTable

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {"steps": 3, "phase": 2, "controller_steps": 2, "batch": 8, "draws": 20}


def everything(choices):
    return torch.tensor(list(itertools.product(*map(range, choices))))


def made(choices, seed=0, **settings):
    options = {"hidden": 12, "temperature": 0.5, "squash": 2.5, **settings}
    controller = Controller(choices, generator=torch.Generator().manual_seed(seed), **options)
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.mul_(8.0)  # far from uniform
    return controller.double()


@pytest.fixture(scope="module")
def problem():
    """27 networks of three layers, with a cost by layer: 1, 3 and 0.2."""
    return kit._Kit("enas", {}).problem(kit._table().differentiable())


def plain(runs):
    return [(one.run, one.archs.tolist(), one.note) for one in runs]


# -- the controller


@pytest.mark.parametrize("choices", [(3,), (2, 3), (1, 4, 2, 3)])
def test_probabilities_of_all_architectures_add_up_to_one(choices):
    scores = made(choices).score(everything(choices))[0].detach()
    assert float(scores.exp().sum()) == pytest.approx(1.0, abs=1e-12)
    if len(scores) > 1:
        assert float(scores.exp().max() / scores.exp().min()) > 1.5, "not uniform"


def test_a_gene_depends_on_those_before_it():
    controller = made((2, 2))
    scores = controller.score(everything((2, 2)))[0].exp().detach().reshape(2, 2)
    given = scores / scores.sum(dim=1, keepdim=True)
    assert float((given[0] - given[1]).abs().max()) > 0.01


def test_draws_are_as_frequent_as_their_probabilities():
    choices, controller = (2, 3), made((2, 3))
    drawn = controller.draw(20_000, torch.Generator().manual_seed(1))
    assert drawn.dtype == torch.int64 and drawn.shape == (20_000, 2)
    counts = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=6).double() / 20_000
    wanted = controller.score(everything(choices))[0].exp().detach()
    assert float((counts - wanted).abs().max()) < 0.015  # four deviations of a share


def test_scores_and_entropies_are_those_of_an_lstm_that_is_run_by_hand():
    controller, (first, second) = made((2, 3)), (1, 2)
    hidden, cell = controller.cell(controller.read.weight[0][None])
    one = torch.log_softmax(2.5 * torch.tanh(controller.heads[0](hidden) / 0.5), dim=1)[0]
    hidden, cell = controller.cell(controller.read.weight[1 + first][None], (hidden, cell))
    two = torch.log_softmax(2.5 * torch.tanh(controller.heads[1](hidden) / 0.5), dim=1)[0]
    score, entropy = controller.score(torch.tensor([[first, second]]))
    assert float(score) == pytest.approx(float(one[first] + two[second]), abs=1e-12)
    by_hand = -(one.exp() * one).sum() - (two.exp() * two).sum()
    assert float(entropy) == pytest.approx(float(by_hand), abs=1e-12)


def test_logits_are_squashed_by_temperature_and_tanh():
    found = squashed(torch.tensor([0.0, 5.0, -10.0, 1000.0]), 5.0, 2.5)
    np.testing.assert_allclose(found.numpy(), [0.0, 2.5 * np.tanh(1.0), -2.5 * np.tanh(2.0), 2.5], rtol=1e-6)


@pytest.mark.parametrize("baseline", [0.0, 0.7])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_mean_gradient_is_that_of_the_expected_reward_and_the_entropy(baseline, weight):
    choices = (2, 3)
    controller, archs = made(choices), everything(choices)
    rewards = torch.tensor([0.1, 0.9, 0.3, -1.0, 0.5, 0.2], dtype=torch.float64)
    scores, entropies = controller.score(archs)
    mean = (scores.exp().detach() * reinforce(scores, entropies, rewards, baseline, weight)).sum()
    found = torch.autograd.grad(mean, list(controller.parameters()), allow_unused=True)
    scores, _ = controller.score(archs)
    exact = -(scores.exp() * rewards).sum() + weight * (scores.exp() * scores).sum()
    wanted = torch.autograd.grad(exact, list(controller.parameters()), allow_unused=True)
    largest = max(float(one.abs().max()) for one in wanted if one is not None)
    assert largest > 1e-3
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-12)


def test_exact_rewards_teach_the_best_of_27_architectures(problem, monkeypatch):
    best = np.array([1, 0, 2])
    monkeypatch.setattr(Run, "_rewards", lambda self, archs, step: (archs == best).mean(axis=1))
    monkeypatch.setattr(Run, "_train_weights", lambda self, step: None)
    mine = Settings(steps=1, controller_steps=60, rate=0.01)
    run = Run(problem, mine, Reward(problem, (1.0,), 0.0, "soft"), 0, 1)
    archs = everything((3, 3, 3))
    place = int((archs == torch.from_numpy(best)).all(dim=1).nonzero())
    before = float(run.controller.score(archs)[0].exp()[place].detach())
    run.go()
    after = run.controller.score(archs)[0].exp().detach()
    assert before < 0.06 and int(after.argmax()) == place and float(after[place]) > 0.5


# -- rewards


def reward(problem, weight=0.5, shape="soft", targets=(2.0,)):
    return Reward(problem, targets, weight, shape)


@pytest.mark.parametrize(
    ("shape", "costs", "wanted"),
    [
        ("soft", [[2.0], [8.0], [0.5]], [1.0, 0.5, 2.0]),
        ("hard", [[2.0], [8.0], [0.5]], [1.0, 0.5, 1.0]),
    ],
)
def test_factors_are_those_of_mnasnet(problem, shape, costs, wanted):
    np.testing.assert_allclose(reward(problem, 0.5, shape).factor(np.array(costs)), wanted)


def test_of_several_costs_each_has_its_share_of_the_exponent(problem):
    two = replace(problem, more=(Priced(problem.cost),))
    found = reward(two, 1.0, targets=(2.0, 1.0)).factor(np.array([[8.0, 1.0], [2.0, 16.0], [8.0, 16.0]]))
    np.testing.assert_allclose(found, [0.5, 0.25, 0.125])
    np.testing.assert_allclose(reward(two, 0.0, targets=(2.0, 1.0)).factor(np.array([[8.0, 16.0]])), [1.0])


def test_beyond_bounds_rewards_are_below_all_others(problem):
    mine = reward(replace(problem, bound=4.0, floor=2.0))
    archs = np.array([[2, 2, 2], [0, 0, 0], [1, 1, 1], [0, 0, 1]])
    costs = mine.costs(archs)
    np.testing.assert_allclose(costs[:, 0], [0.6, 3.0, 9.0, 5.0])
    np.testing.assert_allclose(excess(mine.problem, costs), [0.7, 0.0, 1.25, 0.25])
    np.testing.assert_allclose(mine.refused(archs, costs), [-0.7, np.nan, -1.0, -0.25])


def test_networks_without_a_function_are_rewarded_least_and_not_run(problem):
    space = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")
    other = replace(problem, space=space, cost=lambda rows: rows[0][..., 0])
    dead, alive = np.zeros((1, 6), dtype=np.int64), np.full((1, 6), 1)
    archs = np.concatenate([dead, alive])
    np.testing.assert_array_equal(reward(other).refused(archs, reward(other).costs(archs)), [-1.0, np.nan])


def test_targets_are_shares_of_bounds_or_medians():
    assert targets_of([Reference(1.0, 4.0, 3.0), Reference(1.0, 4.0)], 0.5) == (1.5, 2.0)
    with pytest.raises(UsageError, match="above 0"):
        targets_of([Reference(-2.0, -1.0)], 1.0)


def test_quality_is_accuracy_of_classes_and_else_one_over_the_perplexity():
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    assert quality(logits, torch.tensor([0, 1, 1]), torch.tensor(9.0)) == pytest.approx(2 / 3)
    assert quality(torch.zeros(2, 5, 8), torch.zeros(2, 5, dtype=torch.int64), torch.tensor(8.0).log()) == (
        pytest.approx(1 / 8)
    )


# -- runs


def test_it_holds_to_the_kit():
    testing.check_gradient("enas", **QUICK)


def test_it_is_marked_as_what_it_is():
    made_by = gradient.REGISTRY.get("enas")
    assert takes_all(made_by) and not descends(made_by)


def test_settings_are_those_of_the_function():
    given = {name: one.default for name, one in signature(enas).parameters.items() if name != "problem"}
    assert Settings(**given) == Settings()


def test_the_best_of_what_is_drawn_comes_first(problem):
    """All 27 are drawn; by the rewards that a fresh copy of the trained weights gives, none of the others is better."""
    mine = Settings(batch=32, draws=400, steps=1, controller_steps=1)
    run = Run(problem, mine, reward(problem, 0.2), 0, 1)
    run.go()
    archs, about = run.found(5)
    assert about == "best of 27 drawn networks"
    inputs, targets = run._batch(run.data.valid, 2, 0)
    every = everything((3, 3, 3)).numpy()
    rewards = []
    for arch, factor in zip(every, run.reward.factor(run.reward.costs(every)), strict=True):
        with torch.no_grad():
            outputs = run.supernet.forward_path(inputs, arch)
        rewards.append(float((outputs.argmax(dim=1) == targets).float().mean()) * factor)
    mine = [rewards[int(np.flatnonzero((every == arch).all(axis=1))[0])] for arch in archs]
    np.testing.assert_allclose(mine, sorted(rewards, reverse=True)[:5], rtol=1e-6)


def test_a_weight_moves_what_is_drawn_to_cheaper_networks(problem):
    def cost(weight):
        run = Run(problem, Settings(batch=16, steps=20, controller_steps=60), reward(problem, weight), 0, 1)
        run.go()
        return float(run.reward.costs(run.controller.draw(200, torch.Generator().manual_seed(0)).numpy()).mean())

    assert cost(2.0) < 0.6 * cost(0.0)


def test_weights_are_trained_and_those_of_the_search_are_not(problem):
    with torch.no_grad():  # so that all blocks are there
        for arch in everything((3, 3, 3)).numpy():
            problem.supernet().forward_path(torch.zeros(1, 8), arch)
    shared = problem.supernet().state_dict()
    before = {name: tensor.clone() for name, tensor in shared.items() if torch.is_tensor(tensor)}
    run = Run(problem, Settings(batch=16, steps=2, controller_steps=1), reward(problem), 0, 1)
    run.go()
    trained = dict(run.supernet.named_parameters())
    assert any(name in before and not torch.equal(tensor, before[name]) for name, tensor in trained.items())
    assert all(torch.equal(tensor, shared[name]) for name, tensor in before.items())


def test_one_run_for_each_weight_and_target(problem):
    runs = list(enas(problem, weights=(0.0, 1.0), targets=(0.5, 1.0), reward="hard", **QUICK))
    said = [run.note.split(", ")[:2] for run in runs]
    assert said == [[f"weight {w}", f"target {t}"] for t in ("0.5", "1") for w in (0, 1)]
    rest = list(enas(replace(problem, skip=frozenset({1, 2})), weights=(0.0, 1.0), targets=(0.5, 1.0), reward="hard",
                     **QUICK))  # fmt: skip
    assert plain(rest) == [plain(runs)[0], plain(runs)[3]]


def test_bounds_that_few_networks_meet_are_kept_and_those_that_none_meets_give_the_closest(problem):
    (run,) = enas(replace(problem, bound=0.7, budget=1), weights=(0.0,), **QUICK)
    assert run.archs.tolist() == [[2, 2, 2]] and "beyond" not in run.note
    (run,) = enas(replace(problem, bound=0.1, budget=1), weights=(0.0,), **QUICK)
    assert run.archs.tolist() == [[2, 2, 2]] and "beyond the bounds" in run.note


def test_losses_without_numbers_are_left_out_and_ten_end_the_search(problem):
    broken = kit._data(frozenset({2, 5, 9}))
    run = next(enas(replace(problem, data=lambda: broken), weights=(0.0,), **QUICK))
    assert "3 losses or gradients without a number left out" in run.note
    nothing = kit._data(None)
    with pytest.raises(Diverged, match="run 0 of enas diverged") as ended:
        list(enas(replace(problem, data=lambda: nothing), **QUICK))
    assert "weight_rate" in ended.value.hint


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"samples": 0}, r"enas\.samples"),
        ({"temperature": 0.0}, r"enas\.temperature"),
        ({"baseline": 1.0}, "baseline"),
        ({"weights": ()}, "weights"),
        ({"targets": (0.0,)}, "targets"),
        ({"reward": "harsh"}, "soft or hard"),
        ({"targets": (0.5, 1.0)}, "only scales"),
    ],
)
def test_settings_out_of_range_are_refused(problem, settings, words):
    with pytest.raises(UsageError, match=words):
        next(enas(problem, **settings))


# -- spaces and searches


def test_networks_that_no_gates_can_mix_are_searched(tmp_path):
    space = nas.spaces.load("hat:encoder_layers=3,decoder_layers=1,length=8,vocabulary=32,width=5")
    supernet = supernets.of(space)
    data = nas.weights.data.load("pairs", nas.weights.data.Wanted.of(space), seed=0, limit=40)
    prices = [np.arange(1.0, options + 1) for options in space.choices]
    table = CostTable(space.choices, tuple((gene,) for gene in range(len(prices))), tuple(prices))
    search = GradientProblem(space, lambda: supernet, lambda: data, table.differentiable(), budget=3, seed=0)
    (run,) = enas(search, weights=(0.07,), **QUICK)
    assert len(run.archs) == 3 and space.is_valid(run.archs).all()
    judge = EVALUATOR.open("perplexity", "perplexity", Context(space, tmp_path, store=None, data="pairs"))
    predicted = Predicted(Objective("latency", "ms", False, "predicted", "latency"), None, "")
    check_gradients(SearchPlan(space.spec, ("perplexity", "latency"), strategies=("enas",)), (judge, predicted), ())
    with pytest.raises(UsageError, match="cannot be mixed"):
        check_gradients(SearchPlan(space.spec, ("perplexity", "latency"), strategies=("gdas",)), (judge, predicted), ())


class Walks:
    """A predictor whose cost has no gradient: the sum of the genes."""

    def predict(self, archs, *, missing="guess"):
        return Values(archs.sum(axis=1).astype(float))

    def differentiable(self):
        raise UsageError("the cost has no gradient")


def test_costs_without_a_gradient_are_numbers_for_strategies_that_descend_none(problem):
    predicted = Predicted(Objective("latency", "ms", False, "predicted", "latency"), Walks(), "")
    bounds = (Constraint("latency", 3.0, True),)
    (price,) = priced(enas_made := gradient.REGISTRY.get("enas"), (predicted,), bounds)
    assert (price.bound, price.floor) == (3.0, None)
    archs = everything((3, 3, 3))
    rows = [torch.nn.functional.one_hot(archs[:, gene], 3).double() for gene in range(3)]
    np.testing.assert_array_equal(price.cost(rows).numpy(), archs.sum(dim=1).numpy())
    with pytest.raises(UsageError, match="architectures alone"):
        price.cost([row / 2 for row in rows])
    with pytest.raises(UsageError, match="no gradient"):
        priced(gradient.REGISTRY.get("gdas"), (predicted,), bounds)
    search = replace(problem, cost=price.cost, bound=price.bound)
    for run in enas_made(search, weights=(0.07,), **QUICK):
        assert len(run.archs) > 2 and run.archs.sum(axis=1).max() <= 3


def test_it_runs_in_a_search_keeps_a_bound_and_goes_on_where_it_ended(bounded, tmp_path):
    settings = {"train_steps": 3, "images": 100, **{f"enas.{name}": value for name, value in QUICK.items()}}
    result, bound = bounded("enas", 6, settings)
    trials = result.study.trials()
    found = [trial.value("latency") for trial in trials]
    assert found and max(found) <= bound * (1 + 1e-9)
    plan = result.plan
    again = nas.search(
        plan.space, objectives=plan.objectives, strategy="enas", evaluations=6, constraints=plan.constraints,
        data="digits", target=plan.target, settings=settings, folder=result.folder,
    )  # fmt: skip
    assert [trial.arch for trial in again.study.trials()] == [trial.arch for trial in trials]
