"""`hwnas`: the command line, and the packages under one name.

Example:
    >>> import hwnas
    >>> target = hwnas.device_profiles.load("local-onnxruntime")
    >>> space = hwnas.nas.spaces.load("nasbench201")

`hwnas.search` and `hwnas.objective` are those of `nas`, `hwnas.measure` measures a torch module.
"""

from __future__ import annotations

if __name__ == "__main__":
    from hwnas_cli import start  # first of all: it takes care of interrupts

from importlib import import_module
from typing import TYPE_CHECKING, Any

import device_profiles
import nas
import predictors
import profiler
from device_profiles.version import version

if TYPE_CHECKING:
    from nas import objective, search
    from profiler.modules import measure

__all__ = [
    "__version__",
    "device_profiles",
    "main",
    "measure",
    "nas",
    "objective",
    "predictors",
    "profiler",
    "search",
]

#: What is one line here, and where it is.
_HOMES = {"measure": "profiler.modules", "objective": "nas", "search": "nas"}

__version__ = version()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hwnas' has no attribute {name!r}")


def main() -> None:
    """Run the command line."""
    from hwnas_cli.start import main as run

    run()


if __name__ == "__main__":
    start.main()
