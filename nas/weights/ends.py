"""Weights that gradient searches end with: by them what a run found is judged, not by those that it began with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.weights import going

#: Their files in a run's folder, each `supernet.end.SEARCH.RUN.safetensors`.
_FILES = "supernet.end.*.safetensors"


@dataclass
class Ends:
    """The sets of weights in a folder, each with the networks that are judged by it.

    Attributes:
        folder: of a run.
        fresh: makes a supernet that takes their states.
        near: whether networks that no run found are judged by the weights of the run whose find differs from them in
            the fewest genes, the earlier run of several.
    """

    folder: Path
    fresh: Callable[[], Any]
    near: bool = False
    _loaded: dict[Path, Any] = field(default_factory=dict)

    def add(self, search: int, run: int, archs: Archs, supernet: Any) -> None:
        """Keep weights for networks `(n, d)`, canonical, whole or not at all; those of equal numbers are gone."""
        path = self.folder / f"supernet.end.{search}.{run}.safetensors"
        tensors = {f"weights.{name}": tensor for name, tensor in supernet.state_dict().items()}
        going.write(path, tensors, {"identity": "end", "archs": json.dumps(archs.tolist())})
        self._finds[path] = archs
        self._loaded.pop(path, None)

    def of(self, arch: Archs) -> Any | None:
        """The supernet that a canonical network `(d,)` is judged by; None for that of the search.

        Raises:
            InvalidData: its file is damaged.
        """
        paths = sorted(self._finds, key=_numbers)
        far = [int((self._finds[path] != arch).sum(axis=1).min(initial=len(arch) + 1)) for path in paths]
        if not paths or (min(far) > 0 and not self.near):
            return None
        return self._load(paths[int(np.argmin(far))])

    @cached_property
    def _finds(self) -> dict[Path, Archs]:
        """The networks of each file; a run has one writer, so the folder is read once."""
        return {path: _finds(path) for path in self.folder.glob(_FILES)}

    def _load(self, path: Path) -> Any:
        if path not in self._loaded:
            self._loaded.clear()  # one at a time: each is as large as the supernet
            found = going.read(path, "end")
            assert found is not None
            supernet = self.fresh()
            try:
                supernet.load_state_dict(going.below("weights", found[0]))
            except (RuntimeError, ValueError, KeyError, UsageError) as error:
                raise going.damaged(path, error) from error
            self._loaded[path] = supernet
        return self._loaded[path]


def _finds(path: Path) -> Archs:
    try:
        return np.array(json.loads(going.facts(path)["archs"]), dtype=np.int64)
    except (ValueError, KeyError, TypeError) as error:
        raise going.damaged(path, error) from error


def _numbers(path: Path) -> tuple[int, int]:
    _, _, search, run, _ = path.name.split(".")
    return int(search), int(run)
