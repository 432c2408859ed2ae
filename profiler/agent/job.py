"""A job: what to measure and how. The same file goes to every device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: Version of the measuring protocol. Numbers of different versions are not mixed.
#: 1: first (2026-11).
#: 2: the call that costs least is timed; blocks tell their CPU time; sentinels as long as the block asks (2026-11).
PROTOCOL_VERSION = 2


@dataclass(frozen=True)
class JobPlan:
    """How blocks are taken.

    Attributes:
        seed: of the order of the candidates.
        rounds: blocks wanted of each candidate in this process.
        min_rounds: blocks taken of each even if `seconds` has passed; a slow model is given no more.
        seconds: time for the rounds, in seconds of the clock.
        min_block_ns: a block lasts at least this, and at least 1000 ticks of the clock.
        min_calls: calls in a block, at least, unless fewer take long.
        slow_ratio: a block whose sentinel is this much over the reference is taken again (Jetpack's benchmark rule:
            1.10).
        retry_share: share of `rounds` that may be spent on such repeats.
        reference_ns: the device's reference sentinel, as far as it is known, or None.
    """

    seed: int = 0
    rounds: int = 15
    min_rounds: int = 3
    seconds: float = 30.0
    min_block_ns: int = 1_000_000
    min_calls: int = 4
    slow_ratio: float = 1.10
    retry_share: float = 0.3
    reference_ns: float | None = None


@dataclass(frozen=True)
class Candidate:
    """One model to measure.

    Attributes:
        id: the store's name for it.
        file: path of what the compiler made of the model, relative to the job's folder.
        profile_runs: inferences under the runtime's profiler; 0 for none.
        memory: whether to measure the peak memory of a process that runs it.
        optimisation: in place of the job's; a fused kernel is not to be optimised again. None for the job's.
        inputs: path of an `.npz` with one array for each of `input_names`, in order, relative to the job's folder;
            empty if the runtime draws them.
        input_names: of the model's inputs.
        expected: path of an `.npz` with sets of inputs and what ONNX defines as their outputs: for each set the arrays
            of `expected_names`, then those of the outputs; empty if outputs are not compared.
        expected_names: of the model's inputs there.
        sets: how many sets there are.
        calibration: digest of what the model was calibrated on, told with the comparison.
        allowed: the largest deviation with which it runs in the precision that was asked for; 0 for any.
        energy: whether a window of the meter is wanted.
    """

    id: str
    file: str
    profile_runs: int = 0
    memory: bool = False
    optimisation: str | None = None
    inputs: str = ""
    input_names: tuple[str, ...] = ()
    expected: str = ""
    expected_names: tuple[str, ...] = ()
    sets: int = 0
    calibration: str = ""
    allowed: float = 0.0
    energy: bool = False


@dataclass(frozen=True)
class Metering:
    """How energy is taken.

    Attributes:
        meter: its registered name.
        window_s: a window lasts at least this long.
        seconds: no window begins when the worker has run for so long; one is taken in any case.
        hardware: facts of the target, for a meter that needs one.
    """

    meter: str
    window_s: float
    seconds: float
    hardware: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to know.

    Attributes:
        nonce: returned with every line, so that a result cannot be taken for another job's.
        runtime: its registered name.
        threads: threads of the runtime.
        precision: see `RuntimeOptions`.
        optimisation: see `RuntimeOptions`.
        options: the runtime's own settings.
        affinity: CPUs to pin to, before the runtime is imported; empty for no pinning.
        plan: how blocks are taken.
        candidates: what to measure.
        empty: path of the smallest model, whose time is what a call costs; empty if calls cost nothing.
        metering: how energy is taken, or None.
    """

    nonce: str
    runtime: str
    candidates: tuple[Candidate, ...]
    plan: JobPlan = field(default_factory=JobPlan)
    threads: int = 1
    precision: str = "fp32"
    optimisation: str = "all"
    options: Mapping[str, Any] = field(default_factory=dict)
    affinity: tuple[int, ...] = ()
    empty: str = ""
    metering: Metering | None = None

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        path.write_text(json.dumps({"schema": "hwnas.job/1", **asdict(self)}))

    @staticmethod
    def read(path: Path) -> Job:
        """Read what `write` wrote."""
        data = json.loads(path.read_text())
        if data.pop("schema") != "hwnas.job/1":
            raise ValueError(f"{path}: not a job of schema hwnas.job/1")
        named = ("input_names", "expected_names")
        candidates = tuple(
            Candidate(**{**candidate, **{name: tuple(candidate.get(name, ())) for name in named}})
            for candidate in data.pop("candidates")
        )
        affinity = tuple(data.pop("affinity"))
        metering = data.pop("metering", None)
        return Job(
            candidates=candidates,
            plan=JobPlan(**data.pop("plan")),
            affinity=affinity,
            metering=None if metering is None else Metering(**metering),
            **data,
        )
