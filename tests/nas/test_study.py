"""What a study keeps, and which of its trials are on the front."""

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nas
from device_profiles.errors import ConditionMismatch, InvalidData, SchemaMismatch, UnknownName, UsageError
from nas import gradient
from nas.objectives import Constraint, Objective
from nas.study.study import Study, open_study
from nas.study.tables import STUDY_VERSION
from profiler.store import Store

ACCURACY = Objective("accuracy", "fraction", True, "shared", "accuracy")
LATENCY = Objective("latency", "ms", False, "predicted", "latency:DIR")
FACTS = {
    "space": "nasbench201:cells=1,channels=4,resolution=8",
    "objectives": [asdict(ACCURACY), asdict(LATENCY)],
    "constraints": [asdict(Constraint("latency", 5.0, True)), asdict(Constraint("accuracy", 0.2, False))],
    "seed": 0,
}
#: Networks that differ.
ARCHS = [(0, 0, 0, gene, 0, 0) for gene in (1, 2, 3, 4)] + [(3, 3, 3, 3, 3, gene) for gene in (1, 2, 3, 4)]
#: Another genome of the first network: what differs is not alive.
TWIN = (3, 2, 0, 1, 0, 0)


@pytest.fixture
def study(tmp_path):
    with Store(tmp_path / "run.db") as store:
        made = Study(store)
        made.bind(FACTS)
        yield made


def tried(study, archs, values, *, strategy="nsga2", batch=0):
    """Trials of one search with accuracy and latency; None is not judged."""
    search = study.search(strategy, {})
    trials = study.add_batch(search, strategy, batch, np.array(archs))
    study.judge({t.id: judged(*v) for t, v in zip(trials, values, strict=True) if v is not None})
    return trials


def judged(accuracy, latency):
    return {"accuracy": (accuracy, None, None), "latency": (latency, latency * 0.9, latency * 1.1)}


def front(study):
    return [(point.arch, point.found_by) for point in study.front()]


# -- trials


def test_trials_come_back_as_they_were_judged(study, tmp_path):
    tried(study, ARCHS[:4], [(0.5, 1.0), (math.nan, math.nan), None, (0.1 + 0.2, math.inf)])
    study.store.close()
    first, failed, waiting, infinite = open_study(tmp_path).trials()
    assert first.result == {"accuracy": (0.5, None, None), "latency": (1.0, 0.9, 1.1)}
    assert (first.arch, first.strategy, first.batch, first.note) == (ARCHS[0], "nsga2", 0, "")
    assert math.isnan(failed.value("accuracy")) and failed.result["latency"][1:] == (None, None)
    assert waiting.result is None and math.isnan(waiting.value("latency"))
    assert infinite.value("accuracy") == 0.1 + 0.2
    assert math.isnan(infinite.value("latency")), "an infinity is a failure too"


@given(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3))
def test_numbers_are_kept_to_the_last_bit(triple):
    with Store("sqlite://") as store:
        study = Study(store)
        (trial,) = study.add_batch(study.search("random", {}), "random", 0, np.array(ARCHS[:1]))
        study.judge({trial.id: {"latency": triple}})
        assert study.trials()[0].result == {"latency": triple}


def test_trials_are_in_the_order_they_were_asked_for(study):
    first, second = study.search("nsga2", {}), study.search("random", {})
    study.add_batch(first, "nsga2", 0, np.array(ARCHS[:2]), "warm")
    study.add_batch(second, "random", 0, np.array(ARCHS[2:4]))
    study.add_batch(first, "nsga2", 1, np.array(ARCHS[4:6]))
    assert [trial.arch for trial in study.trials()] == ARCHS[:6]
    assert [(t.arch, t.batch, t.note) for t in study.trials(first)] == [
        (ARCHS[0], 0, "warm"),
        (ARCHS[1], 0, "warm"),
        (ARCHS[4], 1, ""),
        (ARCHS[5], 1, ""),
    ]
    assert {trial.strategy for trial in study.trials(second)} == {"random"}
    assert study.add_batch(first, "nsga2", 2, np.empty((0, 6), dtype=np.int64)) == []


def test_what_add_batch_gives_is_what_was_kept(study):
    added = study.add_batch(study.search("gdas", {}), "gdas", 3, np.array(ARCHS[:3]), "weight 0.1")
    assert study.trials() == added


def test_trials_have_a_state_and_an_order_of_completion(study):
    search = study.search("nsga2", {})
    first, second, third, _ = study.add_batch(search, "nsga2", 0, np.array(ARCHS[:4]))
    study.judge({third.id: judged(0.5, 1.0)})
    study.judge({second.id: judged(math.nan, 1.0), first.id: judged(0.5, 2.0)})
    assert [trial.state for trial in study.trials()] == ["judged", "failed", "judged", "asked"]
    assert [trial.completed for trial in study.trials()] == [3, 2, 1, None]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_study_of_an_older_version_is_taken_along(older, tmp_path, version):
    older(version, tmp_path / "run.db")
    again = open_study(tmp_path)
    assert again.fact("version") == STUDY_VERSION and again.fact("seed") == 3 and again.number == 1
    # Before version 3 trials were completed in the order of their ids.
    assert [trial.completed for trial in again.trials()] == [*((2, 1) if version == 3 else (1, 2)), 3, 4, None, None]
    assert [trial.completed for trial in again.trials(again.search("random", {}))] == [3, 4]
    assert all(trial.budgets == {} for trial in again.trials())
    first = again.trials()[0]
    assert (first.arch, first.note, first.result["error"]) == ((0, 0, 0, 1, 0, 0), "warm", (4.0, None, None))
    assert again.failures() == ({} if version == 1 else {3: "it raised"})
    assert again.replicates() == ({} if version == 1 else {1: {"error": [3.5, 4.5]}})
    assert again.finalists() == {(0, 0, 0, 1, 0, 0): {"onnx": "onnx/a.onnx", "test_accuracy": 0.5}}
    assert again.search("nsga2", {"population": 4}) == 1, "the search is known by its settings"
    again.judge({again.trials()[4].id: {"error": (1.0, None, None), "latency": (1.0, None, None)}})
    assert [trial.completed for trial in again.trials()][4:] == [5, None]
    assert [trial.id for trial in again.add_batch(1, "nsga2", 2, np.array(ARCHS[:1]))] == [7]


def test_a_damaged_study_of_an_older_version_is_not_taken_along(older, tmp_path):
    path = older(3, tmp_path / "run.db")
    Store(path).close()
    content = path.read_bytes()
    assert content.count(b"it raised") == 1
    path.write_bytes(content.replace(b"it raised", b"it rained"))
    before = path.read_bytes()
    with pytest.raises(SchemaMismatch, match="trial_failures"):
        open_study(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [5, 99])
def test_a_study_of_a_newer_version_is_refused(study, tmp_path, version):
    study.set_fact("version", version)
    study.store.close()
    before = (tmp_path / "run.db").read_bytes()
    with pytest.raises(SchemaMismatch, match=f"of version {version}; this version reads {STUDY_VERSION}"):
        open_study(tmp_path)
    assert (tmp_path / "run.db").read_bytes() == before


def test_a_strategy_with_other_settings_is_another_search(study):
    number = study.search("nsga2", {"population": 10, "mutation": 0.1})
    assert study.search("nsga2", {"mutation": 0.1, "population": 10}) == number
    assert len({number, study.search("nsga2", {}), study.search("random", {})}) == 3


# -- facts


def test_a_study_is_about_one_thing(study):
    study.bind(FACTS)
    with pytest.raises(ConditionMismatch) as caught:
        study.bind({**FACTS, "seed": 1})
    assert (caught.value.expected, caught.value.got) == ({"seed": 0}, {"seed": 1})
    with pytest.raises(ConditionMismatch):
        study.bind({**FACTS, "data": "digits"})
    assert study.fact("seed") == 0
    assert study.fact("data") is None


def test_objectives_and_constraints_come_back(study):
    assert study.objectives() == (ACCURACY, LATENCY)
    assert study.constraints() == (Constraint("latency", 5.0, True), Constraint("accuracy", 0.2, False))


def test_a_database_without_a_search_is_no_run(tmp_path):
    with Store(tmp_path / "run.db") as store:
        Study(store)
    with pytest.raises(InvalidData, match="holds no search"):
        open_study(tmp_path)


def test_facts_about_finalists_are_merged(study, tmp_path):
    study.set_finalist(ARCHS[0], {"onnx": "onnx/a.onnx", "test_accuracy": 0.5})
    study.set_finalist(np.array(ARCHS[0]), {"measured": {"latency_ms": {"value": 2.0}}})
    study.set_finalist(ARCHS[1], {"test_accuracy": 0.25})
    study.set_finalist(ARCHS[1], {"test_accuracy": 0.75})
    assert Study(Store(tmp_path / "run.db")).finalists() == {
        ARCHS[0]: {"onnx": "onnx/a.onnx", "test_accuracy": 0.5, "measured": {"latency_ms": {"value": 2.0}}},
        ARCHS[1]: {"test_accuracy": 0.75},
    }


# -- the front


def test_the_front_leaves_out_what_is_dominated_infeasible_failed_or_not_judged(study):
    assert study.front() == []
    values = [
        (0.6, 2.0),
        (0.6, 2.5),  # dominated
        (0.9, 6.0),  # too slow
        (0.1, 0.5),  # too bad
        (math.nan, 1.0),
        (0.9, math.nan),
        None,
        (0.8, 5.0),
    ]
    tried(study, ARCHS, values)
    assert front(study) == [(ARCHS[7], ("nsga2",)), (ARCHS[0], ("nsga2",))], "the most accurate first"
    assert study.front()[0].result["latency"] == (5.0, 4.5, 5.5)


def test_a_study_of_infeasible_trials_has_no_front(study):
    tried(study, ARCHS[:2], [(0.9, 6.0), (0.1, 1.0)])
    assert study.front() == []


def test_a_network_is_one_point_whoever_found_it_under_whichever_name(study):
    tried(study, [ARCHS[0], ARCHS[1]], [(0.6, 2.0), (0.5, 1.0)], strategy="random")
    tried(study, [TWIN, ARCHS[0], ARCHS[2]], [(0.6, 2.0), (0.6, 2.0), (0.7, 3.0)], strategy="nsga2")
    assert front(study) == [(ARCHS[2], ("nsga2",)), (ARCHS[0], ("random", "nsga2")), (ARCHS[1], ("random",))]


def test_a_network_that_was_judged_twice_keeps_what_no_other_dominates(study):
    tried(study, [ARCHS[0], TWIN], [(0.6, 2.0), (0.6, 1.5)])
    assert front(study) == [(TWIN, ("nsga2",))]


def test_networks_with_equal_costs_are_all_on_the_front(study):
    tried(study, ARCHS[:3], [(0.6, 2.0)] * 3)
    assert [arch for arch, _ in front(study)] == sorted(ARCHS[:3])


# -- names


def test_the_strategies_are_listed():
    assert set(nas.strategies.names()) >= {"nsga2", "random"}
    assert set(gradient.names()) >= {"gdas"}
    assert not set(nas.strategies.names()) & set(gradient.names())


def test_an_unknown_strategy_is_answered_with_all(tmp_path):
    with pytest.raises(UnknownName, match="gdaz") as caught:
        nas.search(FACTS["space"], objectives=["params"], folder=tmp_path / "run", strategy=["nsga2", "gdaz"])
    assert "Did you mean 'gdas'?" in caught.value.hint
    assert all(name in caught.value.hint for name in (*nas.strategies.names(), *gradient.names()))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"train_step": 5}, {"nsga9.population": 10}])
def test_an_unknown_setting_is_refused(tmp_path, settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        nas.search(
            FACTS["space"],
            objectives=["params"],
            folder=tmp_path,
            strategy="random",
            evaluations=2,
            settings=settings,
        )
