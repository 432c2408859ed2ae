"""Evaluators: what each claims, what it answers, and what it refuses."""

import gzip
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

import nas
import predictors
from device_profiles.errors import ConditionMismatch, HwnasError, InvalidTable, SchemaMismatch, UsageError
from nas.evaluators import REGISTRY, Context, function, open_objective, split
from nas.evaluators.protocol import OwnsWeights, Repeatable
from nas.objectives import Objective, Values
from nas.spaces import export
from nas.testing import check_evaluator
from nas.weights.data.tasks import wilson
from profiler.runtimes import fake as fake_runtime
from profiler.store import Store

pytestmark = pytest.mark.usefixtures("one_thread")

NONE, SKIP, CONV1, CONV3, POOL = range(5)
#: Two names of one network, a dead cell, and others.
ARCHS = np.array(
    [
        [CONV3, NONE, NONE, NONE, NONE, SKIP],  # dead
        [SKIP, NONE, NONE, CONV3, NONE, NONE],
        [CONV1, POOL, CONV3, CONV3, NONE, NONE],  # only its fourth gene is alive, as before
        [CONV3, SKIP, CONV1, POOL, CONV3, CONV1],
        [NONE, NONE, NONE, POOL, NONE, NONE],
        [CONV3, CONV3, CONV3, CONV3, CONV3, CONV3],
    ]
)


@pytest.fixture
def context(tmp_path, small, fake):
    """Of a search with everything that an evaluator may want."""
    folder = tmp_path / "run"
    settings = {"train_steps": 5, "images": 120, "train_epochs": 1}
    return Context(small, folder, Store(folder / "run.db"), seed=1, data="digits", target=fake, settings=settings)


@pytest.fixture
def table(tmp_path):
    """Writes a table: `table("arch,ms", "0,0,0,1,0,0;3.5", ...)`, cells with semicolons."""

    def write(header, *rows, name="t.csv"):
        path = tmp_path / name
        lines = [header, *(",".join(f'"{cell}"' for cell in row.split(";")) for row in rows)]
        content = ("\n".join(lines) + "\n").encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


def text(arch):
    return ",".join(map(str, arch))


def true_ms(space, arch, folder):
    """What the simulated device would take without noise."""
    path = folder / "network.onnx"
    path.write_bytes(export.onnx_bytes(space, arch))
    return sum(cost for _, _, cost in fake_runtime.node_costs_ns(path)) / 1e6


def columns(values):
    return [None if part is None else part.tolist() for part in (values.value, values.low, values.high)]


def assert_equal(one, other):
    for a, b in zip(columns(one), columns(other), strict=True):
        assert (a is None) == (b is None)
        np.testing.assert_array_equal(a or [], b or [])


# -- what all keep


def weights(module, budget):
    return float(sum(parameter.abs().sum().detach() for parameter in module.parameters()))


def specs(table, latency):
    """One or two specs of every evaluator."""
    path = table("arch,cost,again", *(f"{text(arch)};{i + 1};{i + 1.5}" for i, arch in enumerate(ARCHS[:4])))
    functions = [nas.objective("genes", lambda arch: float(arch.sum())), nas.objective("weights", weights)]
    return {
        "counted": ["params", "macs"],
        "function": [function.keep(one).partition("=")[2] for one in functions],
        "measured": ["latency:measured"],
        "predicted": [f"latency:{latency}"],
        "shared": ["accuracy"],
        "tabular": [f"table:{path}:cost", f"table:{path}:cost,again"],
        "trained": ["accuracy:trained"],
    }


def test_every_evaluator_is_tested_here(table, latency):
    assert tuple(sorted(specs(table, latency))) == REGISTRY.names()


@pytest.mark.parametrize("kind", REGISTRY.names())
def test_every_evaluator_conforms(context, table, latency, kind):
    for spec in specs(table, latency)[kind]:
        check_evaluator(spec, context, ARCHS)
        check_evaluator(f"mine={spec}", context)


class Broken:
    """An evaluator of its own kind that breaks the rule that it is told to."""

    forms, settings = "broken", ()
    free, identity = True, ""

    def __init__(self, **parts):
        self.objective = Objective("broken", "", False, "counted", "broken")
        self.__dict__.update(parts)

    def claims(self, spec):
        return spec == "broken"

    def default_name(self, spec):
        return spec

    def open(self, name, spec, context):
        return self

    def evaluate(self, archs):
        return Values(archs.sum(axis=1).astype(np.float64))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"claims": lambda spec: False}, "claims: 0 kinds"),
        ({"forms": ""}, "forms"),
        ({"settings": ["a"]}, "settings"),
        ({"default_name": lambda spec: "other"}, "name"),
        ({"objective": Objective("broken", "", False, "a guess", "broken")}, "source"),
        ({"objective": Objective("broken", "", False, "counted", "other")}, "spec"),
        ({"free": 1}, "free"),
        ({"identity": None}, "identity"),
        ({"evaluate": lambda archs: Values(archs.sum(axis=1))}, "float64"),
        ({"evaluate": lambda archs: Values(np.zeros(3))}, "float64"),
        ({"evaluate": lambda archs: archs.sum(axis=1) + 0.0}, "Values"),
        ({"evaluate": lambda archs: None}, "Values"),
        ({"evaluate": lambda archs: 1 / 0}, "it raised ZeroDivisionError"),
        ({"evaluate": lambda archs: exit(3)}, "it raised SystemExit: 3"),
        ({"objective": "broken"}, "objective"),
        ({"open": lambda name, spec, context: object()}, "lacks objective, free"),
        ({"evaluate": lambda archs: Values(np.arange(float(len(archs))))}, "order"),
        ({"evaluate": lambda archs: Values(archs.sum(axis=1) + float(len(archs)))}, "batch"),
        ({"evaluate": lambda archs: Values(np.ones(len(archs)), low=np.ones(len(archs)))}, "both ends"),
        ({"evaluate": lambda archs: Values(*np.ones((2, len(archs))), np.zeros(len(archs)))}, "outside"),
    ],
)
def test_the_kit_finds_broken_evaluators(context, monkeypatch, parts, words):
    monkeypatch.setitem(REGISTRY._registered, "broken", Broken())
    check_evaluator("broken", context)
    monkeypatch.setitem(REGISTRY._registered, "broken", Broken(**parts))
    with pytest.raises(AssertionError, match=words):
        check_evaluator("broken", context)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"again": lambda archs, k: Values(archs.sum(axis=1) + 1.0)}, "replicate 0 is not"),
        (
            {"again": lambda archs, replicate: Values(archs.sum(axis=1) + replicate * np.arange(6.0)[: len(archs)])},
            "order",
        ),
        ({"most": 1}, "no number of replicates"),
    ],
)
def test_the_kit_finds_broken_replicates(context, monkeypatch, parts, words):
    class Twice(Broken, Repeatable):
        most = 2

        def again(self, archs, replicate):
            return Values(archs.sum(axis=1) + 10.0 * replicate)

    monkeypatch.setitem(REGISTRY._registered, "broken", Twice())
    check_evaluator("broken", context)
    for name, part in parts.items():
        monkeypatch.setattr(Twice, name, staticmethod(part) if callable(part) else part)
    with pytest.raises(AssertionError, match=words):
        check_evaluator("broken", context)


def of_rows(values, rows):
    """The same of some rows; the confidence is of all."""
    columns = {name: column[rows] for name, column in vars(values).items() if isinstance(column, np.ndarray)}
    return replace(values, **columns)


@pytest.mark.parametrize("kind", REGISTRY.names())
def test_an_architecture_gets_one_value_in_any_order_and_batch(context, table, latency, kind):
    for spec in specs(table, latency)[kind]:
        evaluator = open_objective(spec, context)
        together = evaluator.evaluate(ARCHS)
        assert together.value.shape == (len(ARCHS),)
        backwards = evaluator.evaluate(ARCHS[::-1])
        assert_equal(of_rows(backwards, slice(None, None, -1)), together)
        afresh = open_objective(spec, context)
        for i in (4, 0, 2):
            alone = afresh.evaluate(ARCHS[i : i + 1])
            assert_equal(alone, of_rows(together, slice(i, i + 1)))
        assert evaluator.evaluate(ARCHS[:0]).value.shape == (0,)


@pytest.mark.parametrize("kind", sorted(set(REGISTRY.names()) - {"tabular"}))
def test_names_of_one_network_get_one_value(context, table, latency, kind):
    for spec in specs(table, latency)[kind]:
        values = open_objective(spec, context).evaluate(ARCHS[1:3]).value
        assert values[0] == values[1]


@pytest.mark.parametrize("kind", REGISTRY.names())
def test_values_lie_in_their_intervals(context, table, latency, kind):
    values = open_objective(specs(table, latency)[kind][0], context).evaluate(ARCHS[1:4])
    assert (values.low is None) == (values.high is None)
    if values.low is not None:
        assert ((values.low <= values.value) & (values.value <= values.high)).all()


@pytest.mark.parametrize(
    ("spec", "name", "unit", "maximise", "source"),
    [
        ("accuracy", "accuracy", "fraction", True, "shared"),
        ("top1=accuracy", "top1", "fraction", True, "shared"),
        ("accuracy:trained", "accuracy", "fraction", True, "trained"),
        ("params", "params", "parameters", False, "counted"),
        ("n=macs", "n", "MACs", False, "counted"),
        ("latency:measured", "latency", "ms", False, "measured"),
        ("latency:{latency}", "latency", "ms", False, "predicted"),
        ("table:{table}:edge_ms", "edge_ms", "ms", False, "table"),
        ("acc=table:{table}:score:max", "acc", "", True, "table"),
    ],
)
def test_objectives_say_what_they_are(context, table, latency, spec, name, unit, maximise, source):
    path = table("arch,edge_ms,score", "0,0,0,1,0,0;1;2", "0,0,0,2,0,0;3;4")
    objective = open_objective(spec.format(table=path, latency=latency), context).objective
    assert (objective.name, objective.unit, objective.maximise, objective.source) == (name, unit, maximise, source)


@pytest.mark.parametrize("spec", ["acuracy", "", "latency", "power:x", "tables:x.csv:a", "name=", "macs:2"])
def test_an_unknown_objective_is_answered_with_what_there_is(context, spec):
    with pytest.raises(UsageError, match="objective") as caught:
        open_objective(spec, context)
    assert caught.value.exit_code == 2
    assert "Did you mean" in caught.value.hint or all(kind.forms in caught.value.hint for _, kind in REGISTRY)


def test_a_name_stands_before_the_first_sign_of_equality():
    assert split("latency=table:a=b.csv:ms") == ("latency", "table:a=b.csv:ms")
    assert split("table:a=b.csv:ms") == ("", "table:a=b.csv:ms")
    assert split("accuracy") == ("", "accuracy")


# -- tables


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_tables_are_read_plain_or_compressed(context, table, name):
    cell = context.space.format(ARCHS[3])
    path = table("arch,other,ms", f"{cell};9;2.5", f"{text(ARCHS[1])};8;1e1", name=name)
    evaluator = open_objective(f"table:{path}:ms", context)
    assert evaluator.evaluate(ARCHS[[1, 3]]).value.tolist() == [10.0, 2.5]


def test_an_architecture_that_a_table_lacks_has_failed(context, table):
    path = table("arch,ms", "0,0,0,1,0,0;1", "0,0,0,2,0,0;2")
    values = open_objective(f"table:{path}:ms", context).evaluate(np.array([[0, 0, 0, 2, 0, 0], [0, 0, 0, 3, 0, 0]]))
    np.testing.assert_array_equal(values.value, [2.0, np.nan])


def test_the_identity_of_a_table_is_its_content(context, table):
    first = open_objective(f"table:{table('arch,ms', '0,0,0,1,0,0;1', '0,0,0,2,0,0;2')}:ms", context).identity
    again = open_objective(f"table:{table('arch,ms', '0,0,0,1,0,0;1', '0,0,0,2,0,0;2')}:ms", context).identity
    other = open_objective(f"table:{table('arch,ms', '0,0,0,1,0,0;1', '0,0,0,2,0,0;3')}:ms", context).identity
    assert first == again != other


def test_what_is_maximised_may_be_negative(context, table):
    path = table("arch,gain", "0,0,0,1,0,0;-1", "0,0,0,2,0,0;2")
    evaluator = open_objective(f"table:{path}:gain:max", context)
    assert evaluator.evaluate(np.array([[0, 0, 0, 1, 0, 0]])).value.tolist() == [-1.0]
    assert evaluator.objective.maximise


GOOD = "0,0,0,1,0,0;1"


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("arch,ms", [GOOD, "0,0,0,2,0,0;nan"], "missing or not finite"),
        ("arch,ms", [GOOD, "0,0,0,2,0,0;inf"], "missing or not finite"),
        ("arch,ms", [GOOD, "0,0,0,2,0,0;"], "missing or not finite"),
        ("arch,ms", [GOOD, "0,0,0,2,0,0"], "missing or not finite"),
        ("arch,ms", [GOOD, "0,0,0,2,0,0;-0.5"], "1 negative"),
        ("arch,ms", [GOOD, "0,0,0,2,0,0;1"], "constant"),
        ("arch,ms", [GOOD, "0,0,0,2,0,0;fast"], "fast"),
        ("arch,ms", [GOOD, "0,0,0,2,0,0;2", "0,0,0,1,0,0;3"], "row 4.*row 2 already"),
        ("arch,ms", [GOOD, "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|;3"], "row 3.*row 2 already"),
        ("arch,ms", [GOOD, "0,0,0,9,0,0;2"], "row 3"),
        ("arch,ms", [GOOD, "a cell;2"], "row 3"),
        ("arch,ms", [GOOD, ";2"], "row 3"),
        ("arch,latency", [GOOD], "no column 'ms'"),
        ("cell,ms", [GOOD], "no column 'arch'"),
        ("arch,ms", [], "no rows"),
    ],
)
def test_a_table_that_cannot_be_searched_on_is_refused(context, table, header, rows, message):
    path = table(header, *rows)
    with pytest.raises(InvalidTable, match=message) as caught:
        open_objective(f"table:{path}:ms", context)
    assert caught.value.exit_code == 4
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.csv", None),
        ("empty.csv", b""),
        ("binary.csv", bytes(range(256)) * 4),
        ("plain.csv.gz", b'arch,ms\n"0,0,0,1,0,0",1\n'),
        ("cut.csv.gz", gzip.compress(b"arch,ms\n" + b'"0,0,0,1,0,0",1\n' * 99)[:-12]),
        ("wrong.csv.gz", gzip.compress(b"arch,ms\n")[:12] + b"\xff" * 30),
    ],
)
def test_a_table_that_cannot_be_read_is_named(context, tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidTable, match=name.replace(".", r"\.")) as caught:
        open_objective(f"table:{tmp_path / name}:ms", context)
    assert caught.value.hint


def test_a_folder_is_no_table(context, tmp_path):
    with pytest.raises(InvalidTable, match="cannot read"):
        open_objective(f"table:{tmp_path}:ms", context)


@pytest.mark.parametrize("spec", ["table:", "table:t.csv", "table::ms", "table:t.csv:", "table:t.csv::max"])
def test_a_table_without_a_column_is_answered_with_how_to_write_it(context, spec):
    with pytest.raises(UsageError) as caught:
        open_objective(spec, context)
    assert "table:FILE.csv:COLUMN" in caught.value.hint


# -- counts


def count_macs(module, shape):
    """Products of the convolutions and linear layers, by hooks."""
    total = 0

    def hook(layer, inputs, output):
        nonlocal total
        products = layer.weight[0].numel() if isinstance(layer, torch.nn.Conv2d) else layer.in_features
        total += output.numel() * products

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(hook)
    module.eval()(torch.zeros(shape))
    return total


def test_counts_are_those_of_the_torch_module(context):
    archs = np.concatenate([ARCHS[1:], context.space.sample(8, np.random.default_rng(2))])
    params = open_objective("params", context).evaluate(archs).value
    macs = open_objective("macs", context).evaluate(archs).value
    for arch, parameters, products in zip(archs, params, macs, strict=True):
        module = context.space.to_module(arch)
        assert parameters == sum(tensor.numel() for tensor in module.parameters())
        assert products == count_macs(module, context.space.input_shape)


def test_counts_of_one_cell_by_hand(context):
    """One 3x3 convolution in each stage: 4, 8 and 16 channels at 8, 4 and 2 pixels."""
    arch = np.array([[NONE, NONE, NONE, CONV3, NONE, NONE]])
    stem, head = 3 * 4 * 9 + 2 * 4, 2 * 16 + 16 * 10 + 10
    cells = sum(c * c * 9 + 2 * c for c in (4, 8, 16))
    reductions = sum(c * 2 * c * 9 + 4 * c + 2 * c * 2 * c * 9 + 4 * c + c * 2 * c for c in (4, 8))
    assert open_objective("params", context).evaluate(arch).value.tolist() == [stem + cells + reductions + head]
    stem_macs, cell_macs = 64 * 3 * 4 * 9, 64 * 16 * 9 + 16 * 64 * 9 + 4 * 256 * 9
    reduction_macs = sum(p * (c * 2 * c * 9 + 4 * c * c * 9 + 2 * c * c) for c, p in ((4, 16), (8, 4)))
    expected = stem_macs + cell_macs + reduction_macs + 160
    assert open_objective("macs", context).evaluate(arch).value.tolist() == [expected]


def test_a_dead_cell_counts_nothing(context):
    for spec in ("params", "macs"):
        assert open_objective(spec, context).evaluate(ARCHS[:1]).value.tolist() == [0.0]


# -- predictors


def test_predictions_are_those_of_the_folder_and_near_the_truth(context, latency, tmp_path):
    evaluator = open_objective(f"latency:{latency}", context)
    assert evaluator.free
    archs = context.space.sample(20, np.random.default_rng(5))
    values = evaluator.evaluate(archs)
    assert values.value.tolist() == predictors.load(latency).predict(archs).value.tolist()
    truth = [true_ms(context.space, arch, tmp_path) for arch in archs]
    assert values.value == pytest.approx(np.array(truth), rel=0.15)


def test_a_predictor_of_another_target_is_refused(context, latency, fake):
    other = replace(context, target=fake.model_copy(update={"name": "pixel"}))
    with pytest.raises(ConditionMismatch, match="another target") as caught:
        open_objective(f"latency:{latency}", other)
    assert (caught.value.expected, caught.value.got) == ({"target": "fake"}, {"target": "pixel"})
    assert open_objective(f"latency:{latency}", replace(context, target=None)).free


def test_a_predictor_of_another_space_is_refused(context, latency):
    with pytest.raises(ConditionMismatch, match="another space") as caught:
        open_objective(f"latency:{latency}", replace(context, space=nas.spaces.load("nasbench201")))
    assert "--space nasbench201" in caught.value.hint


def test_a_predictor_of_another_cost_is_refused(context, latency):
    with pytest.raises(UsageError, match="predicts latency, not energy") as caught:
        open_objective(f"energy:{latency}", context)
    assert f"latency:{latency}" in caught.value.hint


def test_a_folder_without_a_predictor_is_refused(context, latency, tmp_path):
    with pytest.raises(SchemaMismatch, match="not a predictor"):
        open_objective(f"latency:{tmp_path / 'nowhere'}", context)
    damaged = tmp_path / "damaged"
    shutil.copytree(latency, damaged)
    content = (damaged / "table.safetensors").read_bytes()
    (damaged / "table.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(SchemaMismatch, match=r"table\.safetensors"):
        open_objective(f"latency:{damaged}", context)


def test_the_identity_of_a_predictor_is_its_content(context, latency, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(latency, copy)
    first = open_objective(f"latency:{latency}", context).identity
    assert open_objective(f"latency:{copy}", context).identity == first
    card = json.loads((copy / "card.json").read_text())
    (copy / "card.json").write_text(json.dumps({**card, "device_s": 1.0}))
    predictors.sign(copy)
    assert open_objective(f"latency:{copy}", context).identity != first


# -- measured


def test_the_device_measures_each_network_once_and_none_that_is_dead(context, tmp_path):
    evaluator = open_objective("latency:measured", context)
    values = evaluator.evaluate(ARCHS[:3])
    assert np.isnan(values.value[0])
    assert values.value[1:] == pytest.approx(np.full(2, true_ms(context.space, ARCHS[1], tmp_path)), rel=0.05)
    assert len(context.store.models()) == 1
    blocks = len(context.store.blocks(context.store.require_conditions("fake")))
    assert_equal(open_objective("latency:measured", context).evaluate(ARCHS[:3]), values)
    assert len(context.store.blocks(context.store.require_conditions("fake"))) == blocks


def test_what_the_device_refuses_has_failed(context, fake):
    options = {**fake.runtime.options, "unsupported": "AveragePool"}
    target = fake.model_copy(update={"runtime": fake.runtime.model_copy(update={"options": options})})
    values = open_objective("latency:measured", replace(context, target=target)).evaluate(ARCHS[[4, 1]])
    assert np.isnan([values.value, values.low, values.high]).all()


def test_measuring_wants_a_device(context):
    with pytest.raises(UsageError, match="needs a device") as caught:
        open_objective("latency:measured", replace(context, target=None))
    assert "--target" in caught.value.hint


# -- shared weights


def test_accuracy_wants_images(context):
    with pytest.raises(UsageError, match="needs images") as caught:
        open_objective("accuracy", replace(context, data=None))
    assert "--data digits" in caught.value.hint


def test_accuracy_is_that_of_the_network_that_is_exported(context):
    evaluator = open_objective("accuracy", context)
    images = evaluator.images
    assert len(images.train) == len(images.valid) == len(images.test) == 120
    values = evaluator.evaluate(ARCHS[3:4])
    network = evaluator.network(ARCHS[3])
    assert not network.training
    for split_, got in ((images.valid, values.value[0]), (images.test, evaluator.tested(ARCHS[3])["test_accuracy"])):
        with torch.no_grad():
            right = (network(split_.images).argmax(dim=1) == split_.labels).float().mean()
        assert got == pytest.approx(float(right))


def test_a_dead_network_guesses_the_largest_class(context):
    evaluator = open_objective("accuracy", context)
    largest = np.bincount(evaluator.images.valid.labels.numpy()).max()
    assert evaluator.evaluate(ARCHS[:1]).value.tolist() == [largest / 120]
    assert not (context.folder / "supernet.safetensors").exists(), "nothing was trained for it"


def test_asking_who_owns_weights_trains_nothing(context, latency):
    assert isinstance(open_objective("accuracy", context), OwnsWeights)
    assert not isinstance(open_objective(f"latency:{latency}", context), OwnsWeights)
    assert not (context.folder / "supernet.safetensors").exists()


def test_a_search_that_goes_on_judges_with_the_weights_it_had(context):
    first = open_objective("accuracy", context).evaluate(ARCHS)
    told = []
    again = replace(context, progress=lambda what, done, total: told.append((what, done, total)))
    torch.manual_seed(5)
    assert_equal(open_objective("accuracy", again).evaluate(ARCHS), first)
    assert told == [("training shared weights", 5, 5)]


@pytest.mark.parametrize("setting", [{"train_steps": 0}, {"train_steps": "many"}, {"images": 0}, {"images": -3}])
def test_settings_of_accuracy_that_make_no_sense_are_refused(context, setting):
    with pytest.raises(HwnasError):
        open_objective("accuracy", replace(context, settings={**context.settings, **setting})).evaluate(ARCHS[1:2])


def test_intervals_of_accuracy_are_wilsons():
    """Its ends are the shares from which the found one is 1.645 standard deviations away."""
    share = np.array([0.0, 0.3, 0.95, 1.0])
    low, high = wilson(share, 50)
    for end in (low, high):
        distance = np.abs(share - end) / np.sqrt(np.maximum(end * (1 - end), 1e-12) / 50)
        inside = (end > 1e-9) & (end < 1 - 1e-9)
        assert distance[inside] == pytest.approx(np.full(inside.sum(), norm.ppf(0.95)), rel=1e-3)
    assert low[0] == pytest.approx(0.0, abs=1e-12)
    assert high[3] == pytest.approx(1.0)
