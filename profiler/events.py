"""What a campaign tells while it runs. The library never prints; whoever calls it decides what to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class CampaignStarted:
    """A campaign begins: `models` wanted, `measured` of them already known well enough, `budget_s` of device time."""

    models: int
    measured: int
    budget_s: float


@dataclass(frozen=True)
class ModelsConverted:
    """A converter has made what travels of `done` of `models`."""

    done: int
    models: int


@dataclass(frozen=True)
class ProcessStarted:
    """A fresh worker begins: the `number`-th of this campaign, with `models` in it."""

    number: int
    models: int


@dataclass(frozen=True)
class ModelLoaded:
    """A model was compiled and warmed up in the worker."""

    model: str


@dataclass(frozen=True)
class BlockTaken:
    """A block was committed; `spent_s` of the budget is used."""

    model: str
    round: int
    spent_s: float


#: Work on one model that takes this long is told before it is done.
SLOW_S = 1.0


@dataclass(frozen=True)
class SlowBlock:
    """A piece of work on one model begins that will take `seconds`, roughly; `spent_s` of the budget is used."""

    model: str
    seconds: float
    spent_s: float


@dataclass(frozen=True)
class ModelFailed:
    """A model cannot be measured."""

    model: str
    name: str
    reason: str


@dataclass(frozen=True)
class ProcessFinished:
    """A worker ended; `widest` is the largest relative half-width so far."""

    number: int
    widest: float


@dataclass(frozen=True)
class LinkLost:
    """The device is taken up again in `seconds`: why it was lost."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class DeviceLeft:
    """A device of a fleet takes no part, or no more."""

    address: str
    reason: str


Event = (
    CampaignStarted
    | ModelsConverted
    | ProcessStarted
    | ModelLoaded
    | BlockTaken
    | SlowBlock
    | ModelFailed
    | ProcessFinished
    | LinkLost
    | DeviceLeft
)
Listener = Callable[[Event], None]


def silent(_event: Event) -> None:
    """A listener that shows nothing."""
