"""Costs that were learned from architectures, not from kernels, as objectives of searches and on the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest

import nas
import predictors
from device_profiles.errors import ConditionMismatch
from predictors.differentiable import ConditionedCost, NetworkCost
from predictors.transfer import TransferPredictor

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = {"train_steps": 10, "images": 150, "gdas.steps": 3, "gdas.batch": 16}


@pytest.fixture(scope="module")
def table(small, latency):
    """Architectures, and what the fitted predictor says of them."""
    archs = small.sample(80, np.random.default_rng(0))
    return archs, predictors.load(latency).predict(archs).value


@pytest.fixture(scope="module")
def folders(small, fake, table, tmp_path_factory):
    """Folders of a cost of each kind; `loose` does not say of what it speaks."""
    place, (archs, ms) = tmp_path_factory.mktemp("costs"), table
    said = {"target": fake.name, "space": small.spec}
    NetworkCost.fit(small.choices, archs, ms, steps=100, **said).save(place / "network")
    NetworkCost.fit(small.choices, archs, ms, steps=100).save(place / "loose")
    sources = {f"board {i}": (archs, ms * (1 + i) + 0.01 * i * archs[:, 0]) for i in range(3)}
    many = ConditionedCost.fit(small.choices, sources, references=archs[:8], steps=20, hidden=8)
    many.for_device(1.5 * ms[:8], **said).save(place / "device")
    for name, features in (("transfer", None), ("features", small.features)):
        found = TransferPredictor(small.choices, features=features, **said).fit_sources(sources)
        found.adapt(archs[:12], ms[:12]).save(place / name)
    return place


def search(small, folder, run, **more):
    usual = {"strategy": "auto", "evaluations": 10, "data": "digits", "settings": {"train_steps": 10, "images": 150}}
    return nas.search(small, objectives=["accuracy", f"latency:{folder}"], folder=run, **{**usual, **more})


@pytest.mark.parametrize("kind", ["network", "device", "transfer", "features", "loose"])
def test_each_is_an_objective(small, folders, table, tmp_path, kind):
    result = search(small, folders / kind, tmp_path)
    values = [trial.value("latency") for trial in result.study.trials()]
    archs = np.array([trial.arch for trial in result.study.trials()])
    told = predictors.load(folders / kind, features=small.features).predict(archs)
    assert values == pytest.approx(told.value, rel=1e-12) and result.front


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["network", "device", "transfer"])
def test_each_has_gradients(small, folders, fake, tmp_path, kind):
    settings = {**SETTINGS}
    result = search(small, folders / kind, tmp_path, strategy="gdas", settings=settings, target=fake, finalists=1)
    ((_, facts),) = result.study.finalists().items()
    assert facts["measured"]["latency_ms"]["value"] > 0


def test_one_that_does_not_say_of_which_target_serves_none(small, folders, fake, tmp_path):
    with pytest.raises(ConditionMismatch, match="does not say of which target"):
        search(small, folders / "loose", tmp_path / "run", target=fake)
    assert not (tmp_path / "run" / "run.db").exists()


def test_one_of_another_space_or_of_other_genes_is_refused(folders, tmp_path):
    other = nas.spaces.load("nasbench201:cells=2,channels=4,resolution=8")
    with pytest.raises(ConditionMismatch, match="another space"):
        search(other, folders / "network", tmp_path / "a")
    with pytest.raises(ConditionMismatch, match="another version of the space"):
        search(nas.spaces.load("motifs:cells=1,channels=4,resolution=8"), folders / "loose", tmp_path / "b")


# -- the command line


def hwnas(*words):
    done = subprocess.run([sys.executable, "-m", "hwnas", *map(str, words), "--json"], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_predict(small, folders, table):
    archs, _ = table
    loaded = predictors.load(folders / "network").predict(archs[:2])
    texts = [small.format(arch) for arch in archs[:2]]
    code, answer = hwnas("predict", folders / "network", "--arch", texts[0], "--arch", texts[1])
    assert code == 0 and [row["value"] for row in answer["predictions"]] == loaded.value.tolist()
    genes = ",".join(map(str, archs[0]))
    code, answer = hwnas("predict", folders / "loose", "--arch", genes)
    assert code == 0 and len(answer["predictions"]) == 1
    code, answer = hwnas("predict", folders / "loose", "--arch", texts[0] if "," not in texts[0] else "a,b")
    assert code != 0 and "no architecture of 6 genes" in answer["error"]["message"]
    code, answer = hwnas("predict", folders / "network", "--model", folders / "none.onnx")
    assert code == 2 and "takes no files" in answer["error"]["message"]


@pytest.mark.slow
def test_evaluate(latency, folders):
    store = latency.parent / "measured.db"
    code, answer = hwnas("evaluate", folders / "network", "--store", store)
    assert code == 0 and answer["split"] == "all measured" and answer["n"] == 12 and answer["baselines"] == {}
    code, answer = hwnas("evaluate", folders / "network", "--store", store, "--compare", "linear")
    assert code == 2 and "fitted again" in answer["error"]["message"]
