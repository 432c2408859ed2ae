"""PyTorch on the CPU, eager: the nodes of an ONNX file run one by one as torch functions, and nothing is fused.

What does not depend on the input is computed at load, and nodes that no output needs are left out: what runs are the
nodes that `profiler.onnx_graph.read_graph` lists, in their order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator, UsageError
from profiler.runtimes._host import OnHost, undisturbed
from profiler.runtimes.protocol import (
    KernelTime,
    Profile,
    RuntimeOptions,
    Session,
    Traits,
    require_level,
    require_options,
    require_precision,
)

#: Levels of optimisation, all alike: eager mode optimises nothing.
LEVELS = ("all", "basic", "none")
#: Older operator sets broadcast by attributes; of them, operators that did not change since are read.
OLDEST_OPSET = 7
#: Inferences before a profile.
WARM_RUNS = 3


class TorchSession:
    """A model as a list of calls on named tensors, and its inputs."""

    def __init__(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> None:
        import torch

        _require_options(options)
        from profiler.runtimes._torch.tensors import to_array

        torch.set_num_threads(options.threads)
        self._inference_mode, self._to_array = torch.inference_mode, to_array
        with torch.inference_mode():
            compiled, _ = program(model, inputs)
        self._values, self._output_names = compiled.values, list(compiled.outputs)
        self._steps, self._nodes = list(compiled.steps), list(compiled.nodes)

    def run(self) -> None:
        """One inference."""
        with self._inference_mode():
            for step in self._steps:
                step()

    @property
    def call(self) -> Callable[[], object]:
        """The same."""
        return self.run

    def outputs(self) -> list[Any]:
        """The outputs of one inference."""
        self.run()
        return [self._to_array(self._values[name]) for name in self._output_names]

    def profile(self, runs: int) -> Profile | None:
        """Time from node to node, what it frees included, by the clock of the host."""
        marks = np.zeros((runs, len(self._steps) + 1), dtype=np.int64)
        clock = time.perf_counter_ns
        for _ in range(WARM_RUNS):
            self.run()
        with self._inference_mode():
            for row in range(runs):
                times = [clock()]
                for step in self._steps:
                    step()
                    times.append(clock())
                marks[row] = times
        means_ns = undisturbed(np.diff(marks, axis=1))
        kernels = (
            KernelTime(name, op_type, float(mean_ns), runs)
            for (name, op_type), mean_ns in zip(self._nodes, means_ns, strict=True)
        )
        return Profile(tuple(kernels), None, float(undisturbed(marks[:, -1] - marks[:, 0])))

    def close(self) -> None:
        """Drop weights, inputs and outputs."""
        self._steps.clear()
        self._values.clear()


class TorchRuntime(OnHost):
    """PyTorch's eager mode on the CPU."""

    traits: ClassVar[Traits] = Traits(packages=("torch", "onnx"), times="the host's clock between nodes")

    def __init__(self) -> None:
        try:
            import onnx  # noqa: F401 - reads the models
            import torch
        except ImportError as error:
            raise DeviceError(f"the package {error.name} is not installed", hint=f"pip install {error.name}") from error
        self._version = f"torch {torch.__version__.split('+')[0]}"

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> Session:
        """Translate a model; eager mode optimises nothing, so the levels of optimisation are alike.

        A module of the user's (`.pt2`, with its factory) runs as it is.

        Args:
            model: the file.
            options: how to run it.
            inputs: arrays by name, used as they are; what is not among them is drawn.
        """
        if model.suffix == ".pt2":
            from profiler.runtimes._torch.module import ModuleSession

            _require_options(options)
            return ModuleSession(model, options.threads, inputs)
        return TorchSession(model, options, inputs)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """Nodes stay as they are."""
        _require_options(options)
        return None


RUNTIME = TorchRuntime


def program(model: Path, inputs: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    """A file as calls of torch functions (`profiler.runtimes._torch.compiling.Program`), and its inputs by name.

    Raises:
        InvalidModel: the file cannot be read.
        UnsupportedOperator: torch lacks an operator.
    """
    from profiler.runtimes._torch.compiling import Compiler

    proto = _read(model)
    graph, opset = _graph(model, proto)
    feed = _feed(model, proto, graph.inputs, inputs)
    return Compiler(model.name, opset, _accepted(opset)).compile(graph, feed), feed


def _require_options(options: RuntimeOptions) -> None:
    require_options("torch", options.options, {})
    require_precision("torch", TorchRuntime.traits, options.precision)
    require_level("torch", LEVELS, options.optimisation)


def _read(model: Path) -> Any:
    """The parsed file, with weights that lie beside it and its own functions written out."""
    import onnx
    from google.protobuf.message import DecodeError

    if not model.is_file():
        raise InvalidModel(f"there is no model file {model}", hint="Give the path of an .onnx file.")
    try:
        proto = onnx.load(model, format="protobuf")
    except DecodeError as error:
        raise InvalidModel(f"{model.name} is not an ONNX model: {error}", hint="Export it again.") from error
    except (onnx.checker.ValidationError, OSError, ValueError, TypeError) as error:
        raise InvalidModel(
            f"the weights of {model.name} cannot be read: {error}", hint="Put the data file beside the model."
        ) from error
    if not proto.graph.node and not proto.graph.output:
        raise InvalidModel(f"{model.name} holds no graph: it is empty or not ONNX", hint="Export it again.")
    if proto.functions:
        from onnx import inliner

        try:
            proto = inliner.inline_local_functions(proto)
        except (RuntimeError, ValueError, TypeError, DecodeError) as error:
            raise InvalidModel(
                f"the functions of {model.name} cannot be written out: {error}",
                hint="Check the file with onnx.checker.check_model, and export it again.",
            ) from error
    return proto


def _graph(model: Path, proto: Any) -> tuple[Any, int]:
    """The graph of a file and its operator set, refused by name where torch lacks an operator or a type."""
    from profiler.runtimes._torch import control, definitions, graph
    from profiler.runtimes._torch.operators import BUILDERS

    hint = "Export without these operators, or measure with the runtime onnxruntime."
    opset = max((entry.version for entry in proto.opset_import if entry.domain in graph.OWN_DOMAINS), default=1)
    known: set[str] = {*BUILDERS, *control.BUILDERS}
    of_set = ""
    if opset < OLDEST_OPSET:
        own = known & graph.kinds(proto.graph)
        changed = {kind for kind in own if definitions.changed_since(kind, opset, OLDEST_OPSET)}
        known -= changed
        of_set = f", as the operator set {opset} defines it (at least {OLDEST_OPSET} is read)" if changed else ""
    try:
        return graph.read(proto.graph, known), int(opset)
    except graph.UnknownOperators as error:
        raise UnsupportedOperator(f"the runtime torch cannot run {error} of {model.name}{of_set}", hint=hint) from error
    except NotImplementedError as error:
        raise UnsupportedOperator(f"the runtime torch cannot run a node of {model.name}: {error}", hint=hint) from error
    except (ValueError, TypeError) as error:
        raise InvalidModel(
            f"{model.name} has a damaged weight or attribute: {error}",
            hint="Check the file with onnx.checker.check_model, and export it again.",
        ) from error


def _feed(model: Path, proto: Any, names: Collection[str], inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Tensors for the inputs: those that are given, and seeded values for the others.

    Args:
        model: the file.
        proto: its content.
        names: inputs of the graph; an input that has a weight of its name is none.
        inputs: arrays by name, which may fill dimensions that the file leaves open.
    """
    from profiler.runtimes._torch import graph, tensors

    rng = np.random.default_rng(0)
    values = [value for value in proto.graph.input if value.name in names]
    given = dict(inputs or {})
    unknown = sorted(given.keys() - {value.name for value in values})
    if unknown:
        raise UsageError(
            f"{model.name} has no input {unknown[0]!r}",
            hint=f"Its inputs: {', '.join(value.name for value in values) or 'none'}.",
        )
    feed, outputs = {}, {value.name for value in proto.graph.output}
    for value in values:
        tensor_type = value.type.tensor_type
        reader = graph.reader(proto.graph, value.name)
        if tensor_type.elem_type not in tensors.DTYPES:
            if not reader and value.name not in outputs:
                continue  # nobody needs it
            what = value.type.WhichOneof("value") or "nothing"
            kind = tensors.type_name(tensor_type.elem_type) if what == "tensor_type" else what.removesuffix("_type")
            raise UnsupportedOperator(
                f"the runtime torch cannot run {reader or 'the graph'} of {model.name}: "
                f"{value.name!r} is of the type {kind}",
                hint="Export the model in fp32, from where its inputs are numbers.",
            )
        if value.name in given:
            feed[value.name] = tensors.from_array(_given(model, value, given[value.name]))
        elif _is_fixed(tensor_type):
            feed[value.name] = tensors.from_array(_drawn(tensor_type, rng))
        elif reader or value.name in outputs:
            shown = [dim.dim_value or dim.dim_param or "?" for dim in tensor_type.shape.dim]
            raise InvalidModel(
                f"{model.name}: input {value.name!r} has the shape {shown}; every dimension must be a number",
                hint="Export the model with fixed shapes, or give the inputs.",
            )
    return feed


def _is_fixed(tensor_type: Any) -> bool:
    return tensor_type.HasField("shape") and all(dim.dim_value >= 1 for dim in tensor_type.shape.dim)


def _drawn(tensor_type: Any, rng: np.random.Generator) -> Any:
    """Normal floats, or 0 and 1, of the shape that the file has."""
    import onnx

    shape = [int(dim.dim_value) for dim in tensor_type.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
    floating = np.issubdtype(dtype, np.floating) or tensor_type.elem_type == onnx.TensorProto.BFLOAT16
    drawn = rng.standard_normal(shape) if floating else rng.integers(0, 2, shape)
    return np.asarray(drawn, dtype=dtype)


def _given(model: Path, value: Any, array: Any) -> Any:
    """An input of the user's, of the type and the fixed dimensions that the file has."""
    import onnx

    tensor_type = value.type.tensor_type
    array, dtype = np.asarray(array), onnx.helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor_type.shape.dim]
    fits = len(dims) == array.ndim and all(dim in (None, have) for dim, have in zip(dims, array.shape, strict=False))
    if array.dtype != dtype or (tensor_type.HasField("shape") and not fits):
        shown = "x".join(str(dim or "?") for dim in dims)
        raise UsageError(
            f"{model.name}: input {value.name!r} is {dtype} {shown}, got {array.dtype} "
            f"{'x'.join(map(str, array.shape))}",
            hint="Give an array of that type and shape.",
        )
    return array


def _accepted(opset: int) -> Callable[[Any, Sequence[Any]], bool]:
    """Whether ONNX finds nothing wrong with a node on these tensors: what fails then is torch's own limit."""

    def check(node: Any, inputs: Sequence[Any]) -> bool:
        import onnx
        from onnx import helper

        from profiler.runtimes._torch.tensors import DTYPES

        codes = {dtype: code for code, dtype in DTYPES.items()}
        values = {
            name: helper.make_tensor_value_info(name, codes[tensor.dtype], list(tensor.shape))
            for name, tensor in zip(node.message.input, inputs, strict=True)
            if tensor is not None
        }
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.message.output if name]
        graph = helper.make_graph([node.message], "node", list(values.values()), outputs)
        try:
            onnx.shape_inference.infer_shapes(
                helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]),
                check_type=True,
                strict_mode=True,
                data_prop=True,
            )
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError):
            return False
        return True

    return check
