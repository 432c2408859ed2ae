"""What the device does: `latency:measured`, on the target of the search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from device_profiles.errors import ConstantNetwork, UsageError
from device_profiles.profile import Target
from nas.arrays import Archs
from nas.evaluators.protocol import Context, Traits
from nas.objectives import Objective, Values
from nas.spaces.export import subject
from nas.spaces.protocol import Space
from profiler import campaign
from profiler.measurement import CONFIDENCE
from profiler.store import Store
from profiler.subjects import Subject


@dataclass(frozen=True)
class Measured:
    """Measurements as an objective; each distinct network is measured once, and kept in the run's store."""

    objective: Objective
    space: Space
    target: Target
    store: Store
    seed: int
    wait: bool = False
    free: bool = False
    identity: str = ""
    traits: ClassVar[Traits] = Traits(batched=True)

    def evaluate(self, archs: Archs) -> Values:
        """Measure those that the store does not know yet, together."""
        subjects: list[Subject | None] = []
        for arch in archs:
            try:
                subjects.append(subject(self.space, arch, batch=self.target.batch))
            except ConstantNetwork:
                subjects.append(None)
        wanted = [one for one in subjects if one is not None]
        budget = campaign.Budget(max_processes=3, profile_runs=0, memory=False)
        outcome = campaign.measure(
            wanted, target=self.target, store=self.store, budget=budget, seed=self.seed, wait=self.wait
        )
        found = {one.model: one.latency for one in outcome.measurements}
        latencies = [found.get(one.id) if one is not None else None for one in subjects]
        columns = [
            np.array([np.nan if one is None else getattr(one, field) for one in latencies])
            for field in ("value_ms", "low_ms", "high_ms")
        ]
        value, low, high = columns
        return Values(value, low, high, confidence=CONFIDENCE)


class MeasuredKind:
    """`latency:measured`."""

    forms = "latency:measured"
    settings = ()

    def claims(self, spec: str) -> bool:
        """The one spec."""
        return spec == "latency:measured"

    def default_name(self, spec: str) -> str:
        """The cost."""
        return "latency"

    def open(self, name: str, spec: str, context: Context) -> Measured:
        """Measure on the search's target.

        Raises:
            UsageError: the search has no target.
        """
        if context.target is None:
            raise UsageError(
                "latency:measured needs a device", hint="Give one with --target; `hwnas devices list` shows them."
            )
        return Measured(
            Objective(name, "ms", False, "measured", spec),
            context.space,
            context.target,
            context.store,
            context.seed,
            context.wait,
        )


EVALUATOR = MeasuredKind()
