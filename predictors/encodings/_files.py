"""Files of encodings: arrays, and facts as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.reading import parse_json
from predictors.sealed import read_tensors


def write(path: Path, tensors: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write a file that `read` reads."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    save_file(arrays, path, metadata={"facts": json.dumps(facts)})


def read(path: Path) -> tuple[dict[str, NDArray[Any]], Any]:
    """Arrays and facts.

    Raises:
        ValueError: the file is damaged.
        LookupError: it has no facts.
    """
    tensors, metadata = read_tensors(path)
    return tensors, parse_json(metadata["facts"], "facts")
