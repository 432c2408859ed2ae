"""Measurements in a database: an SQLite file by default, any SQLAlchemy URL for a lab.

Example:
    >>> from profiler.store import Store
    >>> with Store("runs/a.db") as store:  # doctest: +SKIP
    ...     store.targets()
"""

from device_profiles.errors import ConditionMismatch
from profiler.database import NoStore, StoreBusy, StoreFull
from profiler.records import BlockRow, ModelRow, ProfileRow
from profiler.store.store import Store

__all__ = ["BlockRow", "ConditionMismatch", "ModelRow", "NoStore", "ProfileRow", "Store", "StoreBusy", "StoreFull"]
