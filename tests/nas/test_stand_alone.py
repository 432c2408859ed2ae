"""How shared weights rank networks beside trainings alone: always said, asked anew, and right."""

import numpy as np
import pytest
from scipy.stats import spearmanr

import nas
from device_profiles.errors import InvalidData, UsageError
from hwnas_cli.commands import search as command
from nas.evaluators.trained import Trained
from nas.objectives import Values
from nas.study import stand_alone

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def search(small, tmp_path):
    def run(**settings):
        return nas.search(
            small,
            objectives=["accuracy", "params"],
            strategy="random",
            evaluations=12,
            data="digits",
            settings={"train_steps": 2, "images": 80, **settings},
            folder=tmp_path / "run",
        )

    return run


@pytest.fixture
def trainings(monkeypatch):
    """Accuracies of trainings alone that are made up: the more 3x3 convolutions, the better."""
    asked = []

    def evaluate(self, archs, budget=None):
        asked.extend(map(tuple, archs.tolist()))
        value = 0.1 + 0.01 * (archs == 3).sum(axis=1) + 0.001 * archs.sum(axis=1)
        return Values(value, value, value)

    monkeypatch.setattr(Trained, "evaluate", evaluate)
    return asked


def test_nobody_knows_until_it_is_asked(search, trainings):
    result = search()
    said = command.text(result, command.fields(result))
    assert "nobody knows how accuracy by shared weights ranks" in said and "--set stand_alone=8" in said
    assert command.fields(result)["stand_alone"] is None and not trainings
    result = search(stand_alone=5)  # the same run, asked anew
    known = command.fields(result)["stand_alone"]
    assert [tuple(arch) for arch in known["networks"]] == trainings and len(trainings) == 5
    assert known["spearman"]["shared"] == pytest.approx(spearmanr(known["shared"], known["alone"]).statistic)
    page = result.report(result.folder / "page.html").read_text()
    said = command.text(result, command.fields(result))
    assert "beside 5 networks trained alone" in said and "eside 5 networks trained alone" in page


def test_networks_are_those_that_were_judged_from_the_worst_to_the_best(search, trainings, small):
    result = search(stand_alone=4)
    known = stand_alone.read(result.study)
    judged = {}
    for trial in result.study.trials():
        if small.is_valid(np.array([trial.arch]))[0]:
            judged[tuple(small.canonical(np.array([trial.arch]))[0].tolist())] = trial.value("accuracy")
    assert [judged[tuple(arch)] for arch in known["networks"]] == known["shared"] == sorted(known["shared"])
    assert known["shared"][0] == min(judged.values()) and known["shared"][-1] == max(judged.values())
    assert len({tuple(arch) for arch in known["networks"]}) == 4


def test_networks_are_trained_for_real(search):
    result = search(stand_alone=3, train_epochs=1)
    known = stand_alone.read(result.study)
    assert len(known["alone"]) == 3 and all(0 <= value <= 1 for value in known["alone"])
    assert len(list((result.folder / "trained").glob("*.safetensors"))) == 3


def test_what_cannot_be_trained_alone_is_refused_before_the_search(search):
    with pytest.raises(InvalidData, match="fewer than a batch"):
        search(stand_alone=3, images=40)


@pytest.mark.parametrize("count", [1, 2, -3, 2.5, True, "many"])
def test_numbers_that_rank_nothing_are_refused(search, count):
    with pytest.raises(UsageError, match="stand_alone must be 0 or a whole number of at least 3"):
        search(stand_alone=count)


def test_without_shared_weights_nothing_is_said(small, tmp_path, trainings):
    result = nas.search(small, objectives=["params", "macs"], strategy="random", evaluations=4, folder=tmp_path)
    assert stand_alone.sentence(result.study) is None and not trainings


@pytest.mark.parametrize("kept", [3, {"networks": 2}, {"networks": [], "spearman": {"shared": "x"}}])
def test_a_damaged_fact_is_as_none(search, kept):
    result = search()
    result.study.set_fact(stand_alone.FACT, kept)
    assert stand_alone.read(result.study) is None and "nobody knows" in stand_alone.sentence(result.study)
