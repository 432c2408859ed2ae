"""Measuring is exclusive per device: a lock file with its owner and age."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from device_profiles.cache import cache_folder
from device_profiles.errors import DeviceBusy


@contextlib.contextmanager
def device_lock(device_id: str, *, folder: Path | None = None) -> Iterator[None]:
    """Hold a device while measuring.

    The lock is an operating-system lock on the file, so it ends with its process, however that ends.

    Args:
        device_id: see `Target.device_id`.
        folder: where the lock file lies; the cache folder if None.

    Raises:
        DeviceBusy: another process holds it; the message says which and since when.
    """
    import fcntl

    place = folder or cache_folder() / "locks"
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{hashlib.sha256(device_id.encode()).hexdigest()[:16]}.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise DeviceBusy(
                f"device {device_id!r} is being measured by {_owner(file.read())}",
                hint="Wait for it: two measurements at once would both be wrong.",
            ) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "since_s": time.time()}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _owner(text: str) -> str:
    try:
        owner = json.loads(text)
        return f"process {owner['pid']}, for {time.time() - owner['since_s']:.0f} s"
    except (ValueError, KeyError, TypeError):
        return "another process"
