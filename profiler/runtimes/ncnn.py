"""ncnn on the CPU. Its kernels are the layers of the converted model; each is run alone, in order, to be timed.

What travels is `MODEL.param`, with `MODEL.bin` and `MODEL.json` beside it; see `profiler.compilers.ncnn`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from device_profiles.errors import DeviceError, InvalidModel, UnsupportedOperator
from profiler.runtimes._host import OnHost, drawn, undisturbed
from profiler.runtimes._ncnn import NO_WORK, Kernel, Layer, kernel, layers
from profiler.runtimes.protocol import (
    KernelTime,
    Option,
    Profile,
    RuntimeOptions,
    Traits,
    require_options,
    require_precision,
)

#: Inferences before a profile.
WARM_RUNS = 3
#: As a layer leaves it, packed and in its own precision; 0 would unpack it and convert it to fp32.
_AS_IT_IS = 1
_ZERO_OR_ONE = Option("0 or 1", lambda value: value in (0, 1, False, True))
#: Names of ncnn's own options by ours; all are on in ncnn.
_CHOICES = {
    "winograd": "use_winograd_convolution",
    "sgemm": "use_sgemm_convolution",
    "packing": "use_packing_layout",
}
OPTIONS = dict.fromkeys(_CHOICES, _ZERO_OR_ONE)
#: All allocators: ncnn ends the process where one goes before a tensor that lies in it, and Python promises no order.
_POOLS: list[Any] = []


class NcnnSession:
    """A loaded net and its inputs. A call makes an extractor, which lives for one inference, and asks for outputs."""

    def __init__(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> None:
        self._loaded = _load(model, options)
        self._feed = _feed(self._loaded, inputs)

    def run(self) -> None:
        """One inference."""
        self._run()

    @property
    def call(self) -> Callable[[], object]:
        """One inference, with inputs in place."""
        start, feed, outputs = self._loaded.net.create_extractor, self._feed, self._loaded.outputs

        def infer() -> None:
            extractor = start()
            for place, mat in feed:
                extractor.input(place, mat)
            for place in outputs:
                extractor.extract(place)

        return infer

    def outputs(self) -> list[Any]:
        """The outputs of one inference, in their shapes of the ONNX model."""
        found = []
        for mat, (_, shape, dtype, batch) in zip(self._run(), self._loaded.beside["outputs"], strict=True):
            array = np.array(mat.numpy() if batch is None else mat.numpy(batch_index=batch))
            whole = array.size == np.prod(shape) and dtype != "unknown"
            found.append(array.reshape(shape).astype(dtype) if whole else array)
        return found

    def profile(self, runs: int) -> Profile | None:
        """Kernel times: each value is asked for in order, and each question runs one layer.

        What a question costs that runs nothing is taken off: each value is asked for again. The time of the last
        layers has in it what unpacks the outputs.
        """
        steps = [(layer, _asked(self._loaded, layer)) for layer in self._loaded.layers if layer.kind != "Input"]
        spent, asking = np.zeros((2, WARM_RUNS + runs, len(steps)))
        for run in range(WARM_RUNS + runs):
            extractor = self._start()
            for i, (_, (place, form)) in enumerate(steps):
                before = time.perf_counter_ns()
                extractor.extract(place, form)
                between = time.perf_counter_ns()
                extractor.extract(place, _AS_IT_IS)  # it is there
                spent[run, i], asking[run, i] = between - before, time.perf_counter_ns() - between
        spent = spent[WARM_RUNS:]
        times = np.maximum(undisturbed(spent) - np.median(asking), 0.0)
        graph = _graph(self._loaded, self._feed)
        by_layer = {layer.name: float(time_ns) for (layer, _), time_ns in zip(steps, times, strict=True)}
        working = [layer for layer in self._loaded.layers if layer.kind not in NO_WORK]
        kernels = tuple(
            KernelTime(node[3], graph["operators"][node[0]][1], by_layer[layer.name], runs)
            for node, layer in zip(graph["nodes"], working, strict=True)
        )
        return Profile(kernels, None, float(undisturbed(spent.sum(axis=1))))

    def close(self) -> None:
        """Drop the net and its buffers."""
        self._feed.clear()
        self._loaded.free()

    def _start(self) -> Any:
        extractor = self._loaded.net.create_extractor()
        for place, mat in self._feed:
            extractor.input(place, mat)
        return extractor

    def _run(self) -> list[Any]:
        extractor = self._start()
        found = [extractor.extract(place) for place in self._loaded.outputs]
        for code, _ in found:
            if code:
                raise InvalidModel(f"ncnn cannot run {self._loaded.name}: code {code}", hint="Is there enough memory?")
        return [mat for _, mat in found]


class Ncnn(OnHost):
    """ncnn's CPU layers."""

    traits: ClassVar[Traits] = Traits(
        packages=("ncnn",),
        extra="ncnn",
        precisions=("fp32", "bf16", "fp16", "int8"),
        kernels="the layers of its model",
        times="each layer run by itself, in order",
    )

    def __init__(self) -> None:
        try:
            import ncnn
        except ImportError as error:
            raise DeviceError("the package ncnn is not installed", hint="pip install 'hwnas[ncnn]'") from error
        self._version = f"ncnn {ncnn.__version__}"

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> NcnnSession:
        """Load a model."""
        return NcnnSession(model, options, inputs)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """The layers, with the shapes and packing that one inference shows, as the JSON of an operator graph."""
        loaded = _load(model, options)
        try:
            return json.dumps(_graph(loaded, _feed(loaded, None)), separators=(",", ":")).encode()
        finally:
            loaded.free()


RUNTIME = Ncnn


@dataclass(frozen=True)
class _Loaded:
    """A net and what is known of it.

    Attributes:
        name: of its file.
        net: ncnn's.
        layers: of its file.
        places: of its values, by name.
        outputs: places of what it gives, in the order of the ONNX model.
        beside: what the file beside it says.
        sixteen: what 16 bits are: `fp16` or `bf16`.
        pools: where its buffers are kept from one inference to the next.
    """

    name: str
    net: Any
    layers: list[Layer]
    places: dict[str, int]
    outputs: list[int]
    beside: dict[str, Any]
    sixteen: str
    pools: tuple[Any, Any]

    def free(self) -> None:
        """Give all memory back."""
        self.net.clear()
        for pool in self.pools:
            pool.clear()


def _load(model: Path, options: RuntimeOptions) -> _Loaded:
    require_precision("ncnn", Ncnn.traits, options.precision)
    require_options("ncnn", options.options, OPTIONS)
    known, beside = _read(model)
    net, pools = _net(options)
    if net.load_param(str(model)) or net.load_model(str(model.with_suffix(".bin"))):
        raise InvalidModel(f"ncnn cannot load {model.name}", hint="Compile the model again.")
    places = {blob.name: i for i, blob in enumerate(net.blobs())}
    try:
        outputs = [places[f"out{i}"] for i in range(len(beside["outputs"]))]
    except KeyError as error:
        raise InvalidModel(f"{model.name} has no output {error}", hint="Compile the model again.") from error
    return _Loaded(model.name, net, known, places, outputs, beside, options.precision, pools)


def _read(model: Path) -> tuple[list[Layer], dict[str, Any]]:
    """The layers of a file, and what lies beside it."""
    import ncnn

    try:
        found = layers(model.read_text())
        beside = json.loads(model.with_suffix(".json").read_text())
        if not model.with_suffix(".bin").exists() or not {"inputs", "outputs", "names"} <= beside.keys():
            raise ValueError("what lies beside it is not complete")
    except (OSError, ValueError, LookupError, AttributeError) as error:
        raise InvalidModel(f"{model.name} is no compiled model: {error}", hint="Compile the model again.") from error
    lacking = [layer.kind for layer in found if ncnn.layer_to_index(layer.kind) < 0]
    if lacking:
        raise UnsupportedOperator(f"ncnn has no layer {lacking[0]}", hint="Replace it, or use another runtime.")
    return found, beside


def _net(options: RuntimeOptions) -> tuple[Any, tuple[Any, Any]]:
    """An empty net with everything set that ncnn would choose itself; its kernels are chosen when a model is loaded."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = options.threads
    net.opt.use_vulkan_compute = False
    for name in ("packed", "storage", "arithmetic"):
        setattr(net.opt, f"use_fp16_{name}", options.precision == "fp16")
    for name in ("packed", "storage"):
        setattr(net.opt, f"use_bf16_{name}", options.precision == "bf16")
    for name, own in _CHOICES.items():
        setattr(net.opt, own, bool(options.options.get(name, 1)))
    # As ncnn's own benchmark: buffers are kept, not given back to the system. Threads share the workspace alone.
    pools = (ncnn.UnlockedPoolAllocator(), ncnn.PoolAllocator())
    net.opt.blob_allocator, net.opt.workspace_allocator = pools
    _POOLS.extend(pools)
    return net, pools


def _feed(loaded: _Loaded, inputs: Mapping[str, Any] | None) -> list[tuple[int, Any]]:
    """A tensor for each input that the net reads, with its place: the given ones, or drawn."""
    import ncnn

    rng = np.random.default_rng(0)
    feed = []
    for i, (name, shape, dtype, batch) in enumerate(loaded.beside["inputs"]):
        if inputs is not None and name not in inputs:
            raise InvalidModel(f"{loaded.name}: there is nothing for its input {name!r}")
        given = drawn(rng, shape, dtype) if inputs is None else np.asarray(inputs[name])
        if list(given.shape) != list(shape):
            raise InvalidModel(f"{loaded.name}: the input {name!r} is {list(shape)}, got {list(given.shape)}")
        array = np.ascontiguousarray(given, dtype=np.float32 if dtype.startswith("float") else np.int32)
        if f"in{i}" in loaded.places:
            mat = ncnn.Mat(array) if batch is None else ncnn.Mat(array, batch_index=batch)
            feed.append((loaded.places[f"in{i}"], mat.clone()))
    return feed


def _asked(loaded: _Loaded, layer: Layer) -> tuple[int, int]:
    """The place of what a layer writes first, and the form in which it is asked for: outputs as a call gives them."""
    place = loaded.places[layer.writes[0]]
    return place, 0 if place in loaded.outputs else _AS_IT_IS


def _graph(loaded: _Loaded, feed: list[tuple[int, Any]]) -> dict[str, Any]:
    """The layers that work, as an operator graph in plain lists."""
    names = {write: layer.reads[0] for layer in loaded.layers if layer.kind == "Split" for write in layer.writes}
    mats: dict[str, tuple[list[int], str, int, int]] = {}
    nodes: list[list[Any]] = []
    operators: list[list[Any]] = []
    for layer, written in _values(loaded, feed):
        mats.update(written)
        if layer.kind in NO_WORK:
            continue
        made = kernel(layer, [mats[name][0] for name in layer.reads], [mats[name][0] for name in layer.writes])
        operators.append(_operator(layer, made, mats, loaded.sixteen))
        reads = iter([_source(name, names) for name in layer.reads])
        inputs = [f"{layer.name}:{i}" if i in made.weights else next(reads) for i in range(len(made.inputs))]
        nodes.append([len(nodes), inputs, list(layer.writes), loaded.beside["names"].get(layer.name, layer.name)])
    starts = [layer.writes[0] for layer in loaded.layers if layer.kind == "Input"]
    places = {place: name for name, place in loaded.places.items()}
    return {
        "schema": "hwnas.graph/1",
        "runtime": "ncnn",
        "inputs": [[name, [mats[name][0], mats[name][1], False]] for name in starts],
        "outputs": [_source(places[place], names) for place in loaded.outputs],
        "operators": operators,
        "nodes": nodes,
    }


def _source(name: str, names: Mapping[str, str]) -> str:
    """The value that was handed on under a name."""
    while name in names:
        name = names[name]
    return name


def _values(
    loaded: _Loaded, feed: list[tuple[int, Any]]
) -> Iterator[tuple[Layer, dict[str, tuple[list[int], str, int, int]]]]:
    """Each layer, with shape, type, bits and packing of what it writes; nothing of it is kept."""
    extractor = loaded.net.create_extractor()
    for place, mat in feed:
        extractor.input(place, mat)
    for layer in loaded.layers:
        written = {}
        for name in layer.writes:
            code, mat = extractor.extract(loaded.places[name], _AS_IT_IS)
            if code:
                raise InvalidModel(f"ncnn cannot run {layer.kind} {layer.name} of {loaded.name}: code {code}")
            bits = mat.elembits()
            dtype = {32: "float32", 16: "float16" if loaded.sixteen == "fp16" else "bfloat16", 8: "int8"}[bits]
            written[name] = (_shape(mat), dtype, bits, mat.elempack)
        yield layer, written


def _shape(mat: Any) -> list[int]:
    """The batch, then the dimensions, those that are packed unpacked."""
    inner = {1: [mat.w], 2: [mat.h, mat.w], 3: [mat.c, mat.h, mat.w], 4: [mat.c, mat.d, mat.h, mat.w]}[mat.dims]
    return [mat.n, inner[0] * mat.elempack, *inner[1:]]


def _operator(
    layer: Layer, made: Kernel, mats: Mapping[str, tuple[list[int], str, int, int]], sixteen: str
) -> list[Any]:
    """A kernel in plain lists; how its input and output are packed decides which code runs.

    A layer whose weights are whole computes in int8, whatever it writes: ncnn has no other code for those.
    """
    bits = 8 if layer.in_int8 else mats[layer.writes[0]][2]
    attributes = {
        **made.attributes,
        "packing": [mats[name][3] for name in (*layer.reads[:1], layer.writes[0])],
        "precision": {32: "fp32", 16: sixteen, 8: "int8"}[bits],
        "primitive": layer.kind,
    }
    if made.fused:
        attributes["fused"] = list(made.fused)
    types = iter([mats[name][1] for name in layer.reads])
    inputs = [
        [shape, _weight(layer, i) if i in made.weights else next(types, "float32"), i in made.weights]
        for i, shape in enumerate(made.inputs)
    ]
    outputs = [[mats[name][0], mats[name][1], False] for name in layer.writes]
    return ["ncnn", made.kind, sorted(map(list, attributes.items())), inputs, outputs]


def _weight(layer: Layer, position: int) -> str:
    """The type of a weight: in int8 the bias, which is last, is none."""
    return "int8" if layer.in_int8 and position == 1 else "float32"
