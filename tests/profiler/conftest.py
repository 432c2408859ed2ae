"""Models that the tests of measuring share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from device_profiles.profile import Access, Target, load
from profiler import transports
from profiler.subjects import Subject, from_bytes
from profiler.transports.local import LocalTransport

settings.register_profile("steady", deadline=None)  # a loaded machine fails no property
settings.load_profile("steady")

Shapes = dict[str, tuple[int, ...]]


def build_model(nodes: Sequence[Any], inputs: Shapes, outputs: Shapes, weights: Shapes, *, known: Shapes) -> Any:
    """An ONNX model of fp32 values with random weights."""
    from onnx import TensorProto, helper, numpy_helper

    def values(shapes: Shapes) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    rng = np.random.default_rng(0)
    initializers = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in weights.items()
    ]
    graph = helper.make_graph(list(nodes), "g", values(inputs), values(outputs), initializers, value_info=values(known))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("test", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.fixture
def onnx_model() -> Callable[..., Any]:
    """Makes a model: `onnx_model(nodes, inputs, outputs, weights, known=...)`, shapes by name."""

    def make(nodes: Sequence[Any], inputs: Shapes, outputs: Shapes, weights: Shapes | None = None, **more: Any) -> Any:
        return build_model(nodes, inputs, outputs, weights or {}, known=more.get("known", {}))

    return make


@pytest.fixture
def conv_net() -> Callable[..., bytes]:
    """Makes a network of a 3x3 convolution and one more operator: `conv_net(channels=4, op="Relu")`."""

    def make(channels: int = 4, op: str = "Relu") -> bytes:
        from onnx import helper

        nodes = [
            helper.make_node("Conv", ["x", "w"], ["a"], name="conv", kernel_shape=[3, 3]),
            helper.make_node(op, ["a"], ["y"], name="last"),
        ]
        shapes = {"x": (1, 3, 8, 8)}, {"y": (1, channels, 6, 6)}, {"w": (channels, 3, 3, 3)}
        content: bytes = build_model(nodes, *shapes, known={}).SerializeToString()
        return content

    return make


@pytest.fixture
def subject(conv_net: Callable[..., bytes]) -> Callable[..., Subject]:
    """Makes a subject of `conv_net`."""

    def make(channels: int = 4, op: str = "Relu", name: str = "") -> Subject:
        return from_bytes(conv_net(channels, op), name=name or f"{op} {channels}")

    return make


@pytest.fixture
def fake() -> Callable[..., Target]:
    """The target `fake` with other options: `fake(slow=0.5)`."""

    def make(**options: Any) -> Target:
        target = load("fake")
        runtime = target.runtime.model_copy(update={"options": {**target.runtime.options, **options}})
        return target.model_copy(update={"runtime": runtime})

    return make


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Callable[[Target, Path], Target]:
    """The target, reached by an agent that is imported from another folder: `reached(target, root)`.

    No profile can say so: only who runs the program registers a transport.
    """

    def make(target: Target, root: Path) -> Target:
        class Elsewhere:
            options, retries = (), 0

            def __init__(self, address: str, options: Any) -> None:
                made = LocalTransport(address, options, root=root)
                self.run, self.facts, self.check = made.run, made.facts, made.check
                self.held, self.drop = made.held, made.drop

        transports.REGISTRY.register("elsewhere", Elsewhere)
        return target.model_copy(update={"access": Access(transport="elsewhere")})

    monkeypatch.setattr(transports.REGISTRY, "_registered", {})
    return make


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder with an agent of the given source in the place of the toolkit's."""

    def make(source: str) -> Path:
        root = tmp_path / "stand-in"
        agent = root / "profiler" / "agent"
        agent.mkdir(parents=True)
        (root / "profiler" / "__init__.py").write_text("")
        (agent / "__init__.py").write_text("")
        (agent / "__main__.py").write_text(source)
        return root

    return make
