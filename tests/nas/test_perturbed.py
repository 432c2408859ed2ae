"""The strategies ghn and smash: random networks ranked by made weights, then changed ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UsageError
from nas import gradient, testing
from nas.gradient.ghn import ghn
from nas.gradient.parts.costs import costs_of
from nas.gradient.protocol import Diverged, Priced, descends, takes_all, wanted_by
from nas.gradient.screening import changes
from nas.gradient.screening.drawing import Pool, drawn
from nas.gradient.screening.judging import Judge, joined
from nas.gradient.smash import smash
from nas.pareto.dominance import nondominated
from nas.testing import gradients as kit

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def problem():
    """27 networks with costs 1, 3 and 0.2 of each layer's option, and a fresh supernet."""
    return kit._Kit("smash", {}).problem(kit._table().differentiable())


def all_costs(problem, batch=64):
    """Loss and costs of all networks, `(27, 1 + m)`."""
    archs = np.array(np.unravel_index(np.arange(27), (3, 3, 3))).T
    scored = Judge(problem, "smash", batch).quickly(Pool(archs, costs_of(problem, archs)))
    return archs, np.column_stack([scored.losses, scored.costs])


def plain(runs):
    return [(run.run, run.archs.tolist(), run.note) for run in runs]


@pytest.mark.parametrize("name", ["ghn", "smash"])
def test_each_holds_to_the_kit(name):
    testing.check_gradient(name)


@pytest.mark.parametrize("name", ["ghn", "smash"])
def test_each_wants_weights_of_its_kind(name):
    make = gradient.REGISTRY.get(name)
    assert wanted_by(make) == {"weights": name} and takes_all(make) and not descends(make)


def test_where_all_are_judged_the_front_is_found_first(problem):
    problem = replace(problem, more=(Priced(kit._table([3.0, 1.0, 2.0]).differentiable()),), budget=27)
    archs, costs = all_costs(problem)
    front = {tuple(arch) for arch in archs[nondominated(costs)]}
    found = [tuple(run.archs[0].tolist()) for run in ghn(problem, batch=64)]
    assert len(found) == 27 and set(found[: len(front)]) == front and 1 < len(front) < 27


def test_the_loss_is_that_of_the_network_on_the_batch(problem):
    archs, costs = all_costs(problem)
    valid = problem.data().valid
    with torch.no_grad():
        for arch, (loss, _) in zip(archs[::5], costs[::5], strict=True):
            outputs = problem.supernet().forward_path(valid.inputs, arch)
            wanted = torch.nn.functional.cross_entropy(outputs, valid.targets)
            assert loss == pytest.approx(float(wanted), rel=1e-5), "a batch of 64 is all of them"


def test_perturbing_comes_nearer_to_the_front(problem):
    """From three random networks of 27, by volume between front and worst corner."""

    def dominated(runs):
        _, costs = all_costs(problem)
        mine = costs[[int(np.ravel_multi_index(run.archs[0], (3, 3, 3))) for run in runs]]
        return np.mean([(mine <= cost).all(axis=1).any() for cost in costs])

    gained = []
    for seed in range(6):
        one = replace(problem, seed=seed)
        few, more = (list(smash(one, networks=3, perturbations=n, batch=64)) for n in (0, 9))
        gained.append(dominated(more) - dominated(few))
    assert min(gained) >= 0 and np.mean(gained) > 0.1, gained


def test_perturbed_networks_are_new_and_near_to_one_of_the_front(problem):
    judge = Judge(problem, "smash", 16)
    known = judge.quickly(drawn(problem, 5, np.random.default_rng(1)))
    seen, rng = {arch.tobytes() for arch in known.archs}, np.random.default_rng(0)
    for _ in range(6):
        child = changes.changed(problem, known, seen, 0.0, rng)
        costs = np.column_stack([known.losses, known.costs])
        assert not (known.archs == child.archs).all(axis=1).any()
        assert (known.archs[nondominated(costs)] != child.archs).sum(axis=1).min() == 1
        known = joined([known, judge.quickly(child)])
        seen.add(child.archs[0].tobytes())


def test_few_networks_within_bounds_are_looked_for(problem):
    bounded = replace(problem, bound=0.9)  # 0.2 + 0.2 + 0.2, of 27 networks one
    (run,) = ghn(bounded, networks=5, batch=16)
    assert run.archs.tolist() == [[2, 2, 2]] and "beyond" not in run.note


def test_bounds_that_none_meets_give_the_closest(problem):
    (run,) = smash(replace(problem, bound=0.1), batch=16)
    assert run.archs.tolist() == [[2, 2, 2]] and "beyond the bounds" in run.note


def test_runs_have_numbers_and_finished_ones_are_left_out(problem):
    runs = list(smash(problem, networks=10, perturbations=4, batch=16))
    assert [run.run for run in runs] == list(range(8)) and "one of 14 that" in runs[0].note
    rest = list(smash(replace(problem, skip=frozenset({0, 3})), networks=10, perturbations=4, batch=16))
    assert plain(rest) == [one for one in plain(runs) if one[0] not in (0, 3)]
    assert not list(smash(replace(problem, skip=frozenset(range(8)), supernet=None), batch=16))


def test_losses_without_numbers_are_told(problem):
    broken = kit._data(frozenset({2, 5}))
    runs = list(ghn(replace(problem, data=lambda: broken), batch=16))
    assert "2 losses without a number left out" in runs[0].note
    with pytest.raises(Diverged, match="all losses, 27 in all") as ended:
        list(smash(replace(problem, data=lambda: kit._data(None)), batch=16))
    assert "train_steps" in ended.value.hint


@pytest.mark.parametrize("given", [{"networks": 0}, {"batch": 0}, {"perturbations": -1}, {"rate": 1.5}])
def test_settings_out_of_range_are_refused(problem, given):
    with pytest.raises(UsageError, match="at least one network"):
        list(smash(problem, **given))


@pytest.mark.parametrize("name", ["ghn", "smash"])
def test_it_runs_in_a_search_by_generated_weights(name, small, fake, latency, tmp_path):
    def search(folder):
        settings = {"train_steps": 2, "images": 60, f"{name}.networks": 6, f"{name}.perturbations": 2}
        return nas.search(
            small,
            objectives=["accuracy", f"latency:{latency}"],
            strategy=name,
            evaluations=3,
            data="digits",
            target=fake,
            settings={**settings, f"{name}.batch": 16},
            folder=tmp_path / folder,
        )

    first = search("one")
    trials = first.study.trials()
    assert len(trials) == 3 and first.front and not first.failures
    assert f"weights {name} 1" in str(first.study.fact("sources"))
    assert [trial.arch for trial in search("two").study.trials()] == [trial.arch for trial in trials]
