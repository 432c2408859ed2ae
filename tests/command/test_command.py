"""The command line as other programs see it: one JSON object, the documented fields and exit codes."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import sqlalchemy as sa
import torch
from onnx import TensorProto, helper

import device_profiles
import nas
from hwnas_cli.app import spread
from profiler.testing import convolution

SPACE = "nasbench201:cells=1,channels=4,resolution=8"
COMMANDS = (
    *("doctor", "profile", "compare", "fit", "evaluate", "predict", "search", "runs", "status", "report"),
    *("spaces", "strategies", "predictors", "completion"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A store of the simulated device, and a predictor fitted on it."""
    folder = tmp_path_factory.mktemp("command")
    base = [sys.executable, "-m", "hwnas"]
    profile = ["profile", "fake", "--space", SPACE, "--samples", "24", "--store", str(folder / "a.db"), "--json"]
    shown = subprocess.run([*base, *profile], capture_output=True, text=True, check=True)
    (folder / "profile.json").write_text(shown.stdout)
    fit = ["fit", "fake", "--space", SPACE, "--predictor", "lookup", "--store", str(folder / "a.db")]
    subprocess.run([*base, *fit, "-o", str(folder / "latency")], capture_output=True, check=True)
    return folder


def test_doctor(ask):
    code, answer = ask("doctor")
    assert code == 0 and answer["ready"]
    assert {"python", "torch", "energy", "cache"} <= {check["name"] for check in answer["checks"]}
    states = {one["name"]: one["state"] for one in answer["runtimes"]}
    assert states["onnxruntime"] == "ok"
    if torch.version.cuda is None:
        assert states["torch-cuda"] == "-", "packages alone make no GPU"


def test_devices(ask, hwnas, tmp_path):
    _, answer = ask("devices", "list")
    assert {d["name"] for d in answer["devices"]} == set(device_profiles.names())
    _, answer = ask("devices", "show", "local-onnxruntime-2t")
    assert answer["target"]["runtime"]["threads"] == 2
    code, answer = ask("devices", "detect", "-o", tmp_path / "me.toml")
    assert code == 0 and Path(answer["path"]).is_file()
    assert ask("devices", "show", tmp_path / "me.toml")[1]["target"] == answer["target"]
    code, answer = ask("devices", "deploy", "fake")
    assert code == 2 and "is this machine" in answer["error"]["message"]


def test_profile_has_the_documented_fields(place):
    answer = json.loads((place / "profile.json").read_text())
    assert answer["schema"] == "hwnas.profile/1" and answer["target"] == "fake"
    assert len(answer["measurements"]) == 24 and answer["failed"] == [] and answer["needs_attention"] is False
    row = answer["measurements"][0]
    assert {"arch", "latency_ms", "energy_mj", "memory_bytes", "closure"} <= row.keys()
    latency = row["latency_ms"]
    assert latency["low"] <= latency["value"] <= latency["high"] and latency["state"] == "stable"
    assert latency["processes"] >= 3 and latency["blocks"] >= 15
    assert "unavailable" in row["energy_mj"]
    assert set(row["memory_bytes"]) == {"planned", "allocator", "process"} and row["memory_bytes"]["planned"] > 0


def test_profile_again_measures_nothing_new(ask, place):
    def blocks():
        engine = sa.create_engine(f"sqlite:///{place / 'a.db'}")
        with engine.connect() as connection:
            return connection.scalar(sa.text("select count(*) from blocks"))

    before = blocks()
    code, answer = ask("profile", "fake", "--space", SPACE, "--samples", 24, "--store", place / "a.db")
    assert code == 0 and len(answer["measurements"]) == 24
    assert blocks() == before


def dynamic() -> bytes:
    """A model whose width is a name."""
    node = helper.make_node("Relu", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, "width"]) for name in ("x", "y")]
    return helper.make_model(helper.make_graph([node], "g", values[:1], values[1:])).SerializeToString()


def constant() -> bytes:
    """A model whose output does not depend on its input."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Relu", ["w"], ["y"])], "g", [x], [y], [weight])
    return helper.make_model(graph).SerializeToString()


def elsewhere() -> bytes:
    """A model that keeps a weight outside of its folder."""
    model = onnx.ModelProto.FromString(convolution())
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../weights.bin")
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"no model at all", "InvalidModel", "not an ONNX model|no graph"),
        (dynamic(), "InvalidModel", "are free: x"),
        (constant(), "ConstantNetwork", "does not depend on the input"),
        (elsewhere(), "InvalidModel", "outside of its folder"),
        (convolution("NoSuchOperator"), "InvalidModel|UnsupportedOperator|InvalidData", "NoSuchOperator"),
    ],
    ids=["not-onnx", "dynamic", "constant", "external", "operator"],
)
def test_bad_models_are_refused_and_the_store_stays(ask, tmp_path, content, kind, words):
    model, store = tmp_path / "model.onnx", tmp_path / "a.db"
    model.write_bytes(content)
    code, answer = ask("profile", "local-onnxruntime", "--model", model, "--store", store)
    assert code == 4
    assert re.search(kind, answer["error"]["type"]) and re.search(words, answer["error"]["message"])
    assert answer["error"]["hint"] or "operator" in words.lower()
    assert not store.exists() or nothing_in(store)


def nothing_in(store: Path) -> bool:
    engine = sa.create_engine(f"sqlite:///{store}")
    with engine.connect() as connection:
        tables = ("models", "blocks", "targets", "failures")
        return all(connection.scalar(sa.text(f"select count(*) from {name}")) == 0 for name in tables)


def test_one_bad_model_among_good_ones_is_listed(ask, tmp_path):
    (tmp_path / "good.onnx").write_bytes(convolution())
    (tmp_path / "bad.onnx").write_bytes(b"no model at all")
    models = [tmp_path / "good.onnx", tmp_path / "bad.onnx"]
    code, answer = ask("profile", "fake", "--model", *models, "--store", tmp_path / "a.db")
    assert code == 0 and answer["needs_attention"]
    assert [row["model"] for row in answer["measurements"]] == [str(models[0])]
    assert answer["failed"][0]["model"] == str(models[1]) and "ONNX" in answer["failed"][0]["reason"]


def test_a_dead_cell_is_refused(ask, tmp_path):
    code, answer = ask("profile", "fake", "--arch", "0,0,0,0,0,0", "--store", tmp_path / "a.db")
    assert code == 4 and answer["error"]["type"] == "ConstantNetwork"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["profile", "local-onnxrutime", "--samples", "2", "--space", "nasbench201"],
            "Did you mean 'local-onnxruntime'",
        ),
        (["profile", "fake", "--samples", "2", "--space", "nasbench210"], "Did you mean 'nasbench201'"),
        (["search", "--space", "nasbench201", "--objective", "macs", "--strategy", "nsag2", "-o", "r"], "'nsga2'"),
        (["profile", "fake"], "--model"),
        (["profile", "fake", "--samples", "2", "--space", "nasbench201", "--budget", "fast"], "40 ms"),
        (["profile", "fake", "--samples", "2", "--space", "nasbench201", "--until", "3%"], "--samples"),
        (["search", "--space", "nasbench201", "--objective", "beauty", "-o", "r"], "Objectives"),
        (["search", "--space", "nasbench201", "--objective", "accuracy", "-o", "r"], "--data"),
        (["search", "--space", "nasbench201", "--objective", "latency:measured", "-o", "r"], "--target"),
    ],
)
def test_wrong_requests_end_with_2_and_a_hint(hwnas, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = hwnas(*arguments)
    assert code == 2 and out == ""
    assert "error:" in err and words in err


def test_an_unknown_predictor(ask, place, tmp_path):
    code, answer = ask("fit", "fake", "--predictor", "lokup", "--store", place / "a.db", "-o", tmp_path / "p")
    assert code == 2 and "Did you mean 'lookup'" in answer["error"]["hint"]


def test_fit_evaluate_predict(ask, place):
    code, answer = ask("evaluate", place / "latency", "--store", place / "a.db", "--compare", "lightgbm")
    assert code == 0 and answer["n"] == 24
    fields = {"mape", "within_5", "within_10", "spearman", "noise_mape", "interval_coverage", "n"}
    assert fields <= answer.keys() and answer["mape"] < 0.05 and answer["within_10"] == 1.0
    assert {"roofline", "linear", "bayesian-linear", "lightgbm"} == set(answer["baselines"])
    assert all(fields <= scores.keys() for scores in answer["baselines"].values())
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|"
    code, answer = ask("predict", place / "latency", "--arch", "1,2,3,0,4,1", text)
    assert code == 0
    first, second = answer["predictions"]
    assert (first["arch"], second["arch"]) == ("1,2,3,0,4,1", text)
    for row in (first, second):
        assert row["low"] < row["value"] < row["high"] and row["unit"] == "ms"
        assert 0.0 <= row["coverage"] <= 1.0 and isinstance(row["missing"], list)


def test_predict_says_what_it_does_not_know(ask, place, tmp_path):
    (tmp_path / "m.onnx").write_bytes(convolution())
    _, answer = ask("predict", place / "latency", "--model", tmp_path / "m.onnx")
    row = answer["predictions"][0]
    assert row["model"].endswith("m.onnx") and row["coverage"] < 1.0
    assert any(key.startswith("Conv[") for key in row["missing"])
    assert row["coverage"] < 0.8 and "1 of 1" in answer["warning"] and "Conv(" in answer["warning"]
    assert ask("predict", place / "latency", "--arch", "1,2,3,0,4,1")[1]["warning"] is None
    known = ask("predict", place / "latency", "--arch", "1,2,3,0,4,1")[1]["predictions"][0]
    assert (row["high"] - row["low"]) / row["value"] > 2 * (known["high"] - known["low"]) / known["value"]


@pytest.mark.parametrize("order", [("good", "bad", "missing"), ("bad", "good", "missing"), ("missing", "bad", "good")])
def test_predict_answers_the_good_ones_and_names_the_bad(ask, hwnas, place, tmp_path, order):
    files = {name: tmp_path / f"{name}.onnx" for name in order}
    files["good"].write_bytes(convolution())
    files["bad"].write_bytes(b"no model")
    code, answer = ask("predict", place / "latency", "--model", *(files[name] for name in order))
    assert code == 0
    assert [row["model"] for row in answer["predictions"]] == [str(files["good"])]
    assert answer["predictions"] == ask("predict", place / "latency", "--model", files["good"])[1]["predictions"]
    assert [row["model"] for row in answer["failed"]] == [str(files[name]) for name in order if name != "good"]
    assert all(row["type"] == "InvalidModel" and row["reason"] and row["hint"] for row in answer["failed"])
    _, out, _ = hwnas("predict", place / "latency", "--model", *(files[name] for name in order))
    assert f"failed: {files['bad']}: " in out and str(files["good"]) in out


def test_predict_with_nothing_to_answer_is_an_error(ask, place, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "folder.onnx").mkdir()
    files = [tmp_path / f"{name}.onnx" for name in ("bad", "folder", "missing")]
    code, answer = ask("predict", place / "latency", "--model", *files)
    assert code == 4 and answer["predictions"] == [] and answer["error"]["type"] == "InvalidModel"
    assert [row["model"] for row in answer["failed"]] == [str(path) for path in files]


def test_predict_architectures_of_which_one_cannot_be_read(ask, place):
    code, answer = ask("predict", place / "latency", "--arch", "1,2,3,0,4,1", "9,9,9,9,9,9", "nonsense")
    assert code == 0 and [row["arch"] for row in answer["predictions"]] == ["1,2,3,0,4,1"]
    assert [row["arch"] for row in answer["failed"]] == ["9,9,9,9,9,9", "nonsense"]
    code, answer = ask("predict", place / "latency", "--arch", "nonsense")
    assert code == 2 and answer["predictions"] == [] and answer["error"]["type"] == "UsageError"


def test_a_predictor_speaks_of_its_own_target_alone(ask, place, tmp_path):
    code, answer = ask("predict", place / "latency", "--arch", "1,2,3,0,4,1", "--target", "local-onnxruntime")
    assert code == 4 and answer["error"]["type"] == "ConditionMismatch"
    objectives = ["--objective", f"latency:{place / 'latency'}"]
    code, answer = ask("search", "--space", "nasbench201", *objectives, "-o", tmp_path / "run")
    assert code == 4 and "another space" in answer["error"]["message"]


def test_compare(ask, hwnas, place, tmp_path):
    same, slow = tmp_path / "same.db", tmp_path / "slow.db"
    for copy in (same, slow):
        shutil.copy(place / "a.db", copy)
    engine = sa.create_engine(f"sqlite:///{slow}")
    with engine.begin() as connection:
        connection.execute(sa.text("update blocks set ns = ns * 12 / 10"))
    engine.dispose()
    code, answer = ask("compare", place / "a.db", same)
    assert code == 0 and {row["verdict"] for row in answer["rows"]} == {"no change"}
    assert all({"key", "ratio", "low", "high", "verdict"} <= row.keys() for row in answer["rows"])
    code, answer = ask("compare", place / "a.db", slow, "--fail-on", "slower:5%")
    assert code == 1 and {row["verdict"] for row in answer["rows"]} == {"slower"}
    assert all(row["ratio"] == pytest.approx(1.2, rel=1e-3) for row in answer["rows"])
    assert ask("compare", slow, place / "a.db", "--fail-on", "slower:5%")[0] == 0
    assert ask("compare", place / "a.db", slow, "--fail-on", "slower:30%")[0] == 0
    code, _, err = hwnas("compare", place / "a.db", tmp_path / "missing.db")
    assert code == 4 and "no store" in err


def test_other_conditions_are_not_compared_nor_mixed(ask, place, tmp_path):
    target = tmp_path / "fake.toml"
    target.write_text('extends = "fake"\n[runtime.options]\nseed = 5\n')
    arguments = ["--space", SPACE, "--samples", 3, "--store"]
    assert ask("profile", target, *arguments, tmp_path / "b.db")[0] == 0
    _, answer = ask("compare", place / "a.db", tmp_path / "b.db")
    assert {row["verdict"] for row in answer["rows"]} == {"not comparable"}
    assert all("options" in row["reason"] for row in answer["rows"])
    code, answer = ask("profile", target, *arguments, place / "a.db")
    assert code == 4 and answer["error"]["type"] == "ConditionMismatch" and "options" in answer["error"]["message"]


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    """A store of two targets that differ in threads."""
    folder = tmp_path_factory.mktemp("threads")
    (folder / "two.toml").write_text('extends = "fake"\nname = "two"\n[runtime]\nthreads = 2\n')
    (folder / "m.onnx").write_bytes(convolution())
    for target in ("fake", str(folder / "two.toml")):
        command = ["profile", target, "--model", str(folder / "m.onnx"), "--store", str(folder / "a.db")]
        subprocess.run([sys.executable, "-m", "hwnas", *command], capture_output=True, check=True)
        if target == "fake":
            shutil.copy(folder / "a.db", folder / "one.db")
    return folder / "a.db"


@pytest.mark.parametrize("stores", [1, 2])
def test_compare_across_the_targets_of_one_store(ask, hwnas, threads, stores):
    given = [threads] * stores
    code, answer = ask("compare", *given, "--across", "threads")
    assert code == 0
    (row,) = answer["rows"]
    assert {"key", "ratio", "low", "high", "verdict"} <= row.keys()
    assert (row["first"], row["second"], row["target"]) == ("fake", "two", "two")
    assert row["key"].endswith("m.onnx") and row["low"] < row["ratio"] < row["high"]
    (found,) = answer["fastest"]
    assert found["key"] == row["key"] and set(found["targets"]) <= {"fake", "two"}
    assert ask("compare", *given, "--across", "runtime, threads", "--fail-on", "slower:50%")[0] == 0
    code, out, _ = hwnas("compare", *given, "--across", "threads")
    assert code == 0 and "two / fake" in out and "fastest: " in out


def test_compare_across_what_does_not_differ_or_is_no_name(ask, hwnas, threads):
    _, answer = ask("compare", threads, "--across", "runtime")
    (row,) = answer["rows"]
    assert row["verdict"] == "not comparable" and "--across runtime,threads compares them" in row["reason"]
    assert answer["fastest"] == []
    code, answer = ask("compare", threads, "--across", "runtime", "--fail-on", "slower")
    assert code == 4 and "threads" in answer["error"]["message"]
    for names in ("kernel", "", "threads,"):
        code, answer = ask("compare", threads, "--across", names)
        assert code == 2 and "options, precision, runtime, threads" in answer["error"]["hint"].replace(
            "optimisation, ", ""
        )
    code, answer = ask("compare", threads)
    assert code == 2 and "--across runtime" in answer["error"]["hint"]
    one = threads.with_name("one.db")
    code, out, _ = hwnas("compare", one, "--across", "threads")
    assert code == 0 and "one target alone, 'fake'" in out
    code, answer = ask("compare", one, "--across", "threads", "--fail-on", "slower")
    assert code == 4 and "one target alone" in answer["error"]["message"]


def test_search_and_report(ask, place, tmp_path):
    space = nas.spaces.load(SPACE)
    rows = [f"{space.format(a)},{50 - a.sum()}" for a in space.sample(2000, np.random.default_rng(0))]
    (tmp_path / "t.csv").write_text("\n".join(["arch,error", *rows]) + "\n")
    arguments = ["--space", SPACE, "--objective", f"table:{tmp_path / 't.csv'}:error", f"latency:{place / 'latency'}"]
    arguments += ["--evaluations", 50, "-o", tmp_path / "run"]
    code, answer = ask("search", *arguments, "--strategy", "nsga2")
    assert code == 0
    assert {"space", "strategy", "seed", "evaluations", "front", "hypervolume", "reference"} <= answer.keys()
    assert answer["evaluations"] == 50 and answer["space"] == space.spec and answer["strategy"] == "nsga2"
    point = answer["front"][0]
    assert {"arch", "text", "objectives", "measured", "onnx"} <= point.keys()
    assert space.format(np.array(point["arch"])) == point["text"]
    assert point["objectives"]["error"]["source"] == "table" and point["objectives"]["error"]["low"] is None
    assert point["objectives"]["latency"]["source"] == "predicted" and point["measured"] is None
    assert point["objectives"]["latency"]["low"] < point["objectives"]["latency"]["value"]
    assert ask("search", *arguments, "--strategy", "nsga2")[1] == answer, "a finished search is read, not made again"
    code, shown = ask("report", tmp_path / "run", "-o", tmp_path / "front.html")
    assert code == 0 and Path(shown["path"]).is_file() and shown["front"] == len(answer["front"])
    code, answer = ask("search", *arguments[:-1], tmp_path / "other", "--constraint", "latency <= 1 ns")
    assert code == 1 and answer["front"] == [] and answer["error"]["type"] == "InfeasibleBudget"
    assert ask("report", tmp_path / "nothing", "-o", tmp_path / "x.html")[0] == 4


def test_a_second_strategy_goes_on(ask, tmp_path):
    space = nas.spaces.load(SPACE)
    rows = [f"{space.format(a)},{50 - a.sum()},{a.max()}" for a in space.sample(500, np.random.default_rng(0))]
    (tmp_path / "t.csv").write_text("\n".join(["arch,error,most", *rows]) + "\n")
    arguments = [
        "--space",
        SPACE,
        "--objective",
        *(f"table:{tmp_path / 't.csv'}:{column}" for column in ("error", "most")),
    ]
    arguments += ["--evaluations", 30, "-o", tmp_path / "run", "--strategy", "random", "--then", "nsga2"]
    code, answer = ask("search", *arguments)
    assert code == 0 and answer["strategy"] == "random,nsga2" and answer["evaluations"] == 30
    assert ask("search", *arguments)[1] == answer
    code, shown = ask("status", tmp_path / "run")
    assert code == 0 and shown["strategies"] == ["random", "nsga2"] and shown["asked"] == 30
    code, answer = ask("search", *arguments[:-1], "gdas")
    assert code == 2 and "is told nothing" in answer["error"]["message"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_two_runnable_examples(hwnas, command):
    code, out, _ = hwnas(command, "--help")
    shown = re.findall(rf"hwnas {command}\b", re.sub(r"\s+", " ", out))
    assert code == 0 and len(shown) >= 3, "the usage line and two examples"


def test_options_take_several_values():
    assert spread(["predict", "D", "--model", "a", "b", "--json"]) == [
        "predict",
        "D",
        "--model",
        "a",
        "--model",
        "b",
        "--json",
    ]
    assert spread(["predict", "--json", "D", "--arch", "1,2", "3,4"])[-4:] == ["--arch", "1,2", "--arch", "3,4"]
    assert spread(["predict", "--model", "a", "D"]) == ["predict", "--model", "a", "D"]
    assert spread(["fit", "T", "--store", "s", "-o", "d"]) == ["fit", "T", "--store", "s", "-o", "d"]


def test_interruption_keeps_what_was_finished(tmp_path):
    store = tmp_path / "a.db"
    command = [
        sys.executable,
        "-m",
        "hwnas",
        "profile",
        "local-onnxruntime",
        "--space",
        SPACE,
    ]
    command += ["--samples", "3", "--spread", "0.1%", "--budget", "40s", "--store", str(store), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    engine = sa.create_engine(f"sqlite:///{store}")
    deadline = time.monotonic() + 120
    blocks = 0
    while blocks < 5 and time.monotonic() < deadline:
        time.sleep(0.1)
        if not store.exists():
            continue  # connecting would make an empty file
        try:
            with engine.connect() as connection:
                blocks = connection.scalar(sa.text("select count(*) from blocks"))
        except sa.exc.OperationalError:
            continue
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["error"]["type"] == "Interrupted"
    assert "go on with" in err and "hwnas profile" in err
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from blocks")) >= blocks


@pytest.mark.slow
def test_predictors_side_by_side_and_as_a_page(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ask("profile", "fake", "--probes", "14", "--store", "a.db")[0] == 0
    assert ask("fit", "fake", "--predictor", "lookup", "--store", "a.db", "-o", "p")[0] == 0
    code, answer = ask("evaluate", "p", "--store", "a.db", "--compare", "linear", "--seeds", "2", "--html", "c.html")
    found = answer["comparison"]
    assert code == 0 and found["seeds"] == 2 and found["networks"] == 14
    assert list(found["predictors"]) == ["lookup", "linear", "roofline", "bayesian-linear"]
    for row in found["predictors"].values():
        assert row["mape"]["low"] <= row["mape"]["mean"] <= row["mape"]["high"]
        assert 0 <= row["selected"]["violations"] <= 1 and row["failure"] is None
    # The simulated device is a line in weights, which a table knows and the roofline does not.
    means = {name: row["mape"]["mean"] for name, row in found["predictors"].items()}
    assert means["linear"] < means["roofline"] > means["lookup"]
    page = (tmp_path / "c.html").read_text()
    assert page.startswith("<!doctype html>") and "bayesian-linear" in page and "<script" in page
    assert ask("evaluate", "p", "--store", "a.db", "--html", "c.html")[0] == 2


@pytest.mark.slow
def test_measuring_stops_when_predictions_are_good_enough(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = ("--space", "nasbench201:cells=1,channels=4,resolution=8", "--samples", "24")
    code, answer = ask("profile", "fake", *space, "--until", "3%", "--store", "a.db")
    until = answer["until"]
    assert code == 0 and until["reached"] and until["error"] <= until["wanted"] == 0.03
    assert len(answer["measurements"]) == until["held_out"] + until["rounds"][-1]["networks"] < 24
    again, same = ask("profile", "fake", *space, "--until", "3%", "--store", "a.db")
    assert again == 0 and same["until"] == until, "nothing is measured twice"
    code, answer = ask("profile", "fake", *space, "--until", "0.0001%", "--store", "a.db")
    assert code == 1 and not answer["until"]["reached"] and len(answer["measurements"]) == 24


@pytest.mark.slow
def test_memory_is_simulated_and_searched(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = "nasbench201:cells=1,channels=4,resolution=8"
    assert ask("profile", "fake", "--space", space, "--samples", "4", "--store", "a.db")[0] == 0
    code, answer = ask("fit", "fake", "--space", space, "--cost", "memory", "--store", "a.db", "-o", "m")
    assert code == 0 and answer["predictor"] == "simulation" and answer["unit"] == "bytes"
    code, answer = ask("predict", "m", "--arch", "3,3,3,3,3,3", "1,1,1,1,1,1")
    large, small = (row["value"] for row in answer["predictions"])
    assert code == 0 and large > 2 * small > 0
    code, answer = ask(
        "search", "--space", space, "--objective", "memory:m", "--objective", "macs", "--evaluations", "20", "-o", "s"
    )
    assert code == 0 and all(point["objectives"]["memory"]["unit"] == "bytes" for point in answer["front"])


def test_what_is_calibrated_on_is_asked_for_where_something_is_quantised(ask, tmp_path):
    (tmp_path / "m.onnx").write_bytes(convolution())
    (tmp_path / "empty").mkdir()
    profile = ("profile", "--model", tmp_path / "m.onnx", "--store", tmp_path / "a.db", "--budget", "2s")
    code, answer = ask(*profile, "local-onnxruntime", "--calibration", tmp_path / "empty")
    assert code == 2 and "nothing to calibrate" in answer["error"]["message"] and "int8" in answer["error"]["hint"]
    code, answer = ask(*profile, "local-onnxruntime-int8", "--calibration", tmp_path / "empty")
    assert code == 4 and "has no images" in answer["error"]["message"] and not (tmp_path / "a.db").exists()
    np.savez(tmp_path / "c.npz", x=np.random.default_rng(0).standard_normal((3, 1, 3, 8, 8)))
    code, answer = ask(*profile, "local-onnxruntime-int8", "--calibration", tmp_path / "c.npz")
    (row,) = answer["measurements"]
    assert code == 0 and row["deviation"]["sets"] == 3
    assert 0 < row["deviation"]["mean"] < 0.05 and 0 < row["deviation"]["largest"] < 0.05
