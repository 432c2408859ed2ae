"""The machine: what every term of its loss does, what it refuses, how its runs end, and that parts can be exchanged."""

from dataclasses import fields, replace
from inspect import signature

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UnknownName, UsageError
from nas import gradient
from nas.gradient import parts
from nas.gradient.machine import Settings, preset
from nas.gradient.machine.run import LARGEST_SKIPPED, Run
from nas.gradient.parts.protocol import Halt, Reference, Sampler
from nas.gradient.protocol import Diverged, Priced, descends, takes_all
from nas.study.plan import SearchPlan, check, settings_of
from nas.testing import gradients as kit
from predictors.encoding import CostTable

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = {"steps": 3, "batch": 8, "weights": (0.5,)}


@pytest.fixture(scope="module")
def problem():
    """27 networks of three layers, with a cost by layer."""
    return kit._Kit("darts", {}).problem(kit._table().differentiable())


def made(problem, weight=0.5, **settings):
    references = [Reference(0.6, 4.0, price.bound) for price in problem.priced]
    return Run(problem, replace(Settings(batch=8), **settings), "mine", 0, 1, weight, references)


def found(problem, name="darts", **settings):
    return list(gradient.REGISTRY.get(name)(problem, **{**QUICK, **settings}))


def plain(runs):
    return [(one.run, one.archs.tolist(), one.note) for one in runs]


# -- the loss


def slope(run, entropy=1.0, seed=0):
    source = torch.Generator().manual_seed(seed)
    logits = [torch.randn(n, generator=source).requires_grad_() for n in run.problem.space.choices]
    loss = run.total(entropy * sum(torch.softmax(logit, 0)[0] for logit in logits), logits)
    return torch.cat(torch.autograd.grad(loss, logits))


@pytest.mark.parametrize("sampler", parts.SAMPLERS.names())
@pytest.mark.parametrize("hardware", parts.HARDWARE.names())
def test_every_term_that_is_zeroed_changes_the_gradient(problem, sampler, hardware):
    other = Priced(kit._table([3.0, 1.0, 0.5]).differentiable())
    whole = replace(problem, bound=0.8, floor=40.0, more=(other,))
    settings = {"sampler": sampler, "hardware": hardware}
    got = slope(made(whole, **settings))
    constant = CostTable((3, 3, 3), ((0,),), (np.full(3, 2.0),)).differentiable()
    without = {
        "cross entropy": slope(made(whole, **settings), entropy=1e-6),
        "weight": slope(made(whole, weight=0.0, **settings)),
        "first cost": slope(made(replace(whole, cost=constant), **settings)),
        "second cost": slope(made(replace(whole, more=(Priced(constant),)), **settings)),
        "bound": slope(made(replace(whole, bound=None), **settings)),
        "floor": slope(made(replace(whole, floor=None), **settings)),
    }
    run = made(whole, **settings)
    if run.sampler.regulariser is not None:
        run.sampler = replace(run.sampler, regulariser=None)
        without["regulariser"] = slope(run)
    for term, changed in without.items():
        assert torch.isfinite(changed).all()
        assert (got - changed).abs().max() > 1e-5, f"{term} is not in the loss"


@pytest.mark.parametrize("sampler", parts.SAMPLERS.names())
def test_expected_costs_at_decided_logits_are_those_of_the_architecture(problem, sampler):
    run, space = made(problem, sampler=sampler), problem.space
    for arch in space.sample(9, np.random.default_rng(0)):
        one_hot = [
            torch.nn.functional.one_hot(torch.tensor(int(g)), n) for g, n in zip(arch, space.choices, strict=True)
        ]
        logits = [2000.0 * (row.double() - 0.5) for row in one_hot]
        (cost,) = run.costs(logits)
        wanted = kit._table().predict(arch[None])[0]
        # A Dirichlet distribution with concentrations of 1000 and 0.01 leaves the others their share.
        assert float(cost) == pytest.approx(wanted, rel=1e-3 if sampler == "dirichlet" else 1e-4)
        scores = [row.detach().numpy() for row in run.sampler.scores(logits)]
        assert [int(row.argmax()) for row in scores] == arch.tolist()


# -- exchange


def test_a_preset_is_its_parts(problem):
    gdas = {"sampler": "gdas", "tau_first": 10.0, "tau_last": 0.1}
    assert plain(found(problem, "darts", **gdas)) == plain(found(problem, "gdas"))
    assert plain(found(problem, "darts", step="second")) == plain(found(problem, "darts-second"))
    assert plain(found(problem, "darts", perturbation="adversarial")) == plain(found(problem, "sdarts"))


@pytest.mark.parametrize("name", [name for name in gradient.names() if descends(gradient.REGISTRY.get(name))])
def test_every_preset_lists_all_settings_and_takes_all_costs(name):
    assert list(settings_of(name)) == [one.name for one in fields(Settings)]
    assert takes_all(gradient.REGISTRY.get(name))
    plan = {f"{name}.sampler": "gumbel", f"{name}.steps": 5, f"{name}.bounds": "lagrangian"}
    check(SearchPlan("nasbench201", ("accuracy",), (name,), settings=plan))


@pytest.mark.parametrize(
    ("setting", "value"), [("sampler", 3), ("steps", "many"), ("smpler", "gumbel"), ("steps", 2.5)], ids=str
)
def test_settings_of_another_type_or_name_are_refused_before_a_search(setting, value):
    with pytest.raises(UsageError):
        check(SearchPlan("nasbench201", ("accuracy",), ("darts",), settings={f"darts.{setting}": value}))


def test_parts_of_others_are_used_by_their_names(problem, monkeypatch):
    asked = []

    def first_option():
        def gates(logits, tau, generator):
            asked.append(tau)
            return [torch.softmax(100 * logit, 0) for logit in logits]

        return Sampler(gates)

    monkeypatch.setattr(parts.SAMPLERS, "_registered", {})
    parts.SAMPLERS.register("mine", first_option)
    assert len(found(problem, sampler="mine", tau_first=3.0)) == 1
    assert asked[0] == 3.0


def test_a_preset_of_others_is_a_strategy(problem, monkeypatch):
    mine = preset("mine", sampler="gumbel", steps=7)
    assert signature(mine).parameters["steps"].default == 7
    monkeypatch.setattr(gradient.REGISTRY, "_registered", {})
    gradient.REGISTRY.register("mine", mine)
    assert found(problem, "mine")[0].note == "weight 0.5"


# -- what is refused


@pytest.mark.parametrize("part", ["sampler", "step", "hardware", "bounds", "perturbation", "stop"])
def test_unknown_parts_are_named_before_weights_are_asked_for(problem, part):
    def never():
        raise AssertionError("weights were asked for")

    with pytest.raises(UnknownName, match="'gumble'") as refused:
        found(replace(problem, supernet=never), **{part: "gumble"})
    assert "Known:" in refused.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "reinforce", "step": "second"},
        {"sampler": "reinforce", "step": "unrolled"},
        {"sampler": "gdas", "perturbation": "adversarial"},
        {"sampler": "binary", "perturbation": "random"},
        {"channels": 0.0},
        {"channels": 1.5},
        {"rate": 0.0},
    ],
    ids=str,
)
def test_parts_that_do_nothing_together_are_refused(problem, settings):
    with pytest.raises(UsageError):
        found(problem, **settings)


def test_options_of_other_shapes_are_refused_before_weights_are_asked_for():
    space = nas.spaces.load("resnet:stages=2,width=50,resolution=16,smallest=8,step=8,classes=10")
    images = nas.weights.images.load("digits", space.input_shape, seed=0, limit=20)

    def never():
        raise AssertionError("weights were asked for")

    table = CostTable(space.choices, ((0,),), (np.arange(1.0, space.choices[0] + 1),))
    problem = gradient.GradientProblem(space, never, lambda: images, table.differentiable(), budget=1, seed=0)
    with pytest.raises(UsageError, match=r"resolution.*different shapes") as refused:
        found(problem, "darts")
    assert "gdas" in refused.value.hint
    with pytest.raises(AssertionError, match="asked for"):
        found(problem, "gdas")


# -- how runs end


def without_numbers(problem, broken):
    data = kit._data(broken)
    return replace(problem, data=lambda: data)


def test_steps_without_a_number_are_left_out_and_counted(problem):
    broken = without_numbers(problem, frozenset({0, 3, 4}))
    (run,) = found(broken, steps=6)
    assert run.note == "weight 0.5, 3 steps without a number left out"


@pytest.mark.parametrize("name", ["darts", "darts-second", "sdarts", "gdas", "proxyless-rl"])
def test_ten_of_them_end_the_run_with_what_it_had_and_the_next_one_can_go_on(problem, name):
    runs, broken = [], without_numbers(problem, None)
    make = gradient.REGISTRY.get(name)
    with pytest.raises(Diverged, match=f"run 0 of {name} diverged: {LARGEST_SKIPPED} of its") as ended:
        for one in make(broken, steps=30, batch=8, weights=(0.0, 1.0)):
            runs.append(one)
    assert f"{name}.rate" in ended.value.hint and f"{name}.weight_rate" in ended.value.hint
    (kept,) = runs
    assert len(kept.archs) and "stopped at step 5: losses are no numbers" in kept.note
    rest = list(make(replace(problem, skip=frozenset({0})), steps=3, batch=8, weights=(0.0, 1.0)))
    assert [one.run for one in rest] == [1]


def test_a_run_that_stops_has_the_architecture_of_when_it_was_better(problem, monkeypatch):
    seen = []

    def third(space):
        def look(watch):
            seen.append([row.copy() for row in watch.probabilities])
            return Halt("enough", back=2) if len(seen) == 4 else None

        return look

    monkeypatch.setattr(parts.STOPS, "_registered", {})
    parts.STOPS.register("third", third)
    run = made(problem, stop="third", steps=9)
    run.go()
    assert len(seen) == 4 and run.halted == "stopped at step 4: enough"
    scores = run.scores()
    for score, row in zip(scores, seen[1], strict=True):
        assert np.allclose(np.exp(score) / np.exp(score).sum(), row, atol=1e-6)
    assert not np.allclose(seen[1][0], seen[3][0])


@pytest.mark.parametrize("stop", ["curvature", "matching", "entropy", "skips"])
def test_stops_run_along_and_equal_seeds_end_alike(problem, stop):
    runs = [plain(found(problem, stop=stop, steps=12)) for _ in range(2)]
    assert runs[0] == runs[1]


def test_multipliers_are_told(problem):
    (run,) = found(replace(problem, bound=1.0, floor=0.1), bounds="lagrangian", steps=20)
    said = run.note.removeprefix("weight 0.5, multipliers ").split(", ")
    assert float(said[0]) > 0 and said[1] == "0"


def test_probes_leave_statistics_and_weights_as_they_were(small):
    """Batch norms see training batches alone, however often a step or a perturbation looks."""
    images = nas.weights.images.load("digits", small.input_shape, seed=0, limit=100)
    supernet = small.to_supernet()
    table = CostTable(small.choices, tuple((gene,) for gene in range(6)), (np.arange(1.0, 6.0),) * 6)
    problem = gradient.GradientProblem(
        small, lambda: supernet, lambda: images, table.differentiable(), budget=1, seed=0
    )
    for settings in ({"step": "second"}, {"step": "unrolled"}, {"stop": "curvature"}):
        run = made(problem, steps=1, batch=16, **settings)
        before = {name: value.clone() for name, value in run.supernet.state_dict().items()}
        run._train_architecture(1.0, np.random.default_rng(0))
        run._watch(0, np.random.default_rng(0))
        after = run.supernet.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
