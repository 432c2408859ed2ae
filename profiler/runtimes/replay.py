"""A runtime that replays recorded times: the same loop, the numbers of another day.

The target's option `recording` names a JSON file `{"models": {<id>: [ns, ...]}, "sentinel": [ns, ...]}`; a model's id
is the stem of its file. `profiler.store.Store.recording` makes one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from device_profiles.errors import InvalidData
from device_profiles.reading import parse_json, read_bytes
from profiler.runtimes.protocol import (
    Option,
    Profile,
    RuntimeOptions,
    Sentinel,
    Traits,
    require_options,
    require_precision,
)

_OPTIONS = {"recording": Option("the path of a recording", lambda value: isinstance(value, str) and value != "")}


#: Operations and bytes of its sentinels.
_SENTINEL_WORK = {"gemm": (2.1e7, 0.0), "alu": (0.0, 0.0), "memory": (0.0, 1.7e7)}


class ReplaySession:
    """The recorded times of one model, over and over."""

    def __init__(self, times: Iterator[float], spend: Callable[[float], None]) -> None:
        self._times = times
        self._spend = spend

    def run(self) -> None:
        """Let the next recorded time pass."""
        self._spend(next(self._times))

    @property
    def call(self) -> Callable[[], object]:
        """The same."""
        return self.run

    def outputs(self) -> list[Any]:
        """Nothing is computed."""
        return []

    def profile(self, runs: int) -> Profile | None:
        """Nothing was recorded."""
        return None

    def close(self) -> None:
        """Nothing is held."""


class ReplayRuntime:
    """Plays a recording on a clock of its own."""

    traits: ClassVar[Traits] = Traits(calls_cost=False, simulated=True)

    def __init__(self) -> None:
        self._now_ns = 0.0
        self._sentinel: Iterator[float] = itertools.repeat(400_000.0)

    @property
    def version(self) -> str:
        """Always `replay 1`."""
        return "replay 1"

    @property
    def clock(self) -> Callable[[], int]:
        """A counter."""

        def read() -> int:
            self._now_ns += 20.0
            return int(self._now_ns)

        return read

    def sentinels(self) -> Mapping[str, Sentinel] | None:
        """The recorded sentinels."""
        return {
            name: Sentinel(lambda: self._spend(next(self._sentinel)), operations, read)
            for name, (operations, read) in _SENTINEL_WORK.items()
        }

    def load(self, model: Path, options: RuntimeOptions, inputs: Mapping[str, Any] | None = None) -> ReplaySession:
        """Find the model in the recording."""
        _require(options)
        path = Path(str(options.options.get("recording", "")))
        hint = "Set the target's option 'recording' to a recording of it."
        recording = parse_json(read_bytes(path, hint=hint), str(path), hint=hint)
        try:
            times, sentinel = recording["models"][model.stem], recording.get("sentinel", [])
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidData(f"no recorded times of {model.stem} in {path}", hint=hint) from error
        for name, series in ((model.stem, times), ("the sentinel", sentinel)):
            if not isinstance(series, list) or not all(map(_is_time, series)) or not (series or series is sentinel):
                raise InvalidData(f"the recorded times of {name} in {path} are not a list of ns above 0", hint=hint)
        if sentinel:
            self._sentinel = itertools.cycle(sentinel)
        return ReplaySession(itertools.cycle(times), self._spend)

    def fuse(self, model: Path, options: RuntimeOptions) -> bytes | None:
        """Nodes stay as they are."""
        _require(options)
        return None

    def _spend(self, ns: float) -> None:
        self._now_ns += ns


RUNTIME = ReplayRuntime


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _require(options: RuntimeOptions) -> None:
    require_precision("replay", ReplayRuntime.traits, options.precision)
    require_options("replay", options.options, _OPTIONS)
