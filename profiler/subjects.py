"""What is to be measured: a model with a name, and where its ONNX comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from device_profiles.errors import UsageError
from profiler.operators import Operator, OperatorGraph

if TYPE_CHECKING:
    from profiler.model_files import Asked


@dataclass(frozen=True)
class Subject:
    """A model to measure.

    Attributes:
        id: digest of its captured graph, and of what else tells its speed from that of others of equal structure
            (`profiler.model_files`): equal ids are one model.
        name: for people.
        graph: what it asks for.
        onnx: makes the file's content, called once; in the format of `suffix`.
        space: spec of the space it comes from, or None.
        arch: its text form there, or None.
        kernel: the one kernel that it replays, or None for a network.
        copies: how often it does.
        suffix: `.onnx`, or the format of the target's runtime, of a kernel that is compiled already.
        inputs: what it is run with, by name, or None for what a runtime draws.
        calibration: sets of inputs that quantisation is calibrated on (`profiler.calibration`); if there are none, its
            inputs, or seeded ones.
        foreign: made by somebody else: it is compiled in a process of its own, since that can end the process.
        notes: what was assumed of it, for people.
    """

    id: str
    name: str
    graph: OperatorGraph
    onnx: Callable[[], bytes]
    space: str | None = None
    arch: str | None = None
    kernel: Operator | None = None
    copies: int = 1
    suffix: str = ".onnx"
    inputs: Mapping[str, NDArray[Any]] | None = None
    calibration: Sequence[Mapping[str, NDArray[Any]]] = ()
    foreign: bool = False
    notes: tuple[str, ...] = ()


def batch_of(graph: OperatorGraph) -> int | None:
    """Inputs in one inference of a network: the leading dimension of its inputs, or None where these differ."""
    leading = {tensor.shape[0] for _, tensor in graph.inputs if tensor.shape}
    return leading.pop() if len(leading) == 1 else None


def require_subjects(subjects: Sequence[Any]) -> None:
    """Refuse what is no subject, with how to make one of it.

    Raises:
        UsageError: something is not.
    """
    if isinstance(subjects, Subject) or not isinstance(subjects, Sequence):
        raise UsageError(
            f"what is measured is a list of subjects, got {type(subjects).__name__}", hint="measure([subject], ...)"
        )
    for one in subjects:
        if isinstance(one, Subject):
            continue
        if isinstance(one, str | Path):
            hint = f"profiler.subjects.from_file({str(one)!r}) makes one of an ONNX file."
        elif hasattr(one, "state_dict"):
            hint = (
                "Export the module: torch.onnx.export(module, (example,), 'model.onnx'), then "
                "profiler.subjects.from_file('model.onnx')."
            )
        else:
            hint = "profiler.subjects.from_file(path) and nas.spaces.export.subject(space, arch) make subjects."
        raise UsageError(f"{type(one).__name__} is no subject", hint=hint)


def from_file(path: str | Path, asked: Asked | None = None) -> Subject:
    """A model from an ONNX file.

    Args:
        path: of the file.
        asked: shapes for its free dimensions, and inputs of one's own.

    Raises:
        InvalidModel: see `profiler.model_files.prepare`.
    """
    from profiler.model_files import prepare

    ready = prepare(Path(path), asked)
    return Subject(
        id=hashlib.sha256(f"{ready.graph.digest} {ready.kept}".encode()).hexdigest()
        if ready.kept
        else ready.graph.digest,
        name=str(path),
        graph=ready.graph,
        onnx=lambda: ready.content,
        inputs=ready.inputs,
        foreign=True,
        notes=ready.notes,
    )


def from_bytes(onnx: bytes, *, name: str, space: str | None = None, arch: str | None = None) -> Subject:
    """A model from serialised ONNX, such as a stitched network."""
    from profiler.onnx_graph import read_graph

    graph = read_graph(onnx)
    return Subject(id=graph.digest, name=name, graph=graph, onnx=lambda: onnx, space=space, arch=arch)
