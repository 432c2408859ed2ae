"""The version that is installed."""

from __future__ import annotations


def version() -> str:
    """Of the distribution `hwnas`; "unknown" where the packages are used without being installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("hwnas")
    except PackageNotFoundError:
        return "unknown"
