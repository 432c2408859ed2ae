"""A model's kernels: what the target's runtime makes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from device_profiles.errors import InvalidModel
from device_profiles.profile import Target, as_target
from profiler import compilers, runtimes, transports, trial
from profiler.drawing import draw
from profiler.free_dims import Wanted, fix
from profiler.onnx_graph import deciding, known_shapes, read_graph
from profiler.operators import OperatorGraph
from profiler.proofs import require_precision
from profiler.runtimes.protocol import RuntimeOptions

if TYPE_CHECKING:
    from profiler.model_files import ModelFile


#: How the JSON of an operator graph begins; no ONNX does.
_JSON = b"{"


def runtime_options(target: Target) -> RuntimeOptions:
    """The options that a runtime is given for a target."""
    chosen = target.runtime
    return RuntimeOptions(chosen.threads, chosen.precision, chosen.optimisation, dict(chosen.options))


def compile_for(
    target: Target,
    model: Path,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    calibration: Sequence[Mapping[str, NDArray[Any]]] = (),
) -> Path:
    """What travels to a target of an ONNX file: see `profiler.compilers.protocol.Compiler.compile`.

    Args:
        target: whose runtime runs it.
        model: the file.
        inputs: what it runs with; drawn if None.
        calibration: sets of inputs that quantisation is calibrated on; if there are none, what it runs with.
    """
    calibration = calibration or ([] if inputs is None else [inputs])
    return compilers.load(target.runtime.name).compile(model, runtime_options(target), calibration or None)


def fused_graph(
    model: str | Path,
    target: Target | str | Path,
    *,
    captured: OperatorGraph | None = None,
    inputs: Mapping[str, NDArray[Any]] | None = None,
    foreign: bool = False,
) -> OperatorGraph:
    """The fused kernels of a model, from the runtime's own optimiser.

    Shapes that neither the file nor a rule tells come from one run of the fused model; what not even that tells is
    `profiler.operators.UNKNOWN`.

    Args:
        model: what the target's compiler made of an ONNX file, or such a file where its runtime reads that.
        target: whose runtime is asked; its options matter.
        captured: the model's own graph, if it was read before.
        inputs: what it runs with; drawn if None.
        foreign: it is compiled in a process of its own.

    Raises:
        InvalidModel: the file cannot be read.
        UnsupportedOperator: the runtime lacks an operator.
    """
    import onnx

    model, target = Path(model), as_target(target)
    if not model.is_file():
        raise InvalidModel(f"there is no model file {model}", hint="Give the path of an .onnx file.")
    name, options = target.runtime.name, runtime_options(target)
    device = transports.elsewhere(target)
    if foreign or device is not None:
        patience_s = runtimes.REGISTRY.get(name).traits.patience_s
        fused = trial.fuse(model, name, options, patience_s=patience_s, device=device)
    else:
        fused = runtimes.load(name).fuse(model, options)
    if fused is None:
        graph = captured or read_graph(model)
        return OperatorGraph(graph.nodes, graph.inputs, graph.outputs, runtime=name)
    if fused.startswith(_JSON):
        return read_fused(fused, name)
    proto = onnx.ModelProto.FromString(fused)
    if inputs is not None:  # the file may have been compiled with free dimensions
        proto, _ = fix(proto, Wanted({key: array.shape for key, array in inputs.items()}), model.name)
    unknown: list[str] = []
    graph = read_graph(proto, runtime=name, unknown=unknown, values={} if foreign else None)
    further = _deciding(graph) if foreign else []
    if not unknown and not further:
        return graph
    drawn = inputs if inputs is not None else draw(proto, known_shapes(proto), {})
    found = trial.run_once(proto.SerializeToString(), [drawn], [*unknown, *further])
    values = found.values if foreign else None
    return read_graph(proto, runtime=name, shapes=found.tensors, unknown=[], values=values)


def read_fused(content: bytes, runtime: str) -> OperatorGraph:
    """What `Runtime.fuse` gave, or the operators of an ONNX model."""
    return (
        OperatorGraph.from_json(content.decode()) if content.startswith(_JSON) else read_graph(content, runtime=runtime)
    )


def compiled(file: ModelFile, target: Target) -> OperatorGraph:
    """The fused kernels of a file that was made ready.

    Raises:
        InvalidModel: the target's compiler or its runtime refuses it, or runs it in another precision.
    """
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a file in memory, in a folder of its own
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / file.name
        path.write_bytes(file.content)
        travels = compile_for(target, path, file.inputs)
        graph = fused_graph(travels, target, captured=file.graph, inputs=file.inputs)
        require_precision(graph, target.runtime.precision, file.graph, file.name)
        return graph


def _deciding(graph: OperatorGraph) -> list[str]:
    """Values computed inside that decide what their readers do, such as the shape of a `Reshape`."""
    return list(
        dict.fromkeys(
            name
            for node in graph.nodes
            for name, tensor in zip(node.inputs, node.operator.inputs, strict=True)
            if tensor is not None and not tensor.constant and tensor.dtype != "float32" and deciding(tensor)
        )
        - dict(graph.inputs).keys()
    )


def as_it_is(target: Target) -> Target:
    """The target without optimisation of the graph: what is given are fused kernels already."""
    return target.model_copy(update={"runtime": target.runtime.model_copy(update={"optimisation": "none"})})
