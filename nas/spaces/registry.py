"""The registered spaces."""

from __future__ import annotations

from device_profiles.registry import Registry
from nas.spaces.protocol import MakeSpace

REGISTRY: Registry[MakeSpace] = Registry(
    "space",
    "nas.spaces",
    attribute="SPACE",
    skip=("export", "live", "mixture", "product", "protocol", "registry", "restricted", "table"),
)
