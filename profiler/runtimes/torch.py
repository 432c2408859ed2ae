"""PyTorch on the CPU, eager: the nodes of an ONNX file run one by one as torch functions, and nothing is fused.

What does not depend on the input is computed at load, and nodes that no output needs are left out: what runs are the
nodes that `profiler.onnx_graph.read_graph` lists, in their order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator, UsageError
from profiler.runtimes.protocol import KernelTime, Profile, RuntimeOptions, require_options

#: Levels of optimisation, all alike: eager mode optimises nothing.
LEVELS = ("all", "basic", "none")
#: Older operator sets broadcast by attributes.
OLDEST_OPSET = 7
#: Inferences before a profile.
WARM_RUNS = 3
_RUNS_KEPT = 0.8


class TorchSession:
    """A model as a list of calls on named tensors, and its inputs."""

    def __init__(self, model: Path, options: RuntimeOptions) -> None:
        import torch

        _require_options(options)
        torch.set_num_threads(options.threads)
        proto = _read(model)
        self._inference_mode = torch.inference_mode
        self._output_names = [value.name for value in proto.graph.output]
        self._values: dict[str, Any] = {"": None}
        self._steps: list[Callable[[], None]] = []
        self._nodes: list[tuple[str, str]] = []
        with torch.inference_mode():
            self._compile(model, proto)

    def run(self) -> None:
        """One inference."""
        with self._inference_mode():
            for step in self._steps:
                step()

    def outputs(self) -> list[Any]:
        """The outputs of one inference."""
        self.run()
        return [self._values[name].numpy().copy() for name in self._output_names]

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
        # Without the slowest fifth of each node: interruptions only ever add time.
        kept = max(1, int(np.ceil(runs * _RUNS_KEPT)))
        means_ns = np.sort(np.diff(marks, axis=1), axis=0)[:kept].mean(axis=0)
        kernels = (
            KernelTime(name, op_type, float(mean_ns), runs)
            for (name, op_type), mean_ns in zip(self._nodes, means_ns, strict=True)
        )
        return Profile(tuple(kernels), None)

    def close(self) -> None:
        """Drop weights, inputs and outputs."""
        self._steps.clear()
        self._values.clear()

    def _compile(self, model: Path, proto: Any) -> None:
        """Fill `_values` and `_steps`: walk the nodes once, each built against the tensors that it reads."""
        from profiler.runtimes._torch_operators import BUILDERS, SEVERAL_OUTPUTS, Node

        values, opset = self._values, _opset(model, proto)
        values |= _weights(model, proto)
        constants, computed, kept = set(values), set[str](), {"", *self._output_names}
        values |= _feed(model, proto)
        for node, drops in _needed_nodes(proto.graph):
            reads = tuple(node.input)
            writes = tuple(node.output) if node.op_type in SEVERAL_OUTPUTS else tuple(node.output[:1])
            folded = all(name in constants for name in reads)
            (constants if folded else computed).update(writes)
            try:
                _check_wires(node, len(writes), drops, values)
                inputs = tuple(values[name] for name in reads)
                constant = tuple(name in constants for name in reads)
                call = BUILDERS[node.op_type](
                    Node(node.op_type, _attributes(node), inputs, constant, len(node.output), opset)
                )
                step = _step(call, reads, writes, tuple(name for name in drops if name in computed), values)
                step()
            except NotImplementedError as error:
                raise UnsupportedOperator(
                    f"the runtime torch cannot run {node.op_type} of {model.name} (node {node.name!r}): {error}",
                    hint="Change the operator's attributes, or measure with the runtime onnxruntime.",
                ) from error
            except (RuntimeError, ValueError, TypeError, LookupError) as error:
                raise InvalidModel(
                    f"{model.name}: node {node.name!r} ({node.op_type}) does not run: {error}",
                    hint="Check the file with onnx.checker.check_model, and export it again.",
                ) from error
            if not folded:
                kept.update(reads)
                self._steps.append(step)
                self._nodes.append((node.name or writes[0], node.op_type))
        for name in constants - kept:
            del values[name]
        absent = [name for name in self._output_names if name not in values]
        if absent:
            raise InvalidModel(f"{model.name}: nothing writes the output {absent[0]!r}", hint="Export it again.")


class TorchRuntime:
    """PyTorch's eager mode on the CPU."""

    def __init__(self) -> None:
        try:
            import onnx  # noqa: F401 - reads the models
            import torch
        except ImportError as error:
            raise DeviceError(f"the package {error.name} is not installed", hint=f"pip install {error.name}") from error
        self._version = f"torch {torch.__version__.split('+')[0]}"

    @property
    def version(self) -> str:
        """`torch X.Y.Z`."""
        return self._version

    @property
    def clock(self) -> Callable[[], int]:
        """The host's clock."""
        return time.perf_counter_ns

    def sentinels(self) -> Mapping[str, Callable[[], None]] | None:
        """The agent's own."""
        return None

    def load(self, model: Path, options: RuntimeOptions) -> TorchSession:
        """Translate a model; eager mode optimises nothing, so the levels of optimisation are alike."""
        return TorchSession(model, options)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """Nodes stay as they are."""
        _require_options(options)
        return None

    def kernel_model(self, operator: list[Any], copies: int) -> bytes | None:
        """Kernels are not replayed."""
        return None


RUNTIME = TorchRuntime


def _require_options(options: RuntimeOptions) -> None:
    require_options("torch", options.options, {})
    if options.precision != "fp32":
        raise UsageError(
            f"the runtime torch runs fp32 alone, got the precision {options.precision!r}",
            hint='Set precision = "fp32" in the target\'s runtime.',
        )
    if options.optimisation not in LEVELS:
        raise UsageError(
            f"the runtime torch has no optimisation level {options.optimisation!r}",
            hint=f"One of: {', '.join(LEVELS)}.",
        )


def _read(model: Path) -> Any:
    """The parsed file, with weights that lie beside it."""
    import onnx
    from google.protobuf.message import DecodeError

    if not model.is_file():
        raise InvalidModel(f"there is no model file {model}", hint="Give the path of an .onnx file.")
    try:
        proto = onnx.load(model, format="protobuf")
    except DecodeError as error:
        raise InvalidModel(f"{model.name} is not an ONNX model: {error}", hint="Export it again.") from error
    except (onnx.checker.ValidationError, OSError) as error:
        raise InvalidModel(
            f"the weights of {model.name} cannot be read: {error}", hint="Put the data file beside the model."
        ) from error
    if not proto.graph.node and not proto.graph.output:
        raise InvalidModel(f"{model.name} holds no graph: it is empty or not ONNX", hint="Export it again.")
    return proto


def _opset(model: Path, proto: Any) -> int:
    """Version of ONNX's operator set, after a look at what the model asks for."""
    from profiler.runtimes._torch_operators import BUILDERS

    own = ("", "ai.onnx")
    kinds = {node.op_type if node.domain in own else f"{node.domain}:{node.op_type}" for node in proto.graph.node}
    missing = sorted(kinds - BUILDERS.keys())
    if missing:
        raise UnsupportedOperator(
            f"the runtime torch cannot run {', '.join(missing)} of {model.name}",
            hint="Export without these operators, or measure with the runtime onnxruntime.",
        )
    opset = max((entry.version for entry in proto.opset_import if entry.domain in own), default=1)
    if opset < OLDEST_OPSET:
        raise InvalidModel(
            f"{model.name} uses the operator set {opset}, at least {OLDEST_OPSET} is read",
            hint="Export it again, or use onnx.version_converter.",
        )
    return int(opset)


def _weights(model: Path, proto: Any) -> dict[str, Any]:
    """The initialisers, by name."""
    for weight in proto.graph.initializer:
        _check_element_type(model, weight.name, weight.data_type)
    return {weight.name: _tensor(weight) for weight in proto.graph.initializer}


def _feed(model: Path, proto: Any) -> dict[str, Any]:
    """Seeded values for the inputs."""
    import onnx
    import torch

    rng = np.random.default_rng(0)
    weights = {weight.name for weight in proto.graph.initializer}
    feed = {}
    for value in proto.graph.input:
        if value.name in weights:
            continue
        tensor_type = value.type.tensor_type
        dims = tensor_type.shape.dim
        shape = [int(dim.dim_value) for dim in dims]
        if not tensor_type.HasField("shape") or any(extent < 1 for extent in shape):
            shown = [dim.dim_value or dim.dim_param or "?" for dim in dims]
            raise InvalidModel(
                f"{model.name}: input {value.name!r} has the shape {shown}; every dimension must be a number",
                hint="Export the model with fixed shapes.",
            )
        _check_element_type(model, value.name, tensor_type.elem_type)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor_type.elem_type)
        drawn = rng.standard_normal(shape) if np.issubdtype(dtype, np.floating) else rng.integers(0, 2, shape)
        feed[value.name] = torch.from_numpy(np.asarray(drawn, dtype=dtype))
    return feed


def _check_element_type(model: Path, name: str, element_type: int) -> None:
    import onnx

    from profiler.runtimes._torch_operators import DTYPES

    if element_type not in DTYPES:
        kind = onnx.TensorProto.DataType.Name(element_type)
        raise InvalidModel(
            f"{model.name}: {name!r} is of the type {kind}, which the runtime torch does not read",
            hint="Export the model in fp32.",
        )


def _needed_nodes(graph: Any) -> list[tuple[Any, list[str]]]:
    """The nodes that the outputs depend on, each with the values of which it is the last to need them.

    An output that nothing reads is among these values.
    """
    wanted = {value.name for value in graph.output}
    needed = []
    for node in reversed(graph.node):
        if wanted.isdisjoint(node.output):
            continue
        drops = [name for name in dict.fromkeys((*node.output, *node.input)) if name and name not in wanted]
        wanted.update(node.input)
        needed.append((node, drops))
    return needed[::-1]


def _check_wires(node: Any, written: int, drops: list[str], values: Mapping[str, Any]) -> None:
    """Refuse a node whose inputs nothing wrote, or of which more outputs are read than it writes."""
    absent = [name for name in node.input if name not in values]
    if absent:
        raise ValueError(f"nothing before it writes its input {absent[0]!r}")
    if any(name and name not in drops for name in node.output[written:]):
        raise NotImplementedError(f"more than {written} of its outputs")


def _tensor(proto: Any) -> Any:
    import onnx
    import torch

    return torch.from_numpy(np.array(onnx.numpy_helper.to_array(proto)))


def _attributes(node: Any) -> dict[str, Any]:
    """A node's attributes: tensors as torch's, bytes as text."""
    import onnx

    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = _tensor(value)
        found[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return found


def _step(
    call: Callable[..., Any],
    reads: tuple[str, ...],
    writes: tuple[str, ...],
    drops: tuple[str, ...],
    values: dict[str, Any],
) -> Callable[[], None]:
    """One node as a call without arguments, so that running a model is a loop over calls."""
    if len(writes) > 1:

        def step() -> None:
            values.update(zip(writes, call(*[values[name] for name in reads]), strict=True))
            for name in drops:
                del values[name]

        return step
    (write,) = writes

    def step_of_one() -> None:
        values[write] = call(*[values[name] for name in reads])
        for name in drops:
            del values[name]

    return step_of_one
