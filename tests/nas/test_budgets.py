"""Budgets of evaluations: they reach the evaluator, are recorded, and are never compared in silence."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import pytest

import nas
from device_profiles.errors import ConditionMismatch, SchemaMismatch, UsageError
from nas import evaluators
from nas.evaluators import Context
from nas.evaluators.protocol import FULL, Budget, takes_budget
from nas.isolation import apart
from nas.loop import judging
from nas.objectives import Objective, Values
from nas.study.study import Study, costs_of, open_study
from nas.testing import check_evaluator
from profiler.store import Store

SPACE = "nasbench201:cells=1,channels=4,resolution=8"
FIVE, TWENTY = Budget(epochs=5), Budget(epochs=20)


@dataclass(frozen=True)
class Trained:
    """The more epochs the better; 100 if nobody limits them."""

    objective: Objective
    free: bool = False
    identity: str = ""

    def evaluate(self, archs, budget=None):
        if budget is not None and budget != Budget(epochs=budget.epochs):
            raise UsageError("only epochs can be limited")
        epochs = 100 if budget is None or budget.epochs is None else budget.epochs
        return Values((archs == 2).sum(axis=1) + 1.0 - 1.0 / epochs)


@dataclass(frozen=True)
class Fixed:
    """It knows nothing of budgets."""

    objective: Objective
    free: bool = False
    identity: str = ""

    def evaluate(self, archs):
        return Values((archs == 3).sum(axis=1) + archs[:, 0] / 10)


@dataclass(frozen=True)
class Kind:
    spec: str
    make: type
    maximise: bool
    in_process: bool = False
    forms: str = "a word"
    settings: tuple = ()

    def claims(self, spec):
        return spec == self.spec

    def default_name(self, spec):
        return spec

    def open(self, name, spec, context):
        return self.make(Objective(name, "", self.maximise, "trained", spec))


@pytest.fixture(params=[True, False], ids=["here", "apart"])
def kinds(request, monkeypatch):
    for spec, make, maximise in (("trained", Trained, True), ("fixed", Fixed, False)):
        kind = Kind(spec, make, maximise, in_process=request.param)
        monkeypatch.setitem(evaluators.REGISTRY._registered, spec, kind)


def search(folder, **options):
    options = {"evaluations": 20, "strategy": "nsga2", **options}
    return nas.search(SPACE, objectives=["trained", "fixed"], folder=folder, **options)


def test_a_search_under_a_budget_records_it_and_goes_on_under_it_alone(kinds, tmp_path):
    result = search(tmp_path, settings={"budget": "epochs=5"})
    trials = result.study.trials()
    assert {tuple(trial.budgets.items()) for trial in trials} == {(("trained", FIVE),)}
    assert all(trial.value("trained") == trial.arch.count(2) + 0.8 for trial in trials)
    assert len(result.front) > 0 and result.study.not_compared == 0
    result.study.store.close()
    with pytest.raises(ConditionMismatch, match="setting budget: the run has 'epochs=5', asked is none"):
        search(tmp_path)
    more = search(tmp_path, settings={"budget": "epochs=5"}, evaluations=30)
    whole = search(tmp_path / "whole", settings={"budget": "epochs=5"}, evaluations=30)
    assert [trial.arch for trial in more.study.trials()] == [trial.arch for trial in whole.study.trials()]


def test_without_a_budget_evaluators_are_asked_as_ever(kinds, tmp_path):
    trials = search(tmp_path).study.trials()
    assert all(trial.value("trained") == trial.arch.count(2) + 0.99 and trial.budgets == {} for trial in trials)


def test_what_takes_no_budget_is_refused_one_by_its_name(kinds, tmp_path):
    with Store("sqlite://") as store:
        context = Context(nas.spaces.load(SPACE), tmp_path, store)
        opened = [apart.open_objective(spec, context) for spec in ("trained", "fixed")]
        archs = np.zeros((2, 6), dtype=np.int64)
        assert [takes_budget(one) for one in opened] == [True, False]
        with pytest.raises(UsageError, match="objective 'fixed' cannot be evaluated under the budget epochs=5"):
            judging.judge(opened, archs, budgets={"fixed": FIVE})
        with pytest.raises(UsageError, match="only epochs"):
            judging.judge(opened, archs, budgets={"trained": Budget(seconds=1.0)})
        found = judging.judge(opened, archs, budgets={"trained": FIVE, "fixed": FULL})
        assert [one["trained"][0] for one in found.results] == [0.8, 0.8]
        apart.close(tuple(opened))
    with pytest.raises(UsageError, match="none of the objectives fixed"):
        nas.search(SPACE, objectives=["fixed"], folder=tmp_path / "no", settings={"budget": "epochs=5"})


def test_the_kit_asks_under_budgets(monkeypatch, tmp_path):
    class Deaf(Trained):
        def evaluate(self, archs, budget=None):
            if budget is not None:
                raise UsageError("none can be kept")
            return super().evaluate(archs)

    for spec, make in (("trained", Trained), ("deaf", Deaf)):
        monkeypatch.setitem(evaluators.REGISTRY._registered, spec, Kind(spec, make, True))
    context = Context(nas.spaces.load(SPACE), tmp_path, None)
    check_evaluator("trained", context)
    with pytest.raises(AssertionError, match="can keep none"):
        check_evaluator("deaf", context)


# -- values of different budgets

OBJECTIVES = (Objective("accuracy", "fraction", True, "trained", "a"), Objective("ms", "ms", False, "table", "b"))
ARCHS = [(0, 0, 0, gene, 0, 0) for gene in (1, 2, 3, 4)] + [(3, 3, 3, 3, 3, gene) for gene in (1, 2, 3, 4)]


@pytest.fixture
def study(tmp_path):
    with Store(tmp_path / "run.db") as store:
        made = Study(store)
        made.bind({"space": SPACE, "objectives": [asdict(one) for one in OBJECTIVES], "seed": 0})
        made.set_fact("reference", [0.0, 10.0])
        yield made


def add(study, archs, values, budget=None):
    search = study.search("nsga2", {})
    trials = study.add_batch(search, "nsga2", len(study.trials()), np.array(archs))
    results = {
        trial.id: {"accuracy": (accuracy, None, None), "ms": (ms, None, None)}
        for trial, (accuracy, ms) in zip(trials, values, strict=True)
    }
    study.judge(results, budgets={} if budget is None else {number: {"accuracy": budget} for number in results})
    return trials


def test_the_front_is_of_the_largest_budget(study):
    add(study, ARCHS[:2], [(0.9, 1.0), (0.8, 0.5)], FIVE)
    assert [point.arch for point in study.front()] == ARCHS[:2] and study.not_compared == 0
    add(study, ARCHS[2:4], [(0.7, 3.0), (0.6, 2.0)], TWENTY)
    assert [point.arch for point in study.front()] == ARCHS[2:4] and study.not_compared == 2
    add(study, ARCHS[4:5], [(0.5, 5.0)])
    assert [point.arch for point in study.front()] == ARCHS[4:5] and study.not_compared == 4
    add(study, ARCHS[5:6], [(math.nan, 5.0)], TWENTY)
    assert [point.arch for point in study.points({"accuracy": FIVE})] == ARCHS[:2]
    assert [trial.arch for trial in study.trials(budgets={"accuracy": TWENTY})] == [*ARCHS[2:4], ARCHS[5]]
    assert [trial.arch for trial in study.trials(budgets={"accuracy": FULL})] == ARCHS[4:5]
    assert {point.budgets["accuracy"] for point in study.points({"accuracy": FIVE})} == {FIVE}


def test_a_larger_budget_that_failed_takes_nothing_off_the_front(study):
    add(study, ARCHS[:1], [(0.9, 1.0)], FIVE)
    add(study, ARCHS[1:2], [(math.nan, 1.0)])
    assert [point.arch for point in study.front()] == ARCHS[:1]


def test_hypervolumes_leave_out_smaller_budgets(study):
    from nas.study.study import hypervolume

    add(study, ARCHS[:1], [(0.9, 1.0)], FIVE)
    add(study, ARCHS[1:2], [(0.5, 5.0)])
    assert hypervolume(study) == hypervolume(study, study.trials()) == pytest.approx(0.5 * 5.0)


def test_costs_of_different_budgets_are_refused(study):
    add(study, ARCHS[:1], [(0.9, 1.0)], FIVE)
    add(study, ARCHS[1:2], [(0.5, 5.0)])
    trials = study.trials()
    results, budgets = [trial.result for trial in trials], [trial.budgets for trial in trials]
    with pytest.raises(ConditionMismatch, match="accuracy under different budgets"):
        costs_of(results, OBJECTIVES, budgets)
    assert costs_of(results, OBJECTIVES[1:], budgets).tolist() == [[1.0], [5.0]]


def test_a_strategy_is_not_told_values_of_another_budget(kinds, tmp_path):
    result = search(tmp_path, settings={"budget": "epochs=5"}, evaluations=10)
    with result.study.store.transaction() as connection:
        connection.exec_driver_sql("""update trials set budgets = '{"trained": "epochs=2"}' where id = 4""")
    result.study.store.close()
    with pytest.raises(ConditionMismatch, match="trained under different budgets"):
        search(tmp_path, settings={"budget": "epochs=5"})


def test_budgets_that_are_none_are_damage(study):
    add(study, ARCHS[:1], [(0.9, 1.0)], FIVE)
    with study.store.transaction() as connection:
        connection.exec_driver_sql("""update trials set budgets = '{"accuracy": "epochs=many"}'""")
    with pytest.raises(SchemaMismatch, match="budgets"):
        study.trials()


def test_people_and_programs_are_told_what_is_not_compared(study, tmp_path, monkeypatch):
    from hwnas_cli.commands.runs import _cells, _fields
    from nas.report import front
    from nas.study.summary import summarise

    add(study, ARCHS[:2], [(0.9, 1.0), (0.8, 0.5)], FIVE)
    add(study, ARCHS[2:4], [(0.7, 3.0), (math.nan, 2.0)])
    study.add_batch(study.search("nsga2", {}), "nsga2", 9, np.array(ARCHS[4:5]))
    found = summarise(tmp_path)
    assert found.states == _fields(found)["states"] == {"asked": 1, "judged": 3, "failed": 1}
    assert found.not_compared == 2 and "2 trials of smaller budgets are not compared" in _cells(found)[4]
    page = front.write(open_study(tmp_path), tmp_path / "front.html").read_text()
    assert "2 trials of smaller budgets are not compared" in page


# -- the text of a budget


@pytest.mark.parametrize(
    ("budget", "key"),
    [
        (FULL, ""),
        (FIVE, "epochs=5"),
        (Budget(2, 1.5, 3), "epochs=2,seconds=1.5,replicates=3"),
        (Budget(seconds=60), "seconds=60"),
    ],
)
def test_a_budget_has_a_short_text(budget, key):
    assert budget.key == key and Budget.of(key) == budget


@pytest.mark.parametrize(
    "text",
    [
        "5",
        "epochs",
        "epochs=",
        "epochs=x",
        "steps=5",
        "epochs=5,epochs=6",
        "epochs=1.5",
        "epochs=0",
        "seconds=0",
        "seconds=inf",
        "seconds=nan",
        "replicates=-1",
    ],
)
def test_texts_that_are_no_budget_are_refused(text):
    with pytest.raises(UsageError, match="budget"):
        Budget.of(text)


def test_what_is_not_limited_is_the_largest():
    budgets = [Budget(2, 5.0), Budget(2), FIVE, TWENTY, Budget(seconds=1.0), Budget(replicates=2), FULL]
    mixed = [budgets[place] for place in (6, 2, 4, 0, 5, 3, 1)]
    assert sorted(mixed, key=lambda one: one.size) == budgets
