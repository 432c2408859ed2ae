"""A strategy that goes on where another one ended: told all, sharing the evaluations, resumed by the same command."""

import numpy as np
import pytest

import nas
from device_profiles.errors import UnknownName, UsageError
from nas import strategies
from nas.study.plan import SearchPlan, asked, check

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def table(small, tmp_path_factory):
    """Two columns of numbers that follow from the genes."""
    archs = small.sample(400, np.random.default_rng(5))
    weights = np.linspace(1.0, 2.0, archs.shape[1])
    lines = [
        f"{small.format(arch)},{(arch * weights).sum() + 1:.6f},{((4 - arch) * weights).sum() + 1:.6f}"
        for arch in archs
    ]
    place = tmp_path_factory.mktemp("table") / "costs.csv"
    place.write_text("\n".join(["arch,error,latency", *lines]) + "\n")
    return place


class Stop(Exception):
    """Ends a search from within."""


@pytest.fixture
def search(small, table, tmp_path):
    def run(folder, evaluations=40, stop=None, **more):
        calls = []

        def progress(what, done, total):
            calls.append(what)
            if stop is not None and len(calls) == stop:
                raise Stop

        return nas.search(
            small,
            objectives=[f"error=table:{table}:error", f"table:{table}:latency"],
            evaluations=evaluations,
            seed=4,
            folder=tmp_path / folder,
            progress=progress,
            **{"strategy": "random", "then": "nsga2", "settings": {"nsga2.population": 8}, **more},
        )

    return run


def trials(result):
    return [(trial.strategy, trial.batch, trial.arch) for trial in result.study.trials()]


def test_both_share_the_evaluations_on_one_front_and_none_is_asked_twice(search):
    result = search("run")
    found = trials(result)
    assert [name for name, _, _ in found] == ["random"] * 20 + ["nsga2"] * 20
    assert len({arch for _, _, arch in found}) == 40
    assert {name for point in result.front for name in point.found_by} <= {"random", "nsga2"}
    assert "random, nsga2" in repr(result)


def test_the_second_is_told_what_the_first_had_judged(search, monkeypatch):
    told = []
    make = strategies.create

    def spied(name, **options):
        made = make(name, **options)
        if name == "nsga2":
            before = made.tell
            made.tell = lambda archs, costs, violations=None: (
                told.append((archs, costs)),
                before(archs, costs, violations),
            )
        return made

    monkeypatch.setattr(strategies, "create", spied)
    result = search("run")
    first = [trial for trial in result.study.trials() if trial.strategy == "random"]
    archs, costs = told[-3]  # before two batches of its own
    assert [tuple(arch) for arch in archs.tolist()] == [trial.arch for trial in first]
    np.testing.assert_allclose(costs, [[trial.value("error"), trial.value("latency")] for trial in first])


def test_what_it_asks_for_follows_from_what_it_was_told(search):
    alone = search("alone", evaluations=20, strategy="nsga2", then=None)
    after = [arch for name, _, arch in trials(search("run")) if name == "nsga2"]
    assert after != [arch for _, _, arch in trials(alone)]


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5, 6])
def test_the_same_command_goes_on_where_it_stopped(search, stop):
    whole = trials(search("whole"))
    with pytest.raises(Stop):
        search("cut", stop=stop)
    assert trials(search("cut")) == whole
    assert trials(search("cut")) == whole, "nothing is left to do"


def test_more_evaluations_go_on_with_both(search):
    first = trials(search("run"))
    result = search("run", evaluations=60)
    found = trials(result)
    assert found[:40] == first
    assert [name for name, _, _ in found[40:]] == ["random"] * 10 + ["nsga2"] * 10
    assert len({arch for name, _, arch in found[50:]} & {arch for _, _, arch in found[:50]}) == 0
    assert trials(search("run", evaluations=60)) == found


def test_what_the_first_leaves_is_the_seconds(search, monkeypatch):
    make = strategies.create

    def short(name, **options):
        made = make(name, **options)
        if name == "random":
            ask = made.ask
            left = [ask(3), np.zeros((0, 6), dtype=np.int64)]
            made.ask = lambda n, pending=None: left.pop(0)
        return made

    monkeypatch.setattr(strategies, "create", short)
    names = [name for name, _, _ in trials(search("run", evaluations=20))]
    assert names == ["random"] * 3 + ["nsga2"] * 17


def test_gradients_come_first_and_evolution_goes_on(small, fake, latency, tmp_path):
    result = nas.search(
        small,
        objectives=["accuracy", f"latency:{latency}"],
        strategy="darts",
        then="nsga2",
        evaluations=8,
        data="digits",
        target=fake,
        settings={"train_steps": 5, "images": 100, "darts.steps": 2, "darts.batch": 16, "nsga2.population": 4},
        folder=tmp_path / "run",
    )
    found = trials(result)
    assert [name for name, _, _ in found] == ["darts"] * 4 + ["nsga2"] * 4
    first = {small.canonical(np.array([arch])).tobytes() for name, _, arch in found if name == "darts"}
    assert not first & {small.canonical(np.array([arch])).tobytes() for name, _, arch in found if name == "nsga2"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"then": "gdas"}, "is told nothing"),
        ({"then": "random"}, "goes on after one other strategy"),
        ({"then": "auto", "strategies": ("random", "nsga2")}, "goes on after one other strategy"),
        ({"then": "auto", "evaluations": 1}, "an evaluation each"),
    ],
    ids=["gradients", "itself", "two before", "one evaluation"],
)
def test_what_cannot_go_on_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        check(SearchPlan("nasbench201", ("params",), **{"strategies": ("random",), **options}))


def test_names_and_settings_of_the_second_are_checked_too():
    with pytest.raises(UnknownName):
        check(SearchPlan("nasbench201", ("params",), ("random",), then="nsga22"))
    with pytest.raises(UnknownName):
        check(SearchPlan("nasbench201", ("params",), ("random",), then="nsga2", settings={"nsga2.populatoin": 8}))


def test_plans_without_it_say_nothing_of_it():
    plan = SearchPlan("nasbench201", ("params",), ("random",))
    assert "then" not in asked(plan) and plan.first_share == plan.evaluations
    assert asked(SearchPlan("nasbench201", ("params",), ("random",), then="auto"))["then"] == "auto"
