"""Papers' names: each holds to the kit, runs in a search, and keeps its bound on images."""

import numpy as np
import pytest

import nas
from nas import gradient, testing

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = (
    *("darts", "darts-second", "drnas", "fair-darts", "fbnet", "gdas", "pc-darts", "proxyless", "proxyless-rl"),
    *("reinmax", "sdarts", "snas"),
)


def test_all_are_there():
    assert set(NAMES) <= set(gradient.names())


@pytest.mark.parametrize("name", NAMES)
def test_each_holds_to_the_kit(name):
    testing.check_gradient(name)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (lambda problem: iter(()), "rule 4"),
        (lambda problem: _of(problem, np.array([[9, 9, 9]])), "rule 4"),
        (lambda problem: _of(problem, np.zeros((50, 3), dtype=np.int64)), "rule 4"),
        (lambda problem: _of(problem, problem.space.sample(2, np.random.default_rng())), "rule 2"),
        (lambda problem: _of(problem, np.array([[0, 0, 0]])), "rule 5"),
        (lambda problem: _touching(problem), "rule 1"),
    ],
    ids=["nothing", "outside", "twice", "chance", "no costs", "touching"],
)
def test_the_kit_says_which_rule_is_broken(broken, rule, monkeypatch):
    monkeypatch.setattr(gradient.REGISTRY, "_registered", {"broken": broken})
    with pytest.raises(AssertionError, match=rule):
        testing.check_gradient("broken")


def _of(problem, archs):
    if 0 not in problem.skip:
        yield gradient.Found(0, archs, "a run")


def _touching(problem):
    supernet = problem.supernet()
    supernet.forward_path(problem.data().train.inputs, np.zeros(3, dtype=int)).sum()
    next(supernet.parameters()).data.add_(1.0)
    yield from _of(problem, np.array([[0, 0, 0]]))


def test_each_runs_in_a_search_and_all_end_on_one_front(small, fake, latency, tmp_path):
    settings = {"train_steps": 5, "images": 100, "darts.sampler": "gumbel", "snas.bounds": "lagrangian"}
    for name in NAMES:
        settings |= {f"{name}.steps": 2, f"{name}.batch": 16}
    result = nas.search(
        small,
        objectives=["accuracy", f"latency:{latency}"],
        strategy=list(NAMES),
        evaluations=2,
        data="digits",
        target=fake,
        settings=settings,
        folder=tmp_path,
    )
    counts = {name: sum(trial.strategy == name for trial in result.study.trials()) for name in NAMES}
    assert counts == dict.fromkeys(NAMES, 2)
    assert result.front and not result.failures


@pytest.mark.slow
@pytest.mark.parametrize("bounds", ["penalty", "lagrangian"])
@pytest.mark.parametrize("name", NAMES)
def test_each_keeps_its_bound_on_images(name, bounds, bounded):
    settings = {"train_steps": 60, "images": 300, f"{name}.steps": 40, f"{name}.bounds": bounds}
    result, bound = bounded(name, 6, settings)
    assert result.front
    assert all(point.result["latency"][0] <= bound for point in result.front)
    found = [trial.value("latency") <= bound for trial in result.study.trials()]
    assert np.mean(found) >= 0.5, "most of what is found meets it, not only what was lucky"
