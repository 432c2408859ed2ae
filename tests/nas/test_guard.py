"""Evaluations that raise, hang or give nothing cost their architecture, are recorded, and the search goes on."""

import time

import numpy as np
import pytest

import nas
from device_profiles.errors import InvalidData
from nas import evaluators
from nas.loop import guard
from nas.objectives import Objective, Values
from nas.study.study import open_study


class Moody:
    """Raises for genomes that begin with 0, hangs for 1, gives NaN for 2, and the sum of the genes otherwise."""

    objective = Objective("moody", "", False, "counted", "moody")
    free = False
    identity = ""

    def evaluate(self, archs):
        if (archs[:, 0] == 0).any():
            raise ValueError("a network of this kind cannot be built")
        if (archs[:, 0] == 1).any():
            time.sleep(60)
        return Values(np.where(archs[:, 0] == 2, np.nan, archs.sum(axis=1).astype(float)))


class MoodyKind:
    forms, settings = "moody", ()

    def claims(self, spec):
        return spec == "moody"

    def default_name(self, spec):
        return spec

    def open(self, name, spec, context):
        return Moody()


@pytest.fixture
def moody(monkeypatch):
    monkeypatch.setitem(evaluators.REGISTRY._registered, "moody", MoodyKind())


def test_a_search_survives_what_an_evaluator_does(moody, tmp_path):
    settings = {"evaluation_seconds": 0.05}
    result = nas.search(
        "nasbench201", objectives=["moody"], strategy="random", evaluations=30, settings=settings, folder=tmp_path
    )
    trials = result.study.trials()
    assert len(trials) == result.evaluations == 30
    kinds = {trial.arch[0] for trial in trials}
    assert {0, 1, 2} <= kinds  # all moods were met
    reasons = result.failures
    for trial in trials:
        if trial.arch[0] > 2:
            assert trial.value("moody") == sum(trial.arch) and trial.arch not in reasons
        else:
            assert np.isnan(trial.value("moody"))
            word = ("ValueError: a network", "EvaluationTimeout: no value", "no finite value")[trial.arch[0]]
            assert reasons[trial.arch].startswith("moody: ") and word in reasons[trial.arch]
    assert all(point.arch[0] > 2 for point in result.front)
    again = nas.search(
        "nasbench201", objectives=["moody"], strategy="random", evaluations=35, settings=settings, folder=tmp_path
    )
    assert [trial.arch for trial in again.study.trials()[:30]] == [trial.arch for trial in trials]
    assert open_study(tmp_path).failures()


def test_what_the_toolkit_raises_ends_the_search():
    class Broken(Moody):
        def evaluate(self, archs):
            raise InvalidData("the table is gone")

    with pytest.raises(InvalidData, match="gone"):
        guard.evaluate(Broken().evaluate, np.zeros((3, 6), dtype=np.int64), failed=lambda row, reason: None)


def test_rows_that_failed_are_told_apart():
    archs = np.array([[3, 1], [0, 1], [4, 4], [2, 0]])
    found = {}
    values = guard.evaluate(Moody().evaluate, archs, failed=found.__setitem__)
    np.testing.assert_array_equal(values.value, [4, np.nan, 8, np.nan])
    assert list(found) == [1] and "cannot be built" in found[1]
    assert values.low is None and values.high is None


def test_a_deadline_leaves_the_alarm_as_it_was():
    with guard.deadline(5):
        pass
    with pytest.raises(guard.EvaluationTimeout), guard.deadline(0.02):
        time.sleep(1)
    time.sleep(0.05)  # no alarm is left
