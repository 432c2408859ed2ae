"""ONNX Runtime on the CPU. Its fused kernels come from its own optimised model, never from a list of fusion rules."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator, UsageError, WrongPrecision
from profiler.runtimes import _onnxruntime_plugins
from profiler.runtimes._host import OnHost, drawn, undisturbed
from profiler.runtimes.protocol import (
    KernelTime,
    Option,
    Profile,
    RuntimeOptions,
    Traits,
    require_options,
    require_precision,
)

_NUMPY_TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8, "tensor(uint64)": np.uint64,
    "tensor(uint32)": np.uint32, "tensor(uint16)": np.uint16, "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
}  # fmt: skip
_SUFFIX = "_kernel_time"
#: Inferences before a profile.
WARM_RUNS = 3
_SWITCH = Option("0 or 1", lambda value: value in (0, 1))
#: Options of the target; a name with a dot is an entry of the session's configuration, or of a plug-in provider's if it
#: begins with `provider.`.
OPTIONS = {
    "spinning": _SWITCH,
    "arena": _SWITCH,
    "memory_pattern": _SWITCH,
    "provider": Option("the name of an execution provider, such as CPU", lambda value: isinstance(value, str)),
    "provider_package": Option(
        "a distribution with a plug-in provider and its version, such as onnxruntime-ep-openvino==1.8.1",
        lambda value: isinstance(value, str) and _onnxruntime_plugins.PACKAGE.fullmatch(value) is not None,
    ),
    "provider_device": Option("CPU, GPU or NPU", lambda value: value in ("CPU", "GPU", "NPU")),
    "format": Option("onnx or ort", lambda value: value in ("onnx", "ort")),
    "platform": Option("amd64 or arm", lambda value: value in ("amd64", "arm")),
}
_PROVIDERS = "provider."
DEFAULTS = {"spinning": 1, "arena": 1, "memory_pattern": 1}
_WITH_GRAPHS = frozenset({"If", "Loop", "Scan"})


class OrtSession:
    """A compiled model and its inputs.

    Inputs and outputs are bound once: `run_with_ort_values` spends 16 to 100 us a call on wrapping them, the bound call
    3 us, beside a model of one node that takes 1 us.
    """

    def __init__(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> None:
        self._model = model
        self._options = options
        self._session = _session(model, options)
        self._feed = _feed(model, self._session, inputs)
        self._call = _bound(self._session, self._feed)

    def run(self) -> None:
        """One inference."""
        try:
            self._call()
        except Exception as error:  # onnxruntime raises a dozen private types that share no base but Exception
            raise _not_run(self._model, error) from error

    @property
    def call(self) -> Callable[[], object]:
        """One inference, without anything around it."""
        return self._call

    def outputs(self) -> list[Any]:
        """The outputs of one inference."""
        try:
            return list(self._session.run(None, self._feed))
        except Exception as error:  # as above
            raise _not_run(self._model, error) from error

    def profile(self, runs: int) -> Profile | None:
        """Kernel times of a second, profiled session: the profiler perturbs, so the timed one stays without.

        What runs inside of branches and loops is part of the node that holds them.
        """
        if "provider_package" in self._options.options:
            return None  # its profiler sees what the provider compiled as one
        warm = min(WARM_RUNS, runs)
        with tempfile.TemporaryDirectory() as folder:
            session = _session(self._model, self._options, profile_prefix=str(Path(folder) / "profile"))
            call = _bound(session, self._feed)
            times_ns = []
            for _ in range(runs + warm):
                start = time.perf_counter_ns()
                call()
                times_ns.append(time.perf_counter_ns() - start)
            events = json.loads(Path(session.end_profiling()).read_text())
        all_nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX)]
        nodes = _outermost(all_nodes)
        per_run = len(nodes) // (runs + warm)
        if per_run == 0 or len(nodes) != per_run * (runs + warm):
            return None
        durations = np.array([event["dur"] for event in nodes[warm * per_run :]], dtype=np.float64).reshape(
            runs, per_run
        )
        kernels = tuple(
            KernelTime(event["name"].removesuffix(_SUFFIX), event["args"]["op_name"], float(mean) * 1e3, runs)
            for event, mean in zip(nodes[:per_run], undisturbed(durations), strict=True)
        )
        peaks = [int(event["args"].get("mem_in_use_peak", 0)) for event in all_nodes]
        return Profile(kernels, max(peaks) or None, float(undisturbed(times_ns[warm:])))

    def close(self) -> None:
        """Drop the session and its arena."""
        del self._call, self._session


def _feed(model: Path, session: Any, inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """An array for each input: the given ones, or drawn in order."""
    rng = np.random.default_rng(0)
    feed: dict[str, Any] = {}
    for value in session.get_inputs():
        if inputs is not None:
            if value.name not in inputs:
                raise InvalidModel(f"{model.name}: there is nothing for its input {value.name!r}", hint="Give it too.")
            feed[value.name] = np.ascontiguousarray(inputs[value.name])
            continue
        if any(not isinstance(extent, int) or extent < 1 for extent in value.shape):
            raise InvalidModel(
                f"{model.name}: input {value.name!r} has the shape {value.shape}; every dimension must be a number",
                hint="Export the model with fixed shapes.",
            )
        dtype = _NUMPY_TYPES.get(value.type)
        if dtype is None:
            raise InvalidModel(
                f"{model.name}: input {value.name!r} is a {value.type}; inputs are drawn as numbers",
                hint="Export the model from where its inputs are numbers.",
            )
        feed[value.name] = drawn(rng, value.shape, dtype)
    return feed


def _bound(session: Any, feed: Mapping[str, Any]) -> Callable[[], object]:
    """The call that costs least: with inputs and outputs bound; text cannot be."""
    import onnxruntime as ort

    if any(array.dtype.kind in "OU" for array in feed.values()):
        text = {name: array.astype(object) if array.dtype.kind == "U" else array for name, array in feed.items()}
        return partial(session.run, None, text)
    binding = session.io_binding()
    for name, array in feed.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return partial(session.run_with_iobinding, binding)


def _outermost(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events that lie inside of no other: those of branches and loops are part of the node that holds them.

    Events come as they end: what runs inside stands just before its holder and began after it, since a holder first
    sets its graph up.
    """
    kept: list[dict[str, Any]] = []
    for event in events:
        if event["args"]["op_name"] in _WITH_GRAPHS:
            while kept and kept[-1]["ts"] > event["ts"]:
                kept.pop()
        kept.append(event)
    return kept


def _not_run(model: Path, error: Exception) -> InvalidModel:
    words = " ".join(str(error).split())[:600]
    return InvalidModel(
        f"ONNX Runtime cannot run {model.name}: {words}",
        hint="Give inputs that it takes with --inputs FILE.npz, or other shapes with --shape INPUT=...",
    )


class OnnxRuntime(OnHost):
    """ONNX Runtime's CPU execution provider."""

    traits: ClassVar[Traits] = Traits(
        packages=("onnxruntime",),
        precisions=("fp32", "int8", "fp16"),
        kernels="its own optimised model",
        times="its profiler",
        replay=True,
        allocator=True,
        folds=True,
    )

    def __init__(self) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise DeviceError("the package onnxruntime is not installed", hint="pip install onnxruntime") from error
        ort.set_default_logger_severity(4)
        self._version = f"onnxruntime {ort.__version__}"

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> OrtSession:
        """Compile a model."""
        return OrtSession(model, options, inputs)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """The optimised model that ONNX Runtime saves; that of a `.ort` file travels beside it.

        What a plug-in provider compiles cannot be saved, nor is it told: the nodes of the model stand for it.
        """
        if "provider_package" in options.options:
            _session(model, options)
            return None
        if model.suffix == ".ort":
            return model.with_suffix(".fused.onnx").read_bytes()
        folder = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a file in memory, in a folder of its own
        with tempfile.TemporaryDirectory(dir=folder) as place:
            path = Path(place) / "fused.onnx"
            _session(model, options, fused=path)
            return path.read_bytes()


RUNTIME = OnnxRuntime


def _session(model: Path, options: RuntimeOptions, *, fused: Path | None = None, profile_prefix: str = "") -> Any:
    import onnxruntime as ort

    settings = session_settings(options)
    provider = str(options.options.get("provider", "CPU"))
    if fused is not None:
        settings.optimized_model_filepath = str(fused)
        # It is only saved, not run: nothing is packed for kernels, no memory is laid out.
        settings.add_session_config_entry("session.disable_prepacking", "1")
        settings.enable_cpu_mem_arena = settings.enable_mem_pattern = False
    if profile_prefix:
        settings.enable_profiling = True
        settings.profile_file_prefix = profile_prefix
    wanted = f"{provider}ExecutionProvider"
    if provider != "CPU":  # what the CPU lacks, nobody else takes over
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    package = str(options.options.get("provider_package", ""))
    if package:
        kind, own = str(options.options.get("provider_device", "CPU")), _of_provider(options)
        settings.add_provider_for_devices(_onnxruntime_plugins.devices(wanted, package, kind), own)
    elif wanted not in ort.get_available_providers():
        built = ", ".join(name.removesuffix("ExecutionProvider") for name in ort.get_available_providers())
        raise DeviceError(
            f"this build of ONNX Runtime has no provider {provider}; it has {built}",
            hint="Install a build that has it, or remove provider from the target's [runtime.options].",
        )
    try:
        session = ort.InferenceSession(str(model), settings, providers=None if package else [wanted])
    except Exception as error:  # onnxruntime raises a dozen private types that share no base but Exception
        text = str(error).split("\n")[0]
        if (
            "NOT_IMPLEMENTED" in text
            or "is not a registered function" in text
            or "Could not find an implementation" in text
            or "No Op registered" in text
        ):
            raise UnsupportedOperator(
                f"ONNX Runtime lacks an operator of {model.name}: {text}",
                hint="Export with another opset, or replace that operator.",
            ) from error
        raise InvalidModel(f"ONNX Runtime cannot load {model.name}: {text}") from error
    if provider != "CPU":
        _require_placement(session, wanted, model)
    return session


def _of_provider(options: RuntimeOptions) -> dict[str, str]:
    """Settings of a plug-in provider's own."""
    return {
        name.removeprefix(_PROVIDERS): str(value)
        for name, value in options.options.items()
        if name.startswith(_PROVIDERS)
    }


def _require_placement(session: Any, wanted: str, model: Path) -> None:
    """Refuse a model of which nodes were given to another provider than was asked for.

    Raises:
        WrongPrecision: some were; the message names the first.
    """
    elsewhere = [
        (part.ep_name, node.op_type)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if part.ep_name != wanted
    ]
    if elsewhere:
        provider, op_type = elsewhere[0]
        raise WrongPrecision(
            f"{len(elsewhere)} nodes of {model.name} run on {provider}, not on {wanted}: {op_type} is the first",
            hint="Measure it with a target of that provider.",
        )


def session_settings(options: RuntimeOptions) -> Any:
    """What a session is made with; the host's half makes `.ort` files with the same.

    Raises:
        UsageError: there is no such precision, level or option.
    """
    import onnxruntime as ort

    require_precision("onnxruntime", OnnxRuntime.traits, options.precision)
    dotted = {name: str(value) for name, value in options.options.items() if "." in name}
    require_options("onnxruntime", {n: v for n, v in options.options.items() if n not in dotted}, OPTIONS)
    entries = {name: value for name, value in dotted.items() if not name.startswith(_PROVIDERS)}
    if len(entries) < len(dotted) and "provider_package" not in options.options:
        raise UsageError(
            "settings of a provider's own are for plug-in providers",
            hint="Name one with provider and provider_package.",
        )
    own = {**DEFAULTS, **options.options}
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.log_severity_level = 4
    settings.enable_cpu_mem_arena = bool(own["arena"])
    settings.enable_mem_pattern = bool(own["memory_pattern"])
    levels = {
        "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
        "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
        "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    }
    if options.optimisation not in levels:
        raise UsageError(
            f"ONNX Runtime has no optimisation level {options.optimisation!r}", hint=f"One of: {', '.join(levels)}."
        )
    settings.graph_optimization_level = levels[options.optimisation]
    settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(own["spinning"])))
    for name, value in entries.items():
        settings.add_session_config_entry(name, value)
    return settings
