"""The packages from Python: public names, known types, a line for what is printed, plain arguments."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import device_profiles
import hwnas
import nas
import predictors
import profiler
from device_profiles.errors import UnknownName, UsageError
from nas.spaces.export import subject
from profiler import subjects
from profiler.testing import convolution

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("device_profiles", "profiler", "predictors", "nas", "hwnas_cli")
#: A space of few networks, since all of them are compiled.
SPEC = (
    "nasbench201:channels=4,cells=1,resolution=8"
    "@edge01=nor_conv_1x1@edge02=none@edge12=none@edge03=none+skip_connect@edge13=none"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store of the simulated device, its predictor, and a search, all by texts alone."""
    folder = tmp_path_factory.mktemp("packages")
    space = nas.spaces.load(SPEC)
    store = profiler.Store(f"{folder}/a.db")
    networks = [subject(space, arch) for arch in space.sample(4, np.random.default_rng(0))]
    outcome = profiler.measure(networks, target="fake", store=store)
    predictor = predictors.fit("lookup", store, target="fake", space=space)
    predictor.save(f"{folder}/latency")
    result = nas.search(
        SPEC,
        objectives=[f"latency:{folder}/latency", "params"],
        folder=f"{folder}/run",
        strategy="random",
        evaluations=2,
        target="fake",
    )
    yield space, store, outcome, predictor, result
    store.close()


@pytest.mark.parametrize("package", PACKAGES)
def test_types_are_known(package):
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_public_names_are_seen_before_they_are_used(package):
    said = f"import {package}; print(set({package}.__all__) <= set(dir({package})))"
    shown = subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "True"
    module = importlib.import_module(package)
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_the_version_is_that_of_the_command():
    assert hwnas.__version__ == device_profiles.version.version() != ""


def test_what_is_printed_is_one_line_that_says_which(place):
    space, store, outcome, predictor, result = place
    strategy = nas.strategies.create("nsga2", choices=space.choices, objectives=2)
    said = {
        repr(space): SPEC,
        repr(space.restrict({"edge23": "none"})): "edge23",
        repr(store): "a.db",
        repr(outcome.measurements[0]): outcome.measurements[0].name,
        repr(predictor): "lookup",
        repr(result): "latency, params",
        repr(result.study): "run.db",
        repr(strategy): "6 genes, 2 objectives",
    }
    for text, part in said.items():
        assert part in text and "\n" not in text and len(text) < 300


@pytest.mark.parametrize("name", nas.strategies.names())
def test_every_strategy_says_what_it_searches(name):
    assert "3 genes, 1 objectives" in repr(nas.strategies.create(name, choices=(2, 3, 4), objectives=1))


@pytest.mark.parametrize("name", nas.spaces.names())
def test_a_space_is_printed_as_what_makes_it(name):
    space = nas.spaces.load(name)
    assert repr(space) == f"nas.spaces.load({space.spec!r})"


def test_a_target_that_is_not_there_is_named(place):
    space, store, *_ = place
    with pytest.raises(UnknownName, match="fakee"):
        profiler.measure([], target="fakee", store=store)
    with pytest.raises(UnknownName, match="fakee"):
        predictors.fit("lookup", store, target="fakee", space=space)


def test_paths_may_be_texts(tmp_path, place):
    (tmp_path / "model.onnx").write_bytes(convolution())
    assert subjects.from_file(f"{tmp_path}/model.onnx").name == f"{tmp_path}/model.onnx"
    device_profiles.save("fake", f"{tmp_path}/mine.toml")
    assert device_profiles.load(f"{tmp_path}/mine.toml") == device_profiles.load("fake")
    assert place[-1].report(f"{tmp_path}/page.html") == tmp_path / "page.html"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([nn.Linear(2, 2)], "torch.onnx.export"),
        (["model.onnx"], "from_file"),
        ([3], "subject"),
        (nn.Linear(2, 2), "measure"),
    ],
)
def test_what_is_no_subject_is_refused_with_what_to_do(place, given, words):
    with pytest.raises(UsageError, match="subject") as refused:
        profiler.measure(given, target="fake", store=place[1])
    assert words in refused.value.hint


@pytest.mark.parametrize("name", nas.spaces.names())
def test_whole_floats_are_genes_and_others_are_refused_by_name(name):
    space = nas.spaces.load(name)
    arch = space.sample(1, np.random.default_rng(0))[0]
    assert space.format(arch.astype(np.float64)) == space.format(arch)
    broken = arch.astype(np.float64)
    gene = int(np.argmax(space.choices))
    broken[gene] = 0.5
    for ask in (space.format, space.values, space.assembly, lambda row: space.canonical(row[None])):
        with pytest.raises(UsageError, match=rf"gene {space.genes[gene].name} is 0\.5"):
            ask(broken)


def test_predictions_and_tells_take_whole_floats(place):
    space, _, _, predictor, _ = place
    archs = space.sample(5, np.random.default_rng(1))
    np.testing.assert_array_equal(predictor.predict(archs.astype(float)).value, predictor.predict(archs).value)
    with pytest.raises(UsageError, match=r"gene 0 is 1\.5"):
        predictor.predict(np.full((1, 6), 1.5))


@pytest.mark.parametrize("name", nas.strategies.names())
def test_strategies_are_told_whole_floats(name):
    archs = np.random.default_rng(0).integers(0, 5, (12, 6))
    costs = archs.sum(axis=1, keepdims=True).astype(float)
    asked = []
    for rows in (archs, archs.astype(float)):
        strategy = nas.strategies.create(name, choices=(5,) * 6, objectives=1, seed=0)
        strategy.tell(rows, costs)
        asked.append(strategy.ask(2))
    np.testing.assert_array_equal(*asked)
    with pytest.raises(UsageError, match=r"gene 2 is 1\.5"):
        strategy.tell(np.array([[0, 0, 1.5, 0, 0, 0]]), np.array([[1.0]]))
