"""What is to be measured: a model with a name, and where its ONNX comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from profiler.operators import Operator, OperatorGraph


@dataclass(frozen=True)
class Subject:
    """A model to measure.

    Attributes:
        id: digest of its captured graph: equal structures are one model, whatever their weights.
        name: for people.
        graph: what it asks for.
        onnx: makes the file's content, called once.
        space: spec of the space it comes from, or None.
        arch: its text form there, or None.
        kernel: the one kernel that it replays, or None for a network.
        copies: how often it does.
    """

    id: str
    name: str
    graph: OperatorGraph
    onnx: Callable[[], bytes]
    space: str | None = None
    arch: str | None = None
    kernel: Operator | None = None
    copies: int = 1


def from_file(path: Path) -> Subject:
    """A model from an ONNX file.

    Raises:
        InvalidModel: see `profiler.onnx_graph.read_graph`.
    """
    from profiler.onnx_check import embed
    from profiler.onnx_graph import read_graph

    graph = read_graph(path)
    return Subject(id=graph.digest, name=str(path), graph=graph, onnx=lambda: embed(path))


def from_bytes(onnx: bytes, *, name: str, space: str | None = None, arch: str | None = None) -> Subject:
    """A model from serialised ONNX, such as a stitched network."""
    from profiler.onnx_graph import read_graph

    graph = read_graph(onnx)
    return Subject(id=graph.digest, name=name, graph=graph, onnx=lambda: onnx, space=space, arch=arch)
