"""`hwnas`: the command line, and the packages under one name.

Example:
    >>> import hwnas
    >>> target = hwnas.device_profiles.load("local-onnxruntime")
    >>> space = hwnas.nas.spaces.load("nasbench201")
"""

from __future__ import annotations

if __name__ == "__main__":
    from hwnas_cli import start  # first of all: it takes care of interrupts

import device_profiles
import nas
import predictors
import profiler
from device_profiles.version import version

__all__ = ["__version__", "device_profiles", "main", "nas", "predictors", "profiler"]

__version__ = version()


def main() -> None:
    """Run the command line."""
    from hwnas_cli.start import main as run

    run()


if __name__ == "__main__":
    start.main()
