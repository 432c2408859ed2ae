"""Exact counts: parameters and multiply-accumulate operations, from the exported graph."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from device_profiles.errors import ConstantNetwork
from nas.arrays import Archs
from nas.evaluators.protocol import Context
from nas.objectives import Objective, Values
from nas.spaces.protocol import Space


@dataclass(frozen=True)
class Counted:
    """Counts, remembered for each distinct network."""

    objective: Objective
    space: Space
    free: bool = False
    identity: str = ""
    known: dict[bytes, float] = field(default_factory=dict)

    def evaluate(self, archs: Archs) -> Values:
        """Counts; those of a network without a function are those of what remains: none."""
        canonical = self.space.canonical(archs)
        found = []
        for row in canonical:
            key = row.tobytes()
            if key not in self.known:
                self.known[key] = self._count(row)
            found.append(self.known[key])
        return Values(np.array(found, dtype=np.float64))

    def _count(self, arch: Archs) -> float:
        from profiler import work
        from profiler.capture import BlockCache, stitch
        from profiler.onnx_graph import read_graph

        try:
            graph = read_graph(stitch(self.space.assembly(arch), BlockCache.default()))
        except ConstantNetwork:
            return 0.0
        return float(work.parameters(graph) if self.objective.spec == "params" else work.graph_macs(graph))


class CountedKind:
    """`params` and `macs`."""

    forms = "params · macs"
    settings = ()

    def claims(self, spec: str) -> bool:
        """The two words."""
        return spec in ("params", "macs")

    def default_name(self, spec: str) -> str:
        """The word itself."""
        return spec

    def open(self, name: str, spec: str, context: Context) -> Counted:
        """Counts of the search's space."""
        unit = {"params": "parameters", "macs": "MACs"}[spec]
        return Counted(Objective(name, unit, False, "counted", spec), context.space)


EVALUATOR = CountedKind()
