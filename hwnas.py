"""`hwnas`: the command line, and the packages under one name.

Example:
    >>> import hwnas
    >>> target = hwnas.device_profiles.load("local-onnxruntime")
    >>> space = hwnas.nas.spaces.load("nasbench201")
"""

from __future__ import annotations

import device_profiles
import nas
import predictors
import profiler

__all__ = ["device_profiles", "main", "nas", "predictors", "profiler"]


def main() -> None:
    """Run the command line."""
    from hwnas_cli.app import main as run

    run()


if __name__ == "__main__":
    main()
