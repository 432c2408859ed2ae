"""What happened on a device: operators, runtimes, the measuring protocol, campaigns, the store.

Example:
    >>> import device_profiles, profiler
    >>> from profiler import subjects
    >>> target = device_profiles.load("local-onnxruntime")
    >>> with profiler.Store("runs/demo.db") as store:                                              # doctest: +SKIP
    ...     profiler.measure([subjects.from_file(path)], target=target, store=store)

It measures and keeps what was measured. It does not predict, search, or judge; and importing it imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from profiler.campaign import Budget, Outcome, measure
    from profiler.comparison import compare
    from profiler.measurement import Failure, Latency, Measurement, Memory
    from profiler.store import NoStore, Store
    from profiler.subjects import Subject

__all__ = [
    "Budget",
    "Failure",
    "Latency",
    "Measurement",
    "Memory",
    "NoStore",
    "Outcome",
    "Store",
    "Subject",
    "compare",
    "measure",
]

_HOMES = {
    "campaign": ("Budget", "Outcome", "measure"),
    "comparison": ("compare",),
    "measurement": ("Failure", "Latency", "Measurement", "Memory"),
    "store": ("NoStore", "Store"),
    "subjects": ("Subject",),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    for home, exported in _HOMES.items():
        if name in exported:
            value = getattr(import_module(f"profiler.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'profiler' has no attribute {name!r}")
