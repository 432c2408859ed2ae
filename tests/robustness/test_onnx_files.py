"""ONNX files as a fuzzer makes them: each is measured or refused by name, and costs nothing but itself."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from device_profiles.errors import InvalidModel
from profiler.onnx_check import infer_shapes, parse
from profiler.onnx_graph import read_graph

#: Files of the work that this is part of, where they lie beside the repository.
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
#: Seconds that reading one file may take, on a busy machine.
LONGEST_S = 10.0
SHORT, LONG = 40, 150
#: Files that are read only, which takes a millisecond or two.
READ_SHORT, READ_LONG = 600, 20_000

NUMBERS = (0, 1, -1, 2, 7, 99, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, -(2**63), 2**63 - 1)
TEXTS = ("", "x", "y", "w", "ghost", "../secret", "\x1b[31m<script>", "=1+1", "a\0b", "n" * 70_000, "ai.onnx", "Loop",
         "If", "Einsum", "loc", "....->", "\u202e")  # fmt: skip


def value(name: str, shape: Any = (1, 4), kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def small_models() -> list[bytes]:
    """Models of few nodes that have all parts of the format: branches, functions, sparse and constant tensors."""
    rng = np.random.default_rng(0)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("loc", 1)]
    kernel = numpy_helper.from_array(rng.standard_normal((4, 3, 3, 3)).astype(np.float32), "w")
    shape = numpy_helper.from_array(np.array([1, -1]), "s")
    network = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], name="conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Reshape", ["b", "s"], ["y"]),
        ],
        "network", [value("x", (1, 3, 8, 8))], [value("y", (1, 64))], [kernel, shape],
    )  # fmt: skip
    branches = {
        name: helper.make_graph([helper.make_node(op, ["x"], [name])], name, [], [value(name)])
        for name, op in (("then_branch", "Relu"), ("else_branch", "Sigmoid"))
    }
    constant = numpy_helper.from_array(rng.standard_normal(4).astype(np.float32))
    control = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
            helper.make_node("Greater", ["sum", "zero"], ["c"]),
            helper.make_node("If", ["c"], ["a"], **branches),
            helper.make_node("Constant", [], ["k"], value=constant),
            helper.make_node("f", ["a", "k"], ["b"], domain="loc", axis=1),
            helper.make_node("Add", ["b", "sp"], ["y"]),
        ],
        "control", [value("x")], [value("y")], [numpy_helper.from_array(np.float32(0), "zero")],
        sparse_initializer=[helper.make_sparse_tensor(
            numpy_helper.from_array(np.ones(2, np.float32), "sp"), numpy_helper.from_array(np.array([0, 3]), ""), [4],
        )],
    )  # fmt: skip
    scaled = helper.make_node("Softmax", ["t"], ["q"])
    scaled.attribute.add(name="axis", ref_attr_name="axis", type=2)
    function = helper.make_function("loc", "f", ["p", "k"], ["q"],
                                    [helper.make_node("Mul", ["p", "k"], ["t"]), scaled], opsets, ["axis"])  # fmt: skip
    models = [
        helper.make_model(network, opset_imports=opsets, ir_version=10),
        helper.make_model(control, opset_imports=opsets, ir_version=10, functions=[function]),
    ]
    cases = [path.read_bytes() for path in sorted(CASES.glob("*.onnx")) if path.stat().st_size < 50_000]
    return [*(model.SerializeToString() for model in models), *cases]


def unlike_the_others() -> bytes:
    """A sound model that no change of the others comes to."""
    graph = helper.make_graph(
        [helper.make_node("Softplus", ["x"], ["y"])], "g", [value("x", (3, 41))], [value("y", (3, 41))]
    )
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    ).SerializeToString()
    return made


def messages(message: Any) -> Iterator[Any]:
    """A message and all those inside of it."""
    yield message
    for field, content in message.ListFields():
        if field.message_type is not None:
            for inner in content if field.is_repeated else [content]:
                yield from messages(inner)


def mutate(message: Any, rng: random.Random, others: list[Any]) -> None:
    """Change one field of a message: take it away, double it, or put another value into it."""
    field = rng.choice(message.DESCRIPTOR.fields)
    if rng.random() < 0.25:
        message.ClearField(field.name)
        return
    if field.message_type is not None:
        same = [other for other in others if other.DESCRIPTOR is field.message_type]
        if not same:
            return
        chosen = type(same[0]).FromString(rng.choice(same).SerializeToString())
        if field.is_repeated:
            getattr(message, field.name).append(chosen)
        else:
            getattr(message, field.name).CopyFrom(chosen)
        return
    made: Any
    if field.enum_type is not None:
        made = rng.choice([known.number for known in field.enum_type.values])
    elif field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT64):
        made = rng.choice((0, 1, 2, 3, 5, 7, 8, 9, 10, 16, 22))
    elif field.cpp_type == field.CPPTYPE_INT64:
        made = rng.choice(NUMBERS)
    elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        made = rng.choice((0.0, -1.0, float("nan"), float("inf"), 1e30))
    elif field.type == field.TYPE_BYTES:
        made = rng.choice((b"", b"\0" * 3, b"\xff" * 64, rng.randbytes(16), b"....->ij"))
    else:
        made = rng.choice(TEXTS)
    if not field.is_repeated:
        setattr(message, field.name, made)
        return
    values = getattr(message, field.name)
    if len(values) and rng.random() < 0.7:
        values[rng.randrange(len(values))] = made
    else:
        values.append(made)


def hostile(number: int, models: list[bytes]) -> bytes:
    """The file of this number: a model with a few fields changed, bits flipped, or its end cut off."""
    rng = random.Random(number)
    content = rng.choice(models)
    way = rng.random()
    if way < 0.1:
        return content[: rng.randrange(len(content))]
    if way < 0.25:
        flipped = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    proto = onnx.ModelProto.FromString(content)
    for _ in range(rng.randint(1, 3)):
        parts = list(messages(proto))
        mutate(rng.choice(parts), rng, parts)
    made: bytes = proto.SerializeToString()
    return made


def check_reading(numbers: range) -> int:
    """Read files of these numbers; returns how many were refused."""
    models, refused = small_models(), 0
    for number in numbers:
        content = hostile(number, models)
        before = time.perf_counter()
        try:
            infer_shapes(parse(content))
            read_graph(content)
        except InvalidModel as error:
            refused += 1
            assert error.message and len(error.message) < 2000, number
        assert time.perf_counter() - before < LONGEST_S, number
    return refused


def check_campaign(numbers: range, target: str, folder: Path) -> tuple[int, int]:
    """Measure a good model among files of these numbers, through the command; returns how many were, and were not."""
    models = small_models()
    good = folder / "good.onnx"
    good.write_bytes(unlike_the_others())
    paths = [folder / f"{number}.onnx" for number in numbers]
    for number, path in zip(numbers, paths, strict=True):
        path.write_bytes(hostile(number, models))
    middle = len(paths) // 2
    chosen = [word for path in [*paths[:middle], good, *paths[middle:]] for word in ("--model", str(path))]
    arguments = ["profile", target, *chosen, "--store", str(folder / "a.db"), "--budget", "3s", "--spread", "90%"]
    ended = subprocess.run(
        [sys.executable, "-m", "hwnas", *arguments, "--json"], capture_output=True, text=True, timeout=900, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "Traceback" not in ended.stderr, ended.stderr[-3000:]
    answer = json.loads(ended.stdout)
    measured = {row.get("model") for row in answer["measurements"]}
    failed = {row.get("model"): row["reason"] for row in answer["failed"]}
    assert str(good) in measured
    for path in paths:
        name = str(path)
        assert not (name in measured and name in failed)
        assert name in measured or failed.get(name) or read_graph(path), name
    return len(measured), len(failed)


def test_files_are_read_or_refused() -> None:
    refused = check_reading(range(READ_SHORT))
    assert READ_SHORT / 4 < refused < READ_SHORT  # both happen, or nothing is tried


def test_each_file_costs_itself_alone(tmp_path: Path) -> None:
    _, failed = check_campaign(range(SHORT), "fake", tmp_path)
    assert failed


@pytest.mark.slow
def test_many_files_are_read_or_refused() -> None:
    check_reading(range(READ_LONG))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 1000 + LONG, 25))
def test_each_of_many_files_costs_itself_alone(first: int, tmp_path: Path) -> None:
    check_campaign(range(first, first + 25), "local-onnxruntime", tmp_path)
