"""Memory, which is simulated and not learned: live tensors under the rules of the runtime's allocator."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from predictors import intervals
from predictors.models.protocol import KernelSamples
from predictors.network import require_known
from predictors.prediction import Prediction, check_missing
from predictors.samples import NetworkSamples, require_costs
from predictors.sealed import check_numbers, read_json, understood
from profiler.catalogue import Catalogue
from profiler.memory import allocation, weights
from profiler.operators import OperatorGraph

_SCHEMA = "hwnas.simulation/1"
_REMEDY = "Fit the predictor again."

#: Graphs of a catalogue that are made at once.
_CHUNK = 256


@dataclass(frozen=True)
class Simulation:
    """Bytes of a network's weights, and what the runtime's allocator hands out at most while it runs.

    Nothing is fitted. Networks whose allocator peak was measured tell how far the simulation is off: that is the
    interval. See `profiler.memory.simulate`.

    Attributes:
        half_width: relative half-width of the 90 % interval; None with fewer than 9 measured networks.
    """

    costs: ClassVar[tuple[str, ...]] = ("memory",)

    half_width: float | None = None

    @staticmethod
    def fit(kernels: KernelSamples, networks: NetworkSamples, *, sure: bool = True) -> Simulation:
        """Hold the simulation against measured networks; `kernels` is not looked at."""
        require_costs(networks)
        simulated = np.array([simulated_bytes(graph) for graph in networks.graphs])
        errors = np.abs(networks.cost - simulated) / simulated if len(simulated) else np.empty(0)
        return Simulation(intervals.relative_half_width(errors) if sure else None)

    def predict(self, graphs: Sequence[OperatorGraph], *, missing: str = "guess") -> Prediction:
        """Simulate fused graphs; what is missing are operators of which the runtime's rules do not tell what they need.

        With some of these the figure is a lower bound; coverage is the share of nodes that the rules tell.
        """
        check_missing(missing)
        return self._around(graphs, missing)

    def predict_catalogue(self, catalogue: Catalogue) -> Prediction:
        """Simulate all networks of a catalogue, in order."""
        count = len(catalogue.wires)
        chunks = (range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK))
        return self._around((graph for rows in chunks for graph in catalogue.graphs(rows)), "guess")

    def idle(self, catalogue: Catalogue) -> float:
        """The network's own inputs."""
        sizes = [sum(tensor.bytes for tensor in tensors) for tensors in catalogue.inputs]
        return float(max(min(sizes, default=1), 1))

    def save(self, folder: Path) -> None:
        """Write `simulation.json`."""
        (folder / "simulation.json").write_text(json.dumps({"schema": _SCHEMA, "half_width": self.half_width}))

    @staticmethod
    def load(folder: Path) -> Simulation:
        """Read `simulation.json`.

        Raises:
            SchemaMismatch: it is missing, damaged, or of another schema.
        """
        path = folder / "simulation.json"
        data = read_json(path, _SCHEMA, _REMEDY)
        with understood(f"cannot read {path}", _REMEDY):
            if data["half_width"] is not None:
                check_numbers("half_width", (data["half_width"],), 1, least=0.0)
            return Simulation(data["half_width"])

    def _around(self, graphs: Iterable[OperatorGraph], missing: str) -> Prediction:
        values, coverage, unknown = [], [], []
        for graph in graphs:
            simulated, untold = _simulated(graph)
            values.append(simulated)
            told = sum(operator.kind not in untold for operator in graph.operators)
            coverage.append(told / max(len(graph.operators), 1) if untold else 1.0)
            unknown.append(untold)
        if missing == "raise":
            require_known(tuple(unknown))
        value: NDArray[np.float64] = np.array(values, dtype=np.float64)
        low, high = intervals.around(value, self.half_width, np.zeros_like(value))
        return Prediction(value, low, high, "bytes", np.array(coverage, dtype=np.float64), tuple(unknown))


PREDICTOR = Simulation


def simulated_bytes(graph: OperatorGraph) -> float:
    """Weights, and the peak of the runtime's allocator."""
    return _simulated(graph)[0]


def _simulated(graph: OperatorGraph) -> tuple[float, tuple[str, ...]]:
    """Weights and peak, and the operators of which the rules do not tell what they need."""
    found = allocation(graph, graph.runtime)
    held = sum(tensor.bytes for tensor in weights(graph).values())
    return float(held + found.peak_bytes), found.unknown
