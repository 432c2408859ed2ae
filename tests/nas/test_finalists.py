"""The loop from images and a predictor to measured finalists, cut anywhere and gone on with."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

import nas
from device_profiles.errors import HwnasError, UsageError
from nas.certainty import of_study, paired
from nas.loop import finalists
from nas.loop.finalists import choose
from nas.study.study import open_study
from nas.weights import images as data
from nas.weights import training

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = {"train_steps": 30, "images": 150, "gdas.steps": 4, "gdas.batch": 16}
EVALUATIONS = 16


@pytest.fixture(autouse=True)
def frequent_checkpoints(monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 10)


@pytest.fixture(scope="module")
def search(small, fake, latency):
    """Searches by evolution and by gradients; options replace the usual ones."""

    def run(folder, **options):
        usual = {
            "objectives": ["accuracy", f"latency:{latency}"],
            "strategy": ["nsga2", "gdas"],
            "evaluations": EVALUATIONS,
            "data": "digits",
            "target": fake,
            "settings": SETTINGS,
        }
        return nas.search(small, folder=folder, **{**usual, **options})

    return run


@pytest.fixture(scope="module")
def told():
    """What the search of `result` reported."""
    return []


@pytest.fixture(scope="module")
def result(search, told, tmp_path_factory):
    """A search that was not cut, with 3 finalists."""
    made = search(tmp_path_factory.mktemp("whole"), progress=lambda *said: told.append(said))
    made.measure_finalists(3)
    return made


def trials(study):
    return [(t.id, t.search, t.strategy, t.batch, t.arch, t.note, t.result) for t in study.trials()]


def blocks(study):
    return len(study.store.blocks(study.store.require_conditions("fake")))


# -- finalists


def test_evolution_and_gradients_end_on_one_front(result):
    counts = {name: sum(t.strategy == name for t in result.study.trials()) for name in ("nsga2", "gdas")}
    assert counts == {"nsga2": EVALUATIONS, "gdas": EVALUATIONS}
    assert result.evaluations == 2 * EVALUATIONS
    points = {(p.result["accuracy"][0], p.result["latency"][0]): p for p in result.front}
    costs = np.array([(-accuracy, ms) for accuracy, ms in points])
    assert nas.indicators.nondominated(costs).all()
    for trial in result.study.trials():
        point = points.get((trial.value("accuracy"), trial.value("latency")))
        if point is not None:
            assert trial.strategy in point.found_by or point.arch != trial.arch
        else:
            mine = np.array([-trial.value("accuracy"), trial.value("latency")])
            assert ((costs <= mine).all(axis=1) & (costs < mine).any(axis=1)).any()
    assert {name for point in result.front for name in point.found_by} <= {"nsga2", "gdas"}
    notes = [trial.note for trial in result.study.trials() if trial.strategy == "gdas"]
    assert notes[0] == "weight 0" and notes[-1] == "weight 1.6"


def test_finalists_are_exported_and_measured(result, small):
    front = result.study.front()
    rights = finalists.rights_of(result.evaluators[0], front, result.context)
    chosen = [point.arch for point in choose(result.study, front, 3, rights if len(front) > 3 else None)]
    facts = result.study.finalists()
    assert sorted(facts) == sorted(chosen)
    for arch in chosen:
        measured = facts[arch]["measured"]
        predicted = next(point for point in result.front if point.arch == arch).result["latency"][0]
        assert measured["latency_ms"]["value"] == pytest.approx(predicted, rel=0.15)
        assert measured["latency_ms"]["processes"] >= 3
        assert result.study.store.models()[facts[arch]["model"]].arch == small.format(np.array(arch))
        assert (result.folder / facts[arch]["onnx"]).is_file()
    assert not list(result.folder.rglob("*.partial"))


def test_an_export_computes_what_the_network_with_shared_weights_does(result, small):
    images = data.load("digits", small.input_shape, seed=0, limit=SETTINGS["images"])
    owner = result.evaluators[0]
    shared = training.train(small, images, owner.plan, checkpoint=result.folder / "supernet.safetensors")
    for arch, facts in result.study.finalists().items():
        mine = owner.ends.of(small.canonical(np.array([arch]))[0])  # of gdas, or of the search
        network = training.inherit(shared if mine is None else mine, np.array(arch), images)
        session = onnxruntime.InferenceSession(result.folder / facts["onnx"], providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        got = np.concatenate([session.run(None, {name: image[None].numpy()})[0] for image in images.test.images])
        with torch.no_grad():
            expected = network(images.test.images).numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
        right = got.argmax(axis=1) == images.test.labels.numpy()
        assert facts["test_accuracy"] == pytest.approx(right.mean())
        # What tells finalists apart are images that took no part in choosing them.
        np.testing.assert_array_equal(paired.read(facts["test_right"]["accuracy"]), right)


def test_finalists_are_settled_once(result, search, monkeypatch):
    before = result.study.finalists(), blocks(result.study)
    times = {path: path.stat().st_mtime_ns for path in result.folder.glob("onnx/*")}
    assert len(times) == len(before[0]) == min(3, len(result.front)) > 1
    monkeypatch.setattr(finalists.campaign, "measure", None)
    monkeypatch.setattr(finalists, "export", None)
    result.measure_finalists(3)
    search(result.folder).measure_finalists(3)
    assert (result.study.finalists(), blocks(result.study)) == before
    assert {path: path.stat().st_mtime_ns for path in result.folder.glob("onnx/*")} == times


def test_a_lost_export_is_made_again_and_not_measured_again(search, tmp_path, monkeypatch):
    made = search(tmp_path, strategy="nsga2")
    made.measure_finalists(1)
    ((_, facts),) = made.study.finalists().items()
    content = (tmp_path / facts["onnx"]).read_bytes()
    (tmp_path / facts["onnx"]).unlink()
    monkeypatch.setattr(finalists.campaign, "measure", None)
    made.measure_finalists(1)
    assert (tmp_path / facts["onnx"]).read_bytes() == content
    ((_, again),) = made.study.finalists().items()
    assert again == facts


def test_without_a_device_finalists_are_only_exported(search, tmp_path):
    made = search(tmp_path, strategy="random", target=None)
    made.measure_finalists(2)
    keys = {tuple(sorted(facts)) for facts in made.study.finalists().values()}
    assert keys == {("onnx", "test_accuracy", "test_right")}


def test_without_weights_finalists_are_only_measured(search, tmp_path, latency):
    made = search(tmp_path, strategy="random", objectives=["params", f"latency:{latency}"], data=None)
    made.measure_finalists(2)
    assert {tuple(sorted(facts)) for facts in made.study.finalists().values()} == {("measured", "model")}
    assert not (tmp_path / "onnx").exists()


def test_a_finalist_that_the_device_refuses_is_exported_and_not_measured(search, fake, tmp_path):
    options = {**fake.runtime.options, "unsupported": "AveragePool"}
    target = fake.model_copy(update={"runtime": fake.runtime.model_copy(update={"options": options})})
    made = search(tmp_path, strategy="random", target=target)
    made.measure_finalists(2)
    assert [sorted(facts) for facts in made.study.finalists().values()] == [["onnx", "test_accuracy", "test_right"]] * 2


def test_an_export_that_computes_something_else_is_refused(search, tmp_path, monkeypatch):
    made = search(tmp_path, strategy="random")
    honest = finalists.onnx_bytes
    monkeypatch.setattr(finalists, "onnx_bytes", lambda space, arch, module=None: honest(space, arch))
    with pytest.raises(HwnasError, match="differs from torch"):
        made.measure_finalists(1)
    assert not (tmp_path / "onnx").exists()
    assert made.study.finalists() == {}


# -- the choice


def pretended(costs, reference):
    """A study with a front of such costs."""
    objectives = [nas.objectives.Objective(name, "", False, "table", "") for name in "ab"]
    points = [
        SimpleNamespace(arch=(i,), result={name: (value, None, None) for name, value in zip("ab", row, strict=True)})
        for i, row in enumerate(costs)
    ]
    return SimpleNamespace(
        front=lambda: points, objectives=lambda: objectives, constraints=tuple, fact=lambda key: list(reference)
    )


def area(costs, reference):
    """What points dominate, by counting cells of their grid."""
    xs, ys = (sorted({*costs[:, axis], reference[axis]}) for axis in (0, 1))
    total = 0.0
    for x, next_x in pairwise(xs):
        for y, next_y in pairwise(ys):
            total += ((costs[:, 0] <= x) & (costs[:, 1] <= y)).any() * (next_x - x) * (next_y - y)
    return total


@pytest.mark.parametrize("seed", range(5))
def test_each_finalist_adds_the_largest_hypervolume(seed):
    rng = np.random.default_rng(seed)
    costs = np.stack([np.sort(rng.random(7)), -np.sort(-rng.random(7))], axis=1)
    reference = np.array([1.1, 1.2])
    first = max(range(7), key=lambda i: area(costs[[i]], reference))
    second = max((i for i in range(7) if i != first), key=lambda i: area(costs[[first, i]], reference))
    study = pretended(costs, reference)
    assert [point.arch[0] for point in choose(study, study.front(), 1)] == [first]
    assert [point.arch[0] for point in choose(study, study.front(), 2)] == sorted([first, second])


def test_those_that_get_other_examples_right_come_first():
    costs = np.array([[0.1, 0.9], [0.3, 0.6], [0.31, 0.59], [0.9, 0.1]])
    study = pretended(costs, (1.0, 1.0))
    name = study.objectives()[0].name
    halves = np.arange(100) < 50
    rights = {name: [halves, ~halves, ~halves, halves]}
    chosen = [point.arch[0] for point in choose(study, study.front(), 2, rights)]
    assert len({bool(rights[name][place][0]) for place in chosen}) == 2


def test_of_those_that_are_not_told_apart_the_farther_comes_first():
    """The neighbour of the first would add more hypervolume, and is right on all but one of the same examples."""
    costs = np.array([[0.1, 0.5], [0.3, 0.2], [0.35, 0.15]])
    study = pretended(costs, (1.0, 1.0))
    name = study.objectives()[0].name
    right = np.arange(50) < 40
    rights = {name: [right, right & (np.arange(50) > 0), right & (np.arange(50) > 20)]}
    assert [point.arch[0] for point in choose(study, study.front(), 2)] == [0, 1]
    assert [point.arch[0] for point in choose(study, study.front(), 2, rights)] == [1, 2]


def test_latencies_that_will_be_measured_need_not_be_told_apart_by_what_is_predicted():
    objectives = (
        nas.objectives.Objective("error", "", False, "table", ""),
        nas.objectives.Objective("latency", "ms", False, "predicted", ""),
    )
    points = [
        SimpleNamespace(arch=(i,), result={"error": (error, None, None), "latency": (ms, 0.8 * ms, 1.2 * ms)})
        for i, (error, ms) in enumerate([(0.1, 1.0), (0.2, 0.97), (0.3, 0.9)])
    ]
    by_intervals = of_study.separation(points, objectives)
    in_turns = of_study.separation(points, objectives, turned=objectives[1])
    assert (by_intervals < 1).all() and (by_intervals == by_intervals.T).all()
    assert (in_turns[0, 2], in_turns[0, 1]) == pytest.approx((np.log(1 / 0.9) / 0.05, np.log(1 / 0.97) / 0.05))
    assert in_turns[0, 2] > 1 > in_turns[0, 1] and (in_turns.diagonal() == 0).all()


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_no_more_finalists_than_the_front_has(count):
    costs = np.array([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
    study = pretended(costs, (1.0, 1.0))
    assert len(choose(study, study.front(), count)) == min(count, 3)
    assert choose(study, [], count) == []


# -- cut and gone on with


class Cut:
    """A progress that interrupts once, when it is told something."""

    def __init__(self, what, done):
        self.wanted, self.cut = (what, done), False

    def __call__(self, what, done, total):
        if (what, done) == self.wanted and not self.cut:
            self.cut = True
            raise KeyboardInterrupt


CUTS = [
    ("training shared weights", 0),
    ("training shared weights", 17),
    ("training shared weights", 30),
    ("nsga2", 0),
    ("nsga2", 1),
    ("nsga2", 10),
    ("nsga2", 13),
    ("nsga2", EVALUATIONS),
    ("gdas", 2),  # a step of the first run
    ("gdas", 13),  # a step of the fourth run
    ("gdas", 24),  # the last run is over
]


def assert_the_same(study, whole):
    assert trials(study) == trials(whole)
    assert study.front() == whole.front()
    assert study.fact("reference") == whole.fact("reference")


QUICK = {("nsga2", 13), ("gdas", 13)}


@pytest.mark.parametrize(
    ("what", "done"), [pytest.param(*cut, marks=[] if cut in QUICK else pytest.mark.slow) for cut in CUTS]
)
def test_a_search_that_was_cut_ends_as_one_that_was_not(search, result, told, tmp_path, what, done):
    assert any((said[0], said[1]) == (what, done) for said in told)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, progress=Cut(what, done))
    assert_the_same(search(tmp_path).study, result.study)


@pytest.mark.slow
def test_a_search_that_was_cut_everywhere_ends_as_one_that_was_not(search, result, tmp_path):
    for what, done in CUTS:
        try:
            search(tmp_path, progress=Cut(what, done))
        except KeyboardInterrupt:
            continue
    assert_the_same(search(tmp_path).study, result.study)


@pytest.mark.slow
@pytest.mark.parametrize(
    "at",
    [
        pytest.param(("exporting finalists", 0), marks=pytest.mark.slow),
        ("exporting finalists", 2),
        pytest.param(("measuring finalists", 0), marks=pytest.mark.slow),
    ],
)
def test_finalists_that_were_cut_are_settled_later(search, result, tmp_path, at):
    progress = Cut(*at)
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, progress=progress).measure_finalists(3)
    made = search(tmp_path)
    made.measure_finalists(3)
    facts, expected = made.study.finalists(), result.study.finalists()
    assert facts.keys() == expected.keys()
    for arch, fact in facts.items():
        assert fact["test_accuracy"] == expected[arch]["test_accuracy"]
        assert fact["model"] == expected[arch]["model"]
        assert (tmp_path / fact["onnx"]).read_bytes() == (result.folder / expected[arch]["onnx"]).read_bytes()


def test_a_run_can_be_read_without_what_made_it(result):
    study = open_study(result.folder)
    assert_the_same(study, result.study)
    assert study.finalists() == result.study.finalists()


@pytest.mark.slow
def test_another_seed_is_another_search(search, result, tmp_path):
    found = search(tmp_path, seed=1).study.trials()
    for name in ("nsga2", "gdas"):
        mine, others = ([t.arch for t in part if t.strategy == name] for part in (found, result.study.trials()))
        assert mine != others


def test_a_constraint_bounds_what_gradients_find(search, result, latency, tmp_path):
    bound = float(np.median([trial.value("latency") for trial in result.study.trials()]))
    made = search(tmp_path, strategy="gdas", constraints=[f"latency <= {bound} ms"])
    assert made.front
    assert all(point.result["latency"][0] <= bound for point in made.front)


@pytest.mark.parametrize("settings", [{"gdas.population": 3}, {"gdas.tau_last": 0}, {"gdas.weights": (-1.0,)}], ids=str)
def test_wrong_settings_of_a_gradient_strategy_are_refused(search, tmp_path, settings):
    with pytest.raises(UsageError):
        search(tmp_path, strategy="gdas", settings={**SETTINGS, **settings})
    assert not (tmp_path / "supernet.safetensors").exists()
