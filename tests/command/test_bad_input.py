"""One test for each bad input, through the command: exit code, error, hint, and a store that stays as it was."""

import contextlib
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import nas
import profiler
from device_profiles.profile import load
from hwnas_cli.app import main
from profiler.campaign import Budget
from profiler.subjects import from_bytes
from profiler.testing import convolution

ROOT = Path(__file__).resolve().parents[2]
SPACE = "nasbench201:cells=1,channels=4,resolution=8"
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|"
TABLES = ("meta", "conditions", "targets", "models", "fused", "processes", "blocks", "profiles", "memory", "failures")


@pytest.fixture
def ask(capsys):
    """Run a command with `--json`: its exit code, and its error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments), "--json"])
        shown = capsys.readouterr()
        answer = json.loads(shown.out)
        assert answer["schema"] == f"hwnas.{arguments[0]}/1"
        error = answer["error"]
        assert f"error: {error['message']}" in shown.err
        assert "Traceback" not in shown.err
        return int(ended.value.code or 0), error

    return run


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A store in which two models were measured on two targets."""
    path = tmp_path_factory.mktemp("measured") / "a.db"
    budget = Budget(spread=1.0, device_s=0.1, min_processes=1, rounds=5, profile_runs=1, memory=False)
    subjects = [from_bytes(convolution(name), name=name) for name in ("Relu", "Sigmoid")]
    with profiler.Store(path) as store:
        for target in ("fake", "local-onnxruntime"):
            profiler.measure(subjects, target=load(target), store=store, budget=budget)
    return path


@pytest.fixture
def store(measured, tmp_path):
    """A copy of it."""
    path = tmp_path / "a.db"
    path.write_bytes(measured.read_bytes())
    return path


def rows(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return {name: database.execute(f"select * from {name}").fetchall() for name in TABLES}


@pytest.fixture
def unchanged(store):
    """Checks that the store has the bytes that it had."""
    before = store.read_bytes()
    yield
    assert store.read_bytes() == before
    assert not list(store.parent.glob("*.db-*")), "no side files"


# -- models


def model(nodes, inputs, outputs, *, extra=()):
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.acme", 1)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, extra)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def external(location):
    found = onnx.ModelProto.FromString(convolution())
    weight = found.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return found.SerializeToString()


RELU = [helper.make_node("Relu", ["x"], ["y"])]
HIDDEN = [helper.make_node("Secret", ["x"], ["a"], domain="com.acme"), helper.make_node("Relu", ["a"], ["y"])]
KNOWN = model([helper.make_node("Secret", ["x"], ["y"], domain="com.acme")], [value("x", [4])], [value("y", [4])])

MODELS = {
    "text": (b"no model at all", "InvalidModel", "ONNX"),
    "empty": (b"", "InvalidModel", "empty"),
    "cut": (convolution()[:-40], "InvalidModel", "not an ONNX model"),
    "dynamic": (model(RELU, [value("x", [4, "width"])], [value("y", [4, "width"])]), "InvalidModel", "x: [4, width]"),
    "no-input-shape": (model(RELU, [value("x", None)], [value("y", None)]), "InvalidModel", "x: any shape"),
    "no-shape-inside": (model(HIDDEN, [value("x", [4])], [value("y", [4])]), "UnsupportedOperator", "com.acme:Secret"),
    "unknown-operator": (KNOWN, "UnsupportedOperator", "Secret"),
    "data-outside": (external("../weights.bin"), "InvalidModel", "outside of its folder"),
    "data-absolute": (external("/etc/hostname"), "InvalidModel", "outside of its folder"),
    "data-missing": (external("weights.bin"), "InvalidModel", "'weights.bin', which is missing"),
    "ghost": (
        model([helper.make_node("Add", ["x", "ghost"], ["y"])], [value("x", [4])], [value("y", [4])]),
        "InvalidModel",
        "'ghost'",
    ),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_that_cannot_be_measured(ask, store, tmp_path, name):
    content, kind, words = MODELS[name]
    (tmp_path / "model.onnx").write_bytes(content)
    code, error = ask("profile", "local-onnxruntime", "--model", tmp_path / "model.onnx", "--store", store)
    assert code == 4
    assert words in error["message"] and error["hint"]
    assert error["type"] in (kind, "InvalidData")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("place", ["nowhere.onnx", "folder"])
def test_a_model_that_is_not_there(ask, store, tmp_path, place):
    (tmp_path / "folder").mkdir()
    code, error = ask("profile", "fake", "--model", tmp_path / place, "--store", store)
    assert code == 4 and error["type"] == "InvalidModel"
    assert place in error["message"] and error["hint"]


@pytest.mark.usefixtures("unchanged")
def test_a_cell_whose_output_does_not_depend_on_its_input(ask, store):
    dead = CELL.replace("nor_conv_1x1~2", "none~2")
    code, error = ask("profile", "fake", "--arch", dead, "--store", store)
    assert code == 4 and error["type"] == "ConstantNetwork"
    assert "no path" in error["message"] and error["hint"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("arch", ["1,2,3", "9,9,9,9,9,9", "|nor_conv_9x9~0|+|none~0|none~1|+|none~0|none~1|none~2|"])
def test_an_architecture_that_is_none(ask, store, arch):
    code, error = ask("profile", "fake", "--space", SPACE, "--arch", arch, "--store", store)
    assert code == 2 and error["type"] == "UsageError"
    assert "nor_conv_3x3" in error["message"] + error["hint"]


# -- names


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["profile", "fakee", "--arch", CELL, "--store", "{store}"], "fake"),
        (["profile", "fake", "--space", "nasbench20", "--samples", "2", "--store", "{store}"], "nasbench201"),
        (["fit", "fake", "--predictor", "roofine", "--store", "{store}", "-o", "{out}"], "roofline"),
        (["search", "--space", SPACE, "--objective", "macs", "--strategy", "randon", "-o", "{out}"], "random"),
    ],
    ids=["target", "space", "predictor", "strategy"],
)
def test_a_name_that_is_misspelt(ask, store, tmp_path, arguments, meant):
    code, error = ask(*(text.format(store=store, out=tmp_path / "out") for text in arguments))
    assert code == 2 and error["type"] == "UnknownName"
    assert f"Did you mean '{meant}'?" in error["hint"]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("unchanged")
def test_an_option_that_a_space_does_not_have(ask, store):
    code, error = ask("profile", "fake", "--space", "nasbench201:cell=1", "--samples", 2, "--store", store)
    assert code == 2 and "cell" in error["message"] and "cells" in error["message"] + error["hint"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('extends = "fake"\n[runtime]\nthreads = 0\n', "threads"),
        ('extends = "fake"\n[runtime]\nspeed = 3\n', "speed"),
        ("name = ", "TOML"),
        ('extends = "me.toml"\n', "circle"),
        ('name = "bare"\n', "runtime"),
    ],
)
def test_a_target_file_that_breaks_its_rules(ask, store, tmp_path, text, words):
    (tmp_path / "me.toml").write_text(text)
    code, error = ask("profile", tmp_path / "me.toml", "--arch", CELL, "--store", store)
    assert code == 4 and error["type"] == "InvalidData"
    assert words in error["message"] and error["hint"]


@pytest.mark.usefixtures("unchanged")
def test_a_runtime_that_nobody_has(ask, store, tmp_path):
    (tmp_path / "me.toml").write_text('name = "me"\n[runtime]\nname = "onnxruntim"\n')
    (tmp_path / "model.onnx").write_bytes(convolution())
    code, error = ask("profile", tmp_path / "me.toml", "--model", tmp_path / "model.onnx", "--store", store)
    assert code == 2 and "Did you mean 'onnxruntime'?" in error["hint"]


@pytest.mark.usefixtures("unchanged")
def test_other_conditions_than_those_of_the_store(ask, store, tmp_path):
    (tmp_path / "me.toml").write_text('extends = "fake"\n[runtime.options]\nnoise = 0.5\n')
    (tmp_path / "model.onnx").write_bytes(convolution("Tanh"))
    code, error = ask("profile", tmp_path / "me.toml", "--model", tmp_path / "model.onnx", "--store", store)
    assert code == 4 and error["type"] == "ConditionMismatch"
    assert "options" in error["message"] and "new store" in error["hint"]


# -- searches


TABLE = [
    "arch,cost",
    f"{CELL},3.5",
    f"{CELL.replace('3x3', '1x1')},1.5",
    f"{CELL.replace('none~1', 'nor_conv_3x3~1')},2",
]


def test_a_constraint_that_nobody_can_meet_says_how_far_off_it_is(ask, tmp_path):
    space = nas.spaces.load(SPACE)
    lines = [f"{space.format(np.array(cell))},{1.5 + sum(cell)}" for cell in product(range(5), repeat=6)]
    arguments = ["search", "--space", SPACE, "--objective", f"table:{tmp_path / 't.csv'}:cost"]
    arguments += ["--strategy", "random", "--constraint", "cost <= 0.5", "--evaluations", 10]
    (tmp_path / "t.csv").write_text("\n".join(["arch,cost", *lines]) + "\n")
    code, error = ask(*arguments, "-o", tmp_path / "run")
    assert code == 1 and error["type"] == "InfeasibleBudget"
    assert "none of 10 architectures met cost <= 0.5" in error["message"] and "Loosen" in error["hint"]
    closest, cost, off = re.search(
        r"the closest, ([\d,]+), has cost = ([\d.]+): ([\d.]+)% off", error["message"]
    ).groups()
    assert float(cost) == 1.5 + sum(map(int, closest.split(",")))
    assert float(off) == pytest.approx(100 * (float(cost) - 0.5) / 0.5)
    (tmp_path / "t.csv").write_text("\n".join(TABLE) + "\n")
    code, error = ask(*arguments, "-o", tmp_path / "other")
    assert code == 1 and "none of 3 architectures met" in error["message"]  # as many as the table has networks


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*TABLE[:3], TABLE[3].rpartition(",")[0] + ",-0.25"], "negative costs, the lowest -0.25"),
        ([TABLE[0], *(line.rpartition(",")[0] + ",7" for line in TABLE[1:])], "constant (7)"),
        ([*TABLE[:3], TABLE[3].rpartition(",")[0] + ",nan"], "1 values that are missing or not finite"),
        ([*TABLE[:3], TABLE[3].rpartition(",")[0] + ","], "1 values that are missing or not finite"),
        ([*TABLE[:3], TABLE[3].rpartition(",")[0] + ",inf"], "not finite"),
        ([*TABLE[:3], TABLE[3].rpartition(",")[0] + ",cheap"], "cheap"),
        ([*TABLE, TABLE[1]], "row 5"),
        (["arch,price", *TABLE[1:]], "no column 'cost'"),
        (["cell,cost", *TABLE[1:]], "no column 'arch'"),
        ([*TABLE, "|nothing~0|,4"], "row 5"),
        (TABLE[:1], "no rows"),
        ([], "no column"),
        (None, "t.csv"),
    ],
    ids=[
        "negative", "constant", "nan", "missing-value", "infinite", "text", "twice", "no-column", "no-arch",
        "no-architecture", "no-rows", "empty", "no-file",
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_searched(ask, tmp_path, lines, words):
    path = tmp_path / "t.csv"
    if lines is not None:
        path.write_text("\n".join(lines) + "\n")
    code, error = ask("search", "--space", SPACE, "--objective", f"table:{path}:cost", "-o", tmp_path / "run")
    assert code == 4 and error["type"] == "InvalidTable"
    assert words in error["message"]


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08\x00cut", b"no archive", b"arch,cost\n\xff\xfe,1\n"])
def test_a_table_that_is_damaged(ask, tmp_path, content):
    path = tmp_path / ("t.csv" if content.startswith(b"arch") else "t.csv.gz")
    path.write_bytes(content)
    code, error = ask("search", "--space", SPACE, "--objective", f"table:{path}:cost", "-o", tmp_path / "run")
    assert code == 4 and error["type"] == "InvalidTable"
    assert path.name in error["message"] and error["hint"]


@pytest.mark.usefixtures("unchanged")
def test_a_predictor_that_is_asked_about_another_target(ask, store, tmp_path, capsys):
    folder = tmp_path / "p"
    with pytest.raises(SystemExit) as ended:
        main(["fit", "fake", "--predictor", "roofline", "--store", str(store), "-o", str(folder)])
    assert not ended.value.code
    capsys.readouterr()
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "model.onnx").write_bytes(convolution())
    code, error = ask("predict", folder, "--model", tmp_path / "model.onnx", "--target", "local-onnxruntime")
    assert code == 4 and error["type"] == "ConditionMismatch"
    assert "'fake'" in error["message"] and "'local-onnxruntime'" in error["message"]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


# -- stores


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-5000])


def from_the_future(path):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("update meta set value = '999' where key = 'schema_version'")
        database.execute("update meta set value = '9.9.9' where key = 'written_by'")


def of_someone_else(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table songs (title text)")


def no_database(path):
    path.write_bytes(b"It was a dark and stormy night. " * 200)


def nothing(path):
    path.write_bytes(b"")


STORES = {
    cut_short: ("SchemaMismatch", "cut short"),
    from_the_future: ("SchemaMismatch", "written by hwnas 9.9.9"),
    of_someone_else: ("SchemaMismatch", "not a measurement store"),
    no_database: ("SchemaMismatch", "not a measurement store"),
}


def test_an_empty_file_is_a_store_to_be_made(ask, store, tmp_path, capsys):
    """So an interrupted beginning leaves it; what reads says that there is nothing, what writes makes it whole."""
    nothing(store)
    (tmp_path / "model.onnx").write_bytes(convolution("Tanh"))
    for arguments in (["fit", "fake", "--store", store, "-o", tmp_path / "p"], ["compare", store, store]):
        code, error = ask(*arguments)
        assert code == 4 and error["type"] == "NoStore" and str(store) in error["message"] and error["hint"]
    assert store.read_bytes() == b""
    with pytest.raises(SystemExit) as ended:
        main(["profile", "fake", "--model", str(tmp_path / "model.onnx"), "--store", str(store), "--json"])
    assert not ended.value.code and len(json.loads(capsys.readouterr().out)["measurements"]) == 1


@pytest.mark.parametrize("command", ["profile", "fit", "compare"])
@pytest.mark.parametrize("damage", STORES, ids=lambda damage: damage.__name__)
def test_a_store_that_cannot_be_read_is_refused_and_not_touched(ask, store, tmp_path, damage, command):
    damage(store)
    (tmp_path / "model.onnx").write_bytes(convolution("Tanh"))
    before, others = store.read_bytes(), sorted(tmp_path.iterdir())
    arguments = {
        "profile": ["profile", "fake", "--model", tmp_path / "model.onnx", "--store", store],
        "fit": ["fit", "fake", "--store", store, "-o", tmp_path / "p"],
        "compare": ["compare", store, store],
    }
    code, error = ask(*arguments[command])
    kind, words = STORES[damage]
    assert code == 4 and error["type"] == kind
    assert words in error["message"] and str(store) in error["message"] and error["hint"]
    assert store.read_bytes() == before and sorted(tmp_path.iterdir()) == others


@pytest.mark.parametrize("command", ["profile", "fit", "compare"])
def test_a_folder_in_the_place_of_a_store(ask, tmp_path, command):
    place, model_file = tmp_path / "folder", tmp_path / "model.onnx"
    place.mkdir()
    model_file.write_bytes(convolution())
    arguments = {
        "profile": ["profile", "fake", "--model", model_file, "--store", place],
        "fit": ["fit", "fake", "--store", place, "-o", tmp_path / "p"],
        "compare": ["compare", place, place],
    }
    code, error = ask(*arguments[command])
    assert code == 4 and "is a folder" in error["message"] and error["hint"]
    assert list(place.iterdir()) == [] and sorted(tmp_path.iterdir()) == [place, model_file]


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_a_store_that_is_not_there_is_not_made(ask, tmp_path, command):
    missing = tmp_path / "none.db"
    arguments = {
        "fit": ["fit", "fake", "--store", missing, "-o", tmp_path / "p"],
        "compare": ["compare", missing, missing],
    }
    code, error = ask(*arguments[command])
    assert code == 4 and "no store at" in error["message"] and "hwnas profile" in error["hint"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unchanged")
def test_a_target_that_the_store_does_not_have(ask, store, tmp_path):
    code, error = ask("fit", "local-torch", "--store", store, "-o", tmp_path / "p")
    assert code == 4 and "'local-torch'" in error["message"] and "fake, local-onnxruntime" in error["message"]
    assert "hwnas profile local-torch" in error["hint"]


# -- a full disk, an interruption


def profile(store, models, *more):
    command = [sys.executable, "-m", "hwnas", "profile", "fake", "--store", str(store), "--json", *more]
    return [*command, "--model", *map(str, models)]


@pytest.fixture
def many(tmp_path):
    """Models that take some time together."""
    paths = []
    for channels in range(3, 9):
        node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])
        weight = helper.make_tensor("w", TensorProto.FLOAT, [channels, 3, 3, 3], [0.5] * 27 * channels)
        content = model([node], [value("x", [1, 3, 8, 8])], [value("y", [1, channels, 6, 6])], extra=[weight])
        paths.append(tmp_path / f"{channels}.onnx")
        paths[-1].write_bytes(content)
    return paths


def wait_until(process, condition):
    """What the condition says as soon as it is true, while a process runs."""
    deadline = time.monotonic() + 180
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            raise AssertionError("it ended too early")
    return found


def test_a_full_disk_keeps_what_was_committed_and_the_same_command_goes_on(store, many):
    known = rows(store)
    largest = 700_000

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))

    command = profile(store, many)
    shown = subprocess.run(command, capture_output=True, text=True, preexec_fn=small_disk, cwd=ROOT, check=False)
    error = json.loads(shown.stdout)["error"]
    assert shown.returncode == 3 and error["type"] == "StoreFull"
    assert str(store) in error["message"] and "run the same command again" in error["hint"]
    assert "Traceback" not in shown.stderr
    kept = rows(store)
    assert len(kept["blocks"]) > len(known["blocks"])
    for name in ("models", "blocks", "profiles", "conditions"):
        assert kept[name][: len(known[name])] == known[name]
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    answer = json.loads(again.stdout)
    assert len(answer["measurements"]) == len(many) and answer["failed"] == []
    assert rows(store)["blocks"][: len(kept["blocks"])] == kept["blocks"]


def test_an_interrupted_campaign_ends_with_130_and_keeps_what_was_finished(store, many):
    before = rows(store)
    process = subprocess.Popen(
        profile(store, many, "--spread", "0.01%"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    enough = len(before["blocks"]) + 20
    seen = wait_until(process, lambda: len(found := rows(store)["blocks"]) >= enough and found)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    error = json.loads(out)["error"]
    assert error["type"] == "Interrupted"
    assert "go on with" in err and "hwnas profile fake" in err and "Traceback" not in err
    after = rows(store)
    assert after["blocks"][: len(seen)] == seen
    assert after["meta"] == before["meta"] and after["failures"] == before["failures"]


def judged(run):
    """Trials of a run that have a result."""
    try:
        with closing(sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True)) as database:
            return database.execute("select arch, result from trials where result is not null").fetchall()
    except sqlite3.OperationalError:
        return []


def test_an_interrupted_import_ends_with_130(tmp_path):
    """CPython remembers an interrupt inside of `exec` of a text, and ends by the signal if nobody has it forget."""
    text = "import os, signal, time\\nos.kill(os.getpid(), signal.SIGINT)\\ntime.sleep(20)"
    (tmp_path / "interrupted.py").write_text(
        "import sys\nfrom hwnas_cli.answer import answers, end\n"
        f'@answers("x")\ndef command():\n    exec("{text}")\n'
        "sys.exit(end(command(), as_json=True))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "interrupted"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert found.returncode == 130, found.stderr
    assert json.loads(found.stdout)["error"]["type"] == "Interrupted"


def test_an_interrupted_search_ends_with_130_and_goes_on_as_if_it_had_not_been(tmp_path):
    space = nas.spaces.load(SPACE)
    archs = np.stack(np.unravel_index(np.arange(space.size), space.choices), axis=1)
    costs = np.random.default_rng(0).random(len(archs))
    lines = [f"{space.format(arch)},{1 + cost}" for arch, cost in zip(archs, costs, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["arch,cost", *lines]) + "\n")

    def command(run):
        base = [sys.executable, "-m", "hwnas", "search", "--space", SPACE, "--evaluations", "160", "--json"]
        return [*base, "--objective", f"table:{tmp_path / 't.csv'}:cost", "-o", str(tmp_path / run)]

    process = subprocess.Popen(command("cut"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    seen = wait_until(process, lambda: judged(tmp_path / "cut"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and json.loads(out)["error"]["type"] == "Interrupted"
    assert "hwnas search" in err and "Traceback" not in err
    kept = judged(tmp_path / "cut")
    assert kept[: len(seen)] == seen and len(kept) < 160
    answers = []
    for run in ("cut", "whole"):
        shown = subprocess.run(command(run), capture_output=True, text=True, check=True, cwd=ROOT)
        answers.append({**json.loads(shown.stdout), "path": ""})
    assert answers[0] == answers[1]
    assert len(judged(tmp_path / "cut")) == 160 and judged(tmp_path / "cut") == judged(tmp_path / "whole")
