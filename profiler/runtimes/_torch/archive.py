"""Exported programs read from an archive, and tensors for their inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import InvalidModel, UsageError

_BESIDE, _SCHEMA = "hwnas.json", "hwnas.exported/1"


@dataclass(frozen=True)
class Archive:
    """A program.

    Attributes:
        name: of the file.
        program: torch's `ExportedProgram`.
        key: equal for equal programs.
        inputs: names.
        nodes: the operators that its calls are marked with: name, plain operator, names of what it reads.
        factory: `package.module:function` that makes the module which was exported; empty if there is none.
        path: the folder that it is imported from.
        graph: JSON of the operator graph that runs, where it is other than the file said; empty otherwise.
    """

    name: str
    program: Any
    key: str
    inputs: tuple[str, ...]
    nodes: tuple[Any, ...]
    factory: str = ""
    path: str = ""
    graph: str = ""

    def feed(self, given: Mapping[str, Any] | None) -> list[Any]:
        """A tensor for each input, of the type that the program takes: the given ones, or seeded values.

        Raises:
            InvalidModel: there is nothing for an input.
            UsageError: an array has another shape.
        """
        import torch

        rng = np.random.default_rng(0)
        feed = []
        for name, wanted in zip(self.inputs, self._placeholders(), strict=True):
            shape = tuple(int(extent) for extent in wanted.shape)
            if given is not None and name not in given:
                raise InvalidModel(f"{self.name}: there is nothing for its input {name!r}")
            if given is not None:
                array = np.asarray(given[name])
                if array.shape != shape:
                    raise UsageError(f"{self.name}: input {name!r} is {shape}, got {array.shape}")
            elif wanted.dtype.is_floating_point:
                array = rng.standard_normal(shape).astype(np.float32)
            else:
                array = rng.integers(0, 2, shape)
            feed.append(torch.from_numpy(np.array(array)).to(wanted.dtype))
        return feed

    def _placeholders(self) -> list[Any]:
        names = set(self.program.graph_signature.user_inputs)
        nodes = [node for node in self.program.graph.nodes if node.op == "placeholder" and node.name in names]
        return [node.meta["val"] for node in nodes]


def read(model: Path) -> Archive:
    """Read an archive.

    Raises:
        InvalidModel: it is none, or not one of this toolkit.
    """
    import torch

    if not model.is_file():
        raise InvalidModel(f"there is no model file {model}", hint="Give the path of a .pt2 archive.")
    beside = {_BESIDE: ""}
    try:
        program = torch.export.load(model, extra_files=beside)
        data = json.loads(beside[_BESIDE])
        if data["schema"] != _SCHEMA:
            raise ValueError(f"its schema is {data['schema']}")
        inputs, nodes = tuple(data["inputs"]), tuple(data["nodes"])
        more = (str(data.get(name, "")) for name in ("factory", "path", "graph"))
        return Archive(model.name, program, data["key"], inputs, nodes, *more)
    except Exception as error:  # torch raises whatever its readers do
        words = " ".join(str(error).split())[:200]
        raise InvalidModel(
            f"{model.name} is no exported program of this toolkit: {type(error).__name__}: {words}",
            hint="Measure the ONNX file or the module that it came from.",
        ) from error


def to_array(tensor: Any) -> Any:
    """A tensor as a numpy array; numpy has no bfloat16."""
    import torch

    return tensor.detach().to(torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype).cpu().numpy()
