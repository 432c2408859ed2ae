"""What the simulated runtimes refuse: options that they do not have, and models that no runtime could run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from device_profiles.errors import HwnasError, InvalidData, InvalidModel, UsageError
from profiler import Budget, Store, measure, runtimes
from profiler.runtimes.protocol import RuntimeOptions

Make = Callable[..., Any]

BAD: dict[str, list[dict[str, Any]]] = {
    "fake": [
        {"slowdwon": 2.0},
        {"root": "/tmp"},
        {"seed": -1},
        {"seed": 0.5},
        {"seed": True},
        {"noise": -0.1},
        {"noise": float("nan")},
        {"noise": "much"},
        {"slow": 1.1},
        {"slow": -0.1},
        {"slowdown": 0},
        {"slowdown": -2.0},
        {"slowdown": float("nan")},
        {"slowdown": float("inf")},
        {"unsupported": 3},
    ],
    "torch": [{"spinning": 1}, {"compile": True}],
    "replay": [{"file": "x"}, {"recording": 3}, {"recording": ""}],
    "onnxruntime": [{"spining": 1}],
}


@pytest.mark.parametrize(("name", "options"), [(name, one) for name, many in BAD.items() for one in many], ids=str)
def test_an_option_that_a_runtime_does_not_have_is_refused(
    name: str, options: dict[str, Any], conv_net: Make, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(conv_net())
    runtime, chosen = runtimes.load(name), RuntimeOptions(options=options)
    for call in (runtime.load, runtime.fuse):
        with pytest.raises(UsageError, match=r"option|must be"):
            call(tmp_path / "m.onnx", chosen)


def test_nothing_is_measured_under_an_option_that_does_nothing(tmp_path: Path, fake: Make, subject: Make) -> None:
    with Store(tmp_path / "a.db") as store:
        with pytest.raises(UsageError, match="slowdwon"):
            measure([subject()], target=fake(slowdwon=2.0), store=store, budget=Budget(rounds=5))
        assert store.targets() == ()


# -- models


def write(folder: Path, nodes: list[Any], dims: tuple[Any, ...] = (1, 4), outputs: tuple[str, ...] = ("y",)) -> Path:
    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)

    graph = helper.make_graph(nodes, "g", [value("x")], [value(name) for name in outputs])
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def relu(name: str, reads: str, makes: str) -> Any:
    return helper.make_node("Relu", [reads], [makes], name=name)


def branch(reads: str) -> Any:
    body = helper.make_graph(
        [relu("inner", reads, "z")], "b", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 4))]
    )
    return helper.make_node("If", ["x"], ["y"], name="if", then_branch=body, else_branch=body)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([relu("a", "b1", "a1"), relu("b", "a1", "b1"), relu("c", "x", "y")], "circle"),
        ([relu("a", "y", "y")], "circle"),
        ([relu("a", "nothing", "y")], "nobody makes"),
        ([relu("a", "x", "y"), relu("b", "x", "y")], "made twice"),
        ([relu("a", "x", "x"), relu("b", "x", "y")], "made twice"),
        ([relu("a", "x", "z")], "nobody makes the output"),
        ([branch("nothing")], "nobody makes"),
        ([branch("y")], "circle"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_graph_that_no_runtime_could_run_is_refused(nodes: list[Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=words):
        runtimes.load("fake").load(write(tmp_path, nodes), RuntimeOptions())


@pytest.mark.parametrize("dims", [(1, -4), (2**40,), (2**20, 2**20), (2**62, 2**62)])
def test_a_size_that_no_machine_has_is_refused(dims: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="has the shape"):
        runtimes.load("fake").load(write(tmp_path, [relu("a", "x", "y")], dims), RuntimeOptions())


@pytest.mark.parametrize("nodes", [[relu("b", "z", "y"), relu("a", "x", "z")], [branch("x")]], ids=["unsorted", "if"])
def test_what_a_runtime_can_sort_is_taken(nodes: list[Any], tmp_path: Path) -> None:
    runtimes.load("fake").load(write(tmp_path, nodes, ("batch", 4)), RuntimeOptions()).run()


# -- recordings


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        *(
            json.dumps({"models": {"m": times}})
            for times in (None, [], "fast", 3, [0], [-1], ["1"], [True], [float("nan")], [float("inf")], [[1]])
        ),
        json.dumps({"models": {"m": [1]}, "sentinel": [0]}),
        json.dumps({"models": {"m": [1]}, "sentinel": "x"}),
        json.dumps({"models": [1]}),
    ],
    ids=lambda text: text[:40],
)
def test_a_recording_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(content)
    options = RuntimeOptions(options={"recording": str(tmp_path / "r.json")})
    with pytest.raises(InvalidData):
        runtimes.load("replay").load(tmp_path / "m.onnx", options)


def test_a_recording_that_never_ends_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", "/dev/zero", tmp_path, tmp_path / "nowhere"):
        with pytest.raises(HwnasError):
            runtimes.load("replay").load(tmp_path / "m.onnx", RuntimeOptions(options={"recording": str(place)}))
