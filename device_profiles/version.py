"""Versions of what is installed."""

from __future__ import annotations

from functools import lru_cache


def version() -> str:
    """Of the distribution `hwnas`; "unknown" where the packages are used without being installed."""
    from importlib.metadata import PackageNotFoundError

    try:
        return installed("hwnas")
    except PackageNotFoundError:
        return "unknown"


@lru_cache
def installed(distribution: str) -> str:
    """Of any distribution, read once: the standard library reads files for each answer.

    Raises:
        PackageNotFoundError: it is not installed.
    """
    from importlib.metadata import version as read

    return read(distribution)
