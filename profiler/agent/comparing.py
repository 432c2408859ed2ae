"""How far the outputs of a model are from what ONNX defines. Standard library and numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Outputs = Sequence[Any]


def far(run: Callable[[Mapping[str, Any]], Outputs], file: Path, names: Sequence[str], sets: int) -> dict[str, Any]:
    """The largest and the mean deviation over sets of inputs.

    Args:
        run: outputs of the model for inputs by name.
        file: see `profiler.agent.job.Candidate.expected`.
        names: of its inputs.
        sets: how many there are.

    Returns:
        `largest`: of any output, over the largest value that ONNX defines in it; `mean`: root of the mean square of all
        deviations over that of all values; or `unavailable`, why they cannot be compared.
    """
    with np.load(file, allow_pickle=False) as known:
        arrays = [known[f"arr_{position}"] for position in range(len(known.files))]
    each = len(arrays) // sets
    largest, squares, total = 0.0, 0.0, 0.0
    for start in range(0, each * sets, each):
        inputs = dict(zip(names, arrays[start : start + len(names)], strict=True))
        wanted = arrays[start + len(names) : start + each]
        got = run(inputs)
        if [np.size(one) for one in got] != [one.size for one in wanted]:
            return {"unavailable": "its outputs have other sizes than ONNX defines"}
        for own, defined in zip(got, wanted, strict=True):
            if defined.dtype.kind != "f" or not defined.size or not np.isfinite(defined).all():
                continue
            exact = defined.astype(np.float64).reshape(-1)
            apart = np.asarray(own).astype(np.float64).reshape(-1) - exact
            if not np.isfinite(apart).all():
                return {"unavailable": "its outputs are not finite, and those that ONNX defines are"}
            scale = float(np.abs(exact).max())
            if scale > 0.0:
                largest = max(largest, float(np.abs(apart).max()) / scale)
                squares += float(np.square(apart).sum())
                total += float(np.square(exact).sum())
    if total == 0.0:
        return {"unavailable": "no output is of floating point, finite and other than 0"}
    return {"largest": largest, "mean": (squares / total) ** 0.5}
