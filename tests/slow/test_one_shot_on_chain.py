"""Each strategy by gradients, each trainer and each kind of weights, from digits to measured finalists, on chains."""

import numpy as np
import pytest

import nas
import predictors
import profiler
from device_profiles import load
from nas import gradient
from nas.spaces.export import subject
from nas.study.plan import settings_of
from nas.weights import kinds, trainers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SPACE = "chain:layers=1,width=25,resolution=16,classes=10,image_channels=1"
SETTINGS = {"train_steps": 200, "images": 600}
#: Of each run by gradients: one of the second order takes four passes over all operators for each.
STEPS = 25


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The space, the device and the folder of a predictor of both."""
    folder, target, space = tmp_path_factory.mktemp("chain"), load("fake"), nas.spaces.load(SPACE)
    budget = profiler.Budget(max_processes=3, rounds=3, profile_runs=2, memory=False, spread=1.0)
    with profiler.Store(folder / "measured.db") as store:
        subjects = [subject(space, arch) for arch in space.sample(16, np.random.default_rng(0))]
        profiler.measure(subjects, target=target, store=store, budget=budget)
        predictors.fit("linear", store, target=target, space=space).save(folder / "latency")
    return space, target, folder / "latency"


def searched(place, tmp_path, strategy, settings):
    space, target, latency = place
    result = nas.search(
        space,
        objectives=["accuracy", f"latency:{latency}"],
        strategy=strategy,
        evaluations=12,
        data="digits",
        target=target,
        settings=SETTINGS | settings,
        finalists=2,
        folder=tmp_path / "run",
    )
    finalists = result.study.finalists()
    assert result.front and not result.failures and finalists
    for facts in finalists.values():
        assert facts["measured"]["latency_ms"]["value"] > 0 and (result.folder / facts["onnx"]).is_file()
    return result


@pytest.mark.parametrize("name", gradient.names())
def test_each_strategy(name, place, tmp_path):
    settings = {f"{name}.steps": STEPS} if "steps" in settings_of(name) else {}
    result = searched(place, tmp_path, [name], settings)
    assert {trial.strategy for trial in result.study.trials()} == {name}


@pytest.mark.parametrize("trainer", trainers.REGISTRY.names())
def test_each_trainer(trainer, place, tmp_path):
    result = searched(place, tmp_path, ["nsga2"], {"trainer": trainer, "train_steps": 600})
    assert max(trial.value("accuracy") for trial in result.study.trials()) > 0.3, "it learned more than chance"


@pytest.mark.parametrize("weights", kinds.REGISTRY.names())
def test_each_kind_of_weights(weights, place, tmp_path):
    searched(place, tmp_path, ["nsga2"], {"weights": weights})
