"""A model's kernels: what the target's runtime makes of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from device_profiles.errors import ConstantNetwork, InvalidModel
from device_profiles.profile import Target
from profiler import onnx_check, runtimes
from profiler.onnx_graph import read_graph
from profiler.operators import OperatorGraph
from profiler.runtimes.protocol import RuntimeOptions


def runtime_options(target: Target) -> RuntimeOptions:
    """The options that a runtime is given for a target."""
    chosen = target.runtime
    return RuntimeOptions(chosen.threads, chosen.precision, chosen.optimisation, dict(chosen.options))


def fused_graph(model: Path, target: Target, *, captured: OperatorGraph | None = None) -> OperatorGraph:
    """The fused kernels of a model, from the runtime's own optimiser.

    Args:
        model: an ONNX file.
        target: whose runtime is asked; its options matter.
        captured: the model's own graph, if it was read before.

    Raises:
        InvalidModel: the file cannot be read.
        UnsupportedOperator: the runtime lacks an operator.
    """
    if not model.is_file():
        raise InvalidModel(f"there is no model file {model}", hint="Give the path of an .onnx file.")
    runtime, options = runtimes.load(target.runtime.name), runtime_options(target)
    fused = runtime.fuse(model, options)
    if fused is None:
        graph = captured or read_graph(model)
        return OperatorGraph(graph.nodes, graph.inputs, graph.outputs, runtime=target.runtime.name)
    try:
        return read_graph(fused, runtime=target.runtime.name)
    except ConstantNetwork:
        raise
    except InvalidModel:
        # A runtime keeps the shapes that the file has; where it has none they cannot be inferred among fused kernels.
        with tempfile.TemporaryDirectory() as folder:
            fused = runtime.fuse(_with_shapes(model, Path(folder)), options)
        assert fused is not None
        return read_graph(fused, runtime=target.runtime.name)


def as_it_is(target: Target) -> Target:
    """The target without optimisation of the graph: what is given are fused kernels already."""
    return target.model_copy(update={"runtime": target.runtime.model_copy(update={"optimisation": "none"})})


def _with_shapes(model: Path, folder: Path) -> Path:
    """A copy of the model that holds the shapes of all its values, as far as ONNX can infer them."""
    import onnx

    path = folder / model.name
    whole = onnx.load_from_string(onnx_check.embed(model))
    onnx.save(onnx_check.infer_shapes(whole) or whole, path)
    return path
