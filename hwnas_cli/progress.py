"""Live progress on standard error: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from device_profiles.terminal import visible
from hwnas_cli.answer import say
from profiler import events

#: Seconds between two lines where standard error is no terminal.
_EVERY_S = 10.0


class Live:
    """Shows `(what, done, total)`; use it as a context manager."""

    def __init__(self) -> None:
        self._tasks: dict[str, Any] = {}
        self._said_s: dict[str, float] = {}
        self._bars: Any = None
        self._budget_s = 1

    def __enter__(self) -> Live:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._bars = Progress(
                TextColumn("{task.description:<32}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how far a piece of work is."""
        if self._bars is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total)
            self._bars.update(self._tasks[what], completed=done, total=total)
            return
        now = time.monotonic()
        ended = done >= total
        if what not in self._said_s or now - self._said_s[what] >= _EVERY_S or ended:
            if self._said_s.get(what) == float("inf"):
                return
            say(f"{what}: {done}/{total}")
            self._said_s[what] = float("inf") if ended else now

    def _slow(self, event: events.SlowBlock) -> None:
        """A piece of work that takes seconds is told once a model, since nothing else moves meanwhile."""
        if event.model not in self._said_s:
            self._said_s[event.model] = time.monotonic()
            say(f"a slow model: its blocks take about {event.seconds:.0f} s each")

    def campaign(self, event: events.Event) -> None:
        """Show a campaign's events."""
        if isinstance(event, events.CampaignStarted):
            self._budget_s = max(int(event.budget_s), 1)
            self("measured before", event.measured, event.models)
        elif isinstance(event, events.ModelsConverted):
            self("converting", event.done, event.models)
        elif isinstance(event, events.BlockTaken):
            self("measuring, s of device time", min(int(event.spent_s), self._budget_s), self._budget_s)
        elif isinstance(event, events.SlowBlock):
            self("measuring, s of device time", min(int(event.spent_s), self._budget_s), self._budget_s)
            self._slow(event)
        elif isinstance(event, events.LinkLost):
            say(visible(f"{event.reason}; trying again in {event.seconds:.0f} s", keep=""))
        elif isinstance(event, events.DeviceLeft):
            say(visible(f"{event.address} takes no part: {event.reason}", keep=""))
        elif isinstance(event, events.ModelFailed):
            say(visible(f"cannot measure {event.name}: {event.reason}", keep=""))
