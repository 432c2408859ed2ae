"""What a transport is: it starts the agent on the device and brings back its lines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from device_profiles.errors import DeviceError


class TimedOut(DeviceError):
    """The agent was silent for too long."""


class Transport(Protocol):
    """A way to one device. Timing happens there, never across the link."""

    #: Names of the options that a profile may give; a profile may come from anybody, so none may name code that runs.
    options: ClassVar[tuple[str, ...]]

    def facts(self, runtime: str) -> Mapping[str, Any]:
        """What the device says of itself: `profiler.agent.facts.of_device` there.

        Args:
            runtime: registered name.

        Raises:
            DeviceError: the runtime is not installed there, or the device cannot be reached.
        """

    def run(self, folder: Path, environment: Mapping[str, str], silence_s: Callable[[], float]) -> Generator[str]:
        """Run the agent on `folder/job.json` and yield its lines as they come.

        The folder holds the job and its models. Closing the generator kills the agent.

        Args:
            folder: job folder on this machine.
            environment: variables to set for the agent, such as `OMP_NUM_THREADS`.
            silence_s: how many seconds the agent may be silent now; it is killed after that.

        Raises:
            TimedOut: it was silent for longer.
            DeviceError: the agent ended with an error; the message carries the end of its standard error.
        """


class MakeTransport(Protocol):
    """A module's `TRANSPORT`: the class of the transport."""

    @property
    def options(self) -> tuple[str, ...]:
        """See `Transport`."""

    def __call__(self, address: str, options: Mapping[str, object]) -> Transport:
        """A way to the device at `address`."""
