"""What a device did, summarised from raw blocks. A measurement is never a prediction and never an objective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from device_profiles.facts import Unavailable

#: That a repeated measurement falls into the interval of a latency.
CONFIDENCE = 0.95
#: Why a latency is degraded, and what to do about it.
CAUSES = {
    "contention": "other programs took the CPU meanwhile: stop them or pin them elsewhere, and run again",
    "slow state": "the machine was slower than it can be: run again when it is calm",
    "throttled": "the device said that heat or power slowed it down: cool it, and leave its limits alone",
    "too few processes": "fresh processes disagree more than blocks of one: run again with more --budget",
    "wide": "processes disagree: run again with more --budget, on a calmer machine",
}


@dataclass(frozen=True)
class Latency:
    """Latency of one model under stated conditions.

    Attributes:
        value_ms: time in the machine's best state, the figure that repeats (see `profiler.statistics`).
        low_ms: lower end of the interval that a repeated measurement falls into with 95 % confidence.
        high_ms: its upper end.
        typical_ms: median of what was seen, slow states included.
        state: `stable`, or `degraded` for one of the `causes`.
        processes: fresh processes that the value comes from.
        blocks: blocks, those that were taken again included.
        causes: why it is degraded, from `CAUSES`; empty if it is stable.
    """

    value_ms: float
    low_ms: float
    high_ms: float
    typical_ms: float
    state: str
    processes: int
    blocks: int
    causes: tuple[str, ...] = ()

    @property
    def spread(self) -> float:
        """Half-width of the interval over the value."""
        return (self.high_ms - self.low_ms) / 2 / self.value_ms

    @property
    def disturbed(self) -> bool:
        """Whether the machine was not as it can be: measuring on may find it calm."""
        return not {"contention", "slow state", "throttled"}.isdisjoint(self.causes)

    def to_plain(self) -> dict[str, Any]:
        """As JSON-ready data, in ms."""
        return {
            "value": self.value_ms,
            "low": self.low_ms,
            "high": self.high_ms,
            "typical": self.typical_ms,
            "state": self.state,
            "processes": self.processes,
            "blocks": self.blocks,
            "causes": list(self.causes),
        }


@dataclass(frozen=True)
class Memory:
    """Three different figures, in bytes, never mixed.

    Attributes:
        planned: peak of live tensors on the fused graph, weights included.
        allocator: peak that the runtime's allocator reported.
        process: peak resident memory of a process that loads and runs the model once.
    """

    planned: int | Unavailable
    allocator: int | Unavailable
    process: int | Unavailable


@dataclass(frozen=True)
class Deviation:
    """Of the outputs of one model in the precision of its target.

    Attributes:
        largest: the largest of any output, over the largest value that ONNX defines in that output.
        mean: root of the mean square of all of them, over that of all values.
        sets: sets of inputs that it is of.
        calibration: digest of the sets that the model was calibrated on.
    """

    largest: float
    mean: float
    sets: int
    calibration: str

    def to_plain(self) -> dict[str, Any]:
        """As JSON-ready data, fractions."""
        return {"largest": self.largest, "mean": self.mean, "sets": self.sets, "calibration": self.calibration}


@dataclass(frozen=True)
class MeteredEnergy:
    """Energy of one inference of one model, from windows of many.

    Attributes:
        value_mj: net of what the device takes when idle, the median of the windows.
        low_mj: lower end of the interval that a repeated measurement falls into with 95 % confidence; None with one
            window, of which nothing is known.
        high_mj: its upper end, or None.
        gross_mj: all that the sensor saw, the median of the windows.
        sensor: which sensor, and what it covers.
        update_ms: how often the sensor is renewed.
        windows: that it comes from.
        modelled: it was worked out from a stated power, and not measured.
    """

    value_mj: float
    low_mj: float | None
    high_mj: float | None
    gross_mj: float
    sensor: str
    update_ms: float
    windows: int
    modelled: bool = False

    def to_plain(self) -> dict[str, Any]:
        """As JSON-ready data, in mJ."""
        return {
            "value": self.value_mj,
            "low": self.low_mj,
            "high": self.high_mj,
            "gross": self.gross_mj,
            "sensor": self.sensor,
            "update_ms": self.update_ms,
            "windows": self.windows,
            "modelled": self.modelled,
        }


@dataclass(frozen=True)
class Measurement:
    """One model on one target.

    Attributes:
        model: the store's id of the model.
        name: for people.
        space: spec of the space it comes from, or None.
        arch: its text form in the space, or None.
        latency: see `Latency`.
        energy_mj: energy of one inference, or why there is none.
        memory: see `Memory`.
        closure: (sum of kernels - model) / model: how far the runtime's profiler is from the unprofiled time; None if
            unprofiled. What an empty call costs is counted with the kernels.
        closure_note: why it is beyond what profilers usually add, or that nobody knows; None if it is not.
        call_ms: what an empty call of the runtime costs, part of the latency; or why it is not known.
        batch: inputs in one inference, from the model's own shapes; None where these tell no single number.
        deviation: how far its outputs are from what ONNX defines, or why that is not known; None where nothing was
            compared, as in fp32.
        same_as: name of the model that was measured in its place: of equal structure, types and classes of weights.
    """

    model: str
    name: str
    space: str | None
    arch: str | None
    latency: Latency
    energy_mj: MeteredEnergy | Unavailable
    memory: Memory
    closure: float | None
    call_ms: float | Unavailable
    closure_note: str | None = None
    batch: int | None = 1
    deviation: Deviation | Unavailable | None = None
    same_as: str | None = None

    @property
    def throughput_per_s(self) -> dict[str, float] | None:
        """Inputs in a second, with the ends of the interval; None where an inference has one."""
        if self.batch is None or self.batch < 2:
            return None
        latency, each = self.latency, 1e3 * self.batch
        ends = {"value": latency.value_ms, "low": latency.high_ms, "high": latency.low_ms}
        return {name: each / ms for name, ms in ends.items()}

    def __repr__(self) -> str:
        latency = self.latency
        return f"Measurement({self.name!r}: {latency.value_ms:.4g} ms, {latency.low_ms:.4g} to {latency.high_ms:.4g})"

    def to_plain(self) -> dict[str, Any]:
        """What was measured as JSON-ready data; what is missing says why."""
        return {
            "latency_ms": self.latency.to_plain(),
            "energy_mj": _plain(self.energy_mj),
            "memory_bytes": {name: _plain(getattr(self.memory, name)) for name in ("planned", "allocator", "process")},
            "closure": self.closure,
            "closure_note": self.closure_note,
            "call_ms": _plain(self.call_ms),
            "batch": self.batch,
            **({"throughput_per_s": self.throughput_per_s} if self.throughput_per_s is not None else {}),
            **({"deviation": _plain(self.deviation)} if self.deviation is not None else {}),
            **({"same_as": self.same_as} if self.same_as is not None else {}),
        }


def _plain(value: float | Deviation | MeteredEnergy | Unavailable) -> Any:
    if isinstance(value, (Deviation, MeteredEnergy)):
        return value.to_plain()
    return {"unavailable": value.reason} if isinstance(value, Unavailable) else value


@dataclass(frozen=True)
class Failure:
    """A model that could not be measured.

    Attributes:
        model: the store's id of the model.
        name: for people.
        arch: its text form in its space, or None.
        kind: the error's type.
        reason: what happened.
        hint: what to do.
    """

    model: str
    name: str
    arch: str | None
    kind: str
    reason: str
    hint: str
