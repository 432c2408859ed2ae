"""What a target is: a device plus the way it runs models; its conditions; units; errors.

Example:
    >>> import device_profiles
    >>> target = device_profiles.load("local-onnxruntime")
    >>> target.runtime.threads
    1

It describes and checks. It does not measure, predict or search, and importing it imports nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from device_profiles.checks import Check, doctor
    from device_profiles.conditions import Conditions
    from device_profiles.errors import HwnasError
    from device_profiles.facts import Unavailable, Unknown
    from device_profiles.host import detect, host_facts
    from device_profiles.profile import Access, Fact, RuntimeChoice, Target, load, names, save

__all__ = [
    "Access", "Check", "Conditions", "Fact", "HwnasError", "RuntimeChoice", "Target", "Unavailable", "Unknown",
    "detect", "doctor", "host_facts", "load", "names", "save",
]  # fmt: skip

_HOMES = {
    "conditions": ("Conditions",),
    "host": ("detect", "host_facts"),
    "checks": ("Check", "doctor"),
    "errors": ("HwnasError",),
    "facts": ("Unavailable", "Unknown"),
    "profile": ("Access", "Fact", "RuntimeChoice", "Target", "load", "names", "save"),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    for home, exported in _HOMES.items():
        if name in exported:
            value = getattr(import_module(f"device_profiles.{home}"), name)
            globals()[name] = value  # also where a submodule has the same name
            return value
    raise AttributeError(f"module 'device_profiles' has no attribute {name!r}")
