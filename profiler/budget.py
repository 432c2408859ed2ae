"""When a campaign stops."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.meters.protocol import WINDOW_S


@dataclass(frozen=True)
class Budget:
    """When a campaign stops.

    Attributes:
        spread: relative half-width of the interval that is good enough, for every model.
        device_s: seconds of device time for this call, or None for 1 s a model and at least 20 s.
        min_processes: fresh processes of each model, at least 3 for an interval.
        max_processes: and at most.
        rounds: blocks of a model in one process, at most.
        profile_runs: inferences of each model under the runtime's profiler, in its first process; 0 for none.
        memory: whether to measure process memory, in the first process.
        windows: of the target's energy meter, of each model; one a process. They take what blocks leave of `device_s`,
            which is larger by them if it is None.
        window_s: a window lasts at least this long, between idling for four fifths as long.
    """

    spread: float = 0.02
    device_s: float | None = None
    min_processes: int = 3
    max_processes: int = 20
    rounds: int = 15
    profile_runs: int = 20
    memory: bool = True
    windows: int = 3
    window_s: float = WINDOW_S
