"""Data to learn from, one file for each kind; each claims the names that it can load.

Example:
    >>> from nas.weights import data
    >>> data.claiming("digits").forms
    'digits'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from device_profiles.errors import UsageError
from device_profiles.registry import Registry
from nas.weights.data.pixels import require_limit
from nas.weights.data.protocol import Data, DataKind, Part, Task, Wanted

__all__ = ["REGISTRY", "Data", "DataKind", "Part", "Task", "Wanted", "claiming", "fingerprint", "load", "named"]

REGISTRY: Registry[DataKind] = Registry(
    "data",
    "nas.weights.data",
    attribute="DATA",
    skip=("alphabet", "augmentation", "files", "pixels", "protocol", "tasks"),
)


def claiming(name: str) -> DataKind:
    """The kind that takes a name.

    Raises:
        UsageError: none does, and there is no folder of that name.
    """
    forms = []
    for _, kind in REGISTRY:
        if kind.claims(name):
            return kind
        forms.append(kind.forms)
    more = ", and no kind of data takes such a file" if Path(name).is_file() else ""
    raise UsageError(f"there is no image folder {name}{more}", hint=f"Data: {' · '.join(forms)}.")


def fingerprint(name: str) -> str:
    """16 hexadecimal digits of what a data set holds, to see whether it has changed; "" for what cannot.

    Raises:
        UsageError: there is nothing of that name.
    """
    return claiming(name).fingerprint(name)


def load(name: str, wanted: Wanted, *, seed: int, limit: int | None = None) -> Data:
    """Read data for a space's networks.

    Args:
        name: of the data.
        wanted: by the networks.
        seed: of the division into training, validation and test.
        limit: examples of each part at most, or None.

    Raises:
        UsageError: there is nothing of that name, the networks read something else, or the limit is below 1.
        InvalidData: it holds what cannot be learned from.
    """
    require_limit(limit)
    return claiming(name).load(name, wanted, seed=seed, limit=limit)


def named(data: Any) -> str | None:
    """The name of data that were given by name or as an object; None for none.

    Raises:
        UsageError: an object is no data set.
        InvalidData: a data set holds what cannot be used.
    """
    if data is None or isinstance(data, str):
        return data
    if isinstance(data, Path):
        return str(data)
    from nas.weights.data.dataset import keep

    return keep(data)
