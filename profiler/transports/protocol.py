"""What a transport is: it starts the agent on the device and brings back its lines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from device_profiles.errors import DeviceError


class TimedOut(DeviceError):
    """The agent was silent for too long."""


class AgentEnded(DeviceError):
    """The agent ended with an error."""


class LinkLost(DeviceError):
    """The link to a device is gone; the device may come back."""


class Unreachable(LinkLost):
    """There is no way to the device now."""


class DeviceFull(DeviceError):
    """The device has no space for what is sent to it."""


class NotDeployed(DeviceError):
    """The device has no agent, or one of another version."""


class HostKeyUnknown(DeviceError):
    """Nobody has ever said that this is the host."""


class HostKeyChanged(DeviceError):
    """The host is another one than it was."""


class Transport(Protocol):
    """A way to one device. Timing happens there, never across the link."""

    #: Names of the options that a profile may give; a profile may come from anybody, so none may name code that runs.
    options: ClassVar[tuple[str, ...]]
    #: How often in a row a campaign goes on after a lost link without having got anything; 0 where there is no link.
    retries: ClassVar[int]

    def held(self, *, wait: bool) -> AbstractContextManager[None]:
        """Hold the device's own lock, where that is not this machine's, which the campaign holds.

        Raises:
            DeviceBusy: somebody else measures there.
        """

    def drop(self) -> None:
        """End the link, if there is one; the next call makes another."""

    def facts(self, runtime: str) -> Mapping[str, Any]:
        """What the device says of itself: `profiler.agent.facts.of_device` there.

        Args:
            runtime: registered name.

        Raises:
            DeviceError: the runtime is not installed there, or the device cannot be reached.
        """

    def check(self, seconds: float, runtime: str) -> Mapping[str, Any]:
        """Watch the device for some seconds: what `profiler.agent.checks.watch` says there."""

    def run(self, folder: Path, environment: Mapping[str, str], silence_s: Callable[[], float]) -> Generator[str]:
        """Run the agent on `folder/job.json` and yield its lines as they come.

        The folder holds the job and its models. Closing the generator kills the agent.

        Args:
            folder: job folder on this machine.
            environment: variables to set for the agent, such as `OMP_NUM_THREADS`.
            silence_s: how many seconds the agent may be silent now; it is killed after that.

        Raises:
            TimedOut: it was silent for longer.
            AgentEnded: it ended with an error; the message carries the end of its standard error.
        """


class MakeTransport(Protocol):
    """A module's `TRANSPORT`: the class of the transport."""

    @property
    def options(self) -> tuple[str, ...]:
        """See `Transport`."""

    def __call__(self, address: str, options: Mapping[str, object]) -> Transport:
        """A way to the device at `address`."""
