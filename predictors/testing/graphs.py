"""The conformance kit for graph predictors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable, MissingKernel, UsageError
from predictors.graphs.protocol import GraphPredictor, MakeGraphPredictor
from predictors.models.protocol import KernelSamples
from predictors.prediction import UNITS, Prediction
from predictors.samples import NetworkSamples
from predictors.testing.files import check_damage, require, saved
from predictors.testing.kernels import samples
from profiler.catalogue import Catalogue
from profiler.graph_codes import to_wires
from profiler.memory import planned_peak_bytes
from profiler.operators import Node, Operator, OperatorGraph, Tensor

#: Networks that are learned from, and that are asked beside them.
_LEARNED, _ASKED = 24, 6
#: A graph may be computed in single precision, whose sums depend on what is beside it.
_CLOSE = 1e-5
#: Names of a predictor's folder that are taken.
_TAKEN = ("card.json", "table.safetensors")


def check_graph_predictor(make: MakeGraphPredictor, *, runtime: str = "fake") -> None:
    """Hold a graph predictor to `predictors.graphs.protocol`, for each cost that it has.

    It learns from 24 made-up networks of the kernels of `predictors.testing.samples`, and is asked for these, for
    others, and for one with a kernel of a kind that was never seen. How good it is, is not asked.

    Args:
        make: the predictor's class, as `PREDICTOR` of its module, or another maker.
        runtime: whose kernels the made-up networks are said to hold.

    Raises:
        AssertionError: it breaks the protocol; the message says how.
    """
    costs = make.costs
    require(
        isinstance(costs, tuple) and costs and set(costs) <= set(UNITS),
        "costs",
        f"it must be a tuple out of {', '.join(UNITS)}, got {costs!r}",
    )
    for cost in costs:
        kernels, networks = learned(cost, runtime)
        asked = (*networks.graphs[:_ASKED], *graphs(_ASKED, runtime, seed=1), _strange(runtime))
        model = make.fit(kernels, networks)
        found = _predicted(model, asked, UNITS[cost])
        again = _predicted(make.fit(kernels, networks), asked, UNITS[cost])
        require(_equal(found, again, 0.0), "fit", "the same samples give another predictor")
        _check_sure(make, kernels, networks, asked, found)
        _check_alone(model, asked, found)
        _check_missing(model, asked, found)
        _check_catalogue(model, asked, found)
        with tempfile.TemporaryDirectory() as place:
            _check_files(make, model, asked, found, Path(place))
        _check_refusals(make, kernels, networks)


def graphs(count: int, runtime: str, seed: int = 0) -> tuple[OperatorGraph, ...]:
    """Made-up fused graphs of the kernels of `predictors.testing.samples`: chains with branches that are added up."""
    rng = np.random.default_rng(seed)
    return tuple(_graph(rng, runtime) for _ in range(count))


def learned(cost: str, runtime: str) -> tuple[KernelSamples, NetworkSamples]:
    """Kernels and 24 networks of a made-up device, whose costs are 0.9 times the sum of their kernels, and a constant.

    Measured with 1 % noise. Energies are three times the times; memory is weights and live tensors, and no kernels.
    """
    kernels, found = samples(), graphs(_LEARNED, runtime)
    noise = np.random.default_rng(2).lognormal(0.0, 0.01, _LEARNED)
    if cost == "memory":
        kernels, values = kernels.take([]), np.array([planned_peak_bytes(graph) for graph in found]) * noise
    else:
        kernels = kernels if cost == "latency" else replace(kernels, cost=3.0 * kernels.cost)
        each = dict(zip(kernels.operators, kernels.cost, strict=True))
        values = np.array([0.02 + 0.9 * sum(each[op] for op in graph.operators) for graph in found]) * noise
    blank = (None,) * _LEARNED
    ids = tuple(f"n{i:02}" for i in range(_LEARNED))
    networks = NetworkSamples(ids, blank, blank, found, values, np.zeros(_LEARNED), UNITS[cost])
    return replace(kernels, unit=UNITS[cost]), networks


def catalogue_of(found: Sequence[OperatorGraph], runtime: str) -> Catalogue:
    """Graphs as a catalogue, in order."""
    number: dict[Operator, int] = {}
    wires = tuple(to_wires(graph, number) for graph in found)
    counts = np.zeros((len(found), len(number)), dtype=np.int32)
    for row, graph in zip(counts, found, strict=True):
        np.add.at(row, [number[operator] for operator in graph.operators], 1)
    inputs = tuple(tuple(tensor for _, tensor in graph.inputs) for graph in found)
    return Catalogue(tuple(number), counts, wires, inputs, runtime)


def _graph(rng: np.random.Generator, runtime: str) -> OperatorGraph:

    pool = [op for op in samples().operators if op.outputs[0].shape[-1] == 16]
    first = Tensor((1, int(rng.choice([4, 8])), 16, 16))
    values = [("x", first)]
    nodes: list[Node] = []
    for index in range(int(rng.integers(4, 16))):
        name, tensor = values[-1]
        fitting = [op for op in pool if op.inputs[0] == tensor and op.outputs[0].shape[1] <= 32]
        operator = fitting[int(rng.integers(len(fitting)))]
        alike = [other for other, shape in values if shape == tensor]
        second = str(rng.choice(alike)) if operator.op_type == "Add" else f"w{index}"
        reads = (name, second)[: len(operator.inputs)]
        nodes.append(Node(operator, reads, (f"v{index}",), f"node{index}"))
        values.append((f"v{index}", operator.outputs[0]))
    return OperatorGraph(tuple(nodes), (("x", first),), (values[-1][0],), runtime)


def _strange(runtime: str) -> OperatorGraph:
    """A network with a kernel of a kind that no other has."""
    graph = _graph(np.random.default_rng(3), runtime)
    image = graph.nodes[-1].operator.outputs[0]
    kernel = Operator("com.example", "Strange", (), (image,), (image,))
    return replace(graph, nodes=(*graph.nodes, Node(kernel, graph.outputs, ("last",), "last")), outputs=("last",))


def _predicted(model: GraphPredictor, asked: Sequence[OperatorGraph], unit: str | None = None) -> Prediction:
    """A prediction of the right form."""
    found = model.predict(asked)
    _check_form(found, len(asked), unit)
    require(
        (found.low is None) == (model.half_width is None),
        "half_width",
        f"it is {model.half_width}, and predictions have {'no' if found.low is None else 'an'} interval",
    )
    return found


def _check_form(found: Prediction, count: int, unit: str | None) -> None:
    wanted = (count,)
    for name in ("value", "low", "high", "coverage"):
        values = getattr(found, name)
        if values is None and name in ("low", "high"):
            continue
        require(
            isinstance(values, np.ndarray) and values.shape == wanted and values.dtype == np.float64,
            "predict",
            f"{name} must be float64 {wanted}, got {getattr(values, 'shape', values)}",
        )
        require(np.isfinite(values).all(), "predict", f"{name} must be finite, got {values[~np.isfinite(values)][:1]}")
    require((found.value > 0).all(), "predict", f"costs must be above 0, got {found.value.min(initial=1.0)}")
    require(((found.coverage >= 0) & (found.coverage <= 1 + 1e-9)).all(), "predict", "coverage must be within 0..1")
    require(
        len(found.missing) == count and all(isinstance(keys, tuple) for keys in found.missing),
        "predict",
        f"missing must hold a tuple of keys for each of {count} networks, got {found.missing!r}",
    )
    require((found.low is None) == (found.high is None), "intervals", "one end alone is no interval")
    if found.low is not None and found.high is not None:
        inside = (found.low >= 0) & (found.low <= found.value) & (found.value <= found.high)
        require(inside.all(), "intervals", "an interval must hold its value, and not end below 0")
    require(unit is None or found.unit == unit, "predict", f"the unit must be {unit!r}, got {found.unit!r}")


def _equal(left: Prediction, right: Prediction, tolerance: float = _CLOSE) -> bool:
    pairs = [(getattr(left, name), getattr(right, name)) for name in ("value", "low", "high", "coverage")]
    alike = all(
        (a is None and b is None) or (a is not None and b is not None and np.allclose(a, b, rtol=tolerance, atol=1e-12))
        for a, b in pairs
    )
    return alike and [set(keys) for keys in left.missing] == [set(keys) for keys in right.missing]


def _check_refusals(make: MakeGraphPredictor, kernels: KernelSamples, networks: NetworkSamples) -> None:
    for value in (0.0, -1.0, np.nan, np.inf):
        cost = networks.cost.copy()
        cost[5] = value
        _refused(make, kernels, replace(networks, cost=cost), f"a network that costs {value} {networks.unit}")
    _refused(make, kernels, networks.take([]), "no networks", may_learn=True)


def _refused(
    make: MakeGraphPredictor, kernels: KernelSamples, networks: NetworkSamples, what: str, *, may_learn: bool = False
) -> None:
    try:
        with np.errstate(all="ignore"):
            make.fit(kernels, networks)
    except InvalidTable:
        return
    except Exception as error:
        raise AssertionError(
            f"fit: {what} must be refused with InvalidTable, not {type(error).__name__}: {error}"
        ) from error
    require(may_learn, "fit", f"{what} must be refused with InvalidTable")


def _check_sure(
    make: MakeGraphPredictor,
    kernels: KernelSamples,
    networks: NetworkSamples,
    asked: Sequence[OperatorGraph],
    found: Prediction,
) -> None:
    """Intervals cost time, and change no value."""
    quick = _predicted(make.fit(kernels, networks, sure=False), asked)
    require(np.allclose(quick.value, found.value, rtol=1e-9), "sure", "without intervals it predicts other values")
    require(found.low is not None, "intervals", f"from {len(networks.ids)} networks there must be an interval")


def _check_alone(model: GraphPredictor, asked: Sequence[OperatorGraph], found: Prediction) -> None:
    """Each network's answer is its own: whatever it is asked with, and whatever its values are called."""
    back = _predicted(model, asked[::-1])
    turned = replace(
        back,
        value=back.value[::-1],
        low=None if back.low is None else back.low[::-1],
        high=None if back.high is None else back.high[::-1],
        coverage=back.coverage[::-1],
        missing=back.missing[::-1],
    )
    require(_equal(turned, found), "predict", "the answers are not in order")
    _predicted(model, ())
    for row in (0, len(asked) - 1):
        one = _predicted(model, (asked[row],))
        require(_equal(one, _row(found, row)), "predict", f"network {row} alone is another one than among others")
    renamed = _predicted(model, [_renamed(graph) for graph in asked])
    require(_equal(renamed, found), "predict", "names of nodes and values must not matter")


def _row(found: Prediction, row: int) -> Prediction:
    one: Callable[[NDArray[np.float64] | None], NDArray[np.float64] | None] = lambda v: None if v is None else v[[row]]  # noqa: E731
    return Prediction(
        found.value[[row]], one(found.low), one(found.high), found.unit, found.coverage[[row]], (found.missing[row],)
    )


def _renamed(graph: OperatorGraph) -> OperatorGraph:
    def other(name: str) -> str:
        return f"other/{name}" if name else ""

    nodes = tuple(
        Node(node.operator, tuple(map(other, node.inputs)), tuple(map(other, node.outputs)), f"n{i % 3}")
        for i, node in enumerate(graph.nodes)
    )
    given = tuple((other(name), tensor) for name, tensor in graph.inputs)
    return OperatorGraph(nodes, given, tuple(map(other, graph.outputs)), graph.runtime)


def _check_missing(model: GraphPredictor, asked: Sequence[OperatorGraph], found: Prediction) -> None:
    """What is missing is said in all three ways: by its keys, by the coverage, and by the interval."""
    for row, keys in enumerate(found.missing):
        own = {operator.key for operator in asked[row].operators}
        require(set(keys) <= own, "missing", f"network {row} lacks kernels that it does not have: {set(keys) - own}")
        require(
            bool(keys) == (found.coverage[row] < 1 - 1e-9),
            "missing",
            f"network {row} lacks {len(keys)} kernels, and its coverage is {found.coverage[row]}",
        )
        try:
            model.predict([asked[row]], missing="raise")
        except MissingKernel:
            require(keys, "missing", f"network {row} lacks nothing, and raises MissingKernel")
        else:
            require(not keys, "missing", f"network {row} lacks kernels, and `raise` does not raise MissingKernel")
    if found.missing[-1] and found.high is not None:
        whole = [row for row, keys in enumerate(found.missing) if not keys]
        width = found.high / found.value
        require(
            not whole or width[-1] > width[whole].min() * (1 + 1e-9),
            "intervals",
            "a network with a strange kernel is believed like one without",
        )
    try:
        model.predict(asked[:1], missing="skip")
    except UsageError:
        return
    raise AssertionError("missing: 'skip' is no way to treat missing kernels and must raise UsageError")


def _check_catalogue(model: GraphPredictor, asked: Sequence[OperatorGraph], found: Prediction) -> None:
    catalogue = catalogue_of(asked, asked[0].runtime)
    listed = model.predict_catalogue(catalogue)
    _check_form(listed, len(asked), found.unit)
    require(_equal(listed, found), "predict_catalogue", "a catalogue is predicted otherwise than its graphs")
    empty = Catalogue((), np.zeros((0, 0), dtype=np.int32), (), (), asked[0].runtime)
    _check_form(model.predict_catalogue(empty), 0, found.unit)
    for given in (catalogue, empty):
        idle = model.idle(given)
        require(np.isfinite(idle) and idle > 0, "idle", f"it must be above 0 and finite, got {idle}")


def _check_files(
    make: MakeGraphPredictor, model: GraphPredictor, asked: Sequence[OperatorGraph], found: Prediction, place: Path
) -> None:
    """What is saved is loaded as it was; what is missing, damaged or of another schema is refused."""
    folder = saved(model.save, place, _TAKEN)
    back = _predicted(make.load(folder), asked, found.unit)
    require(_equal(back, found, 1e-9), "load", "it predicts something else than what was saved")
    check_damage(make.load, folder)
