"""What quantisation is calibrated on: sets of inputs of a model, out of a file or a folder of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidData, UsageError
from profiler import pictures
from profiler.operators import OperatorGraph, Tensor

#: Images of a folder that are read, the first ones by name.
MOST = 128


def read(path: str | Path, graph: OperatorGraph) -> tuple[Mapping[str, NDArray[Any]], ...]:
    """Sets of inputs for a model.

    Args:
        path: an `.npz` with an array for each input, by name, stacked along a new first axis; or a folder of images,
            for a model that reads images alone, `(n, 1 or 3, height, width)`: they are resized and scaled to 0 to 1.
        graph: of the model; its inputs have fixed shapes.

    Returns:
        One mapping from names of inputs to arrays for each set, in order.

    Raises:
        InvalidData: there is nothing in it, or what is in it cannot be read or does not fit the model.
        UsageError: there is no such file, or the model does not read images.
    """
    path = Path(path)
    if path.is_dir():
        return tuple(_images(path, graph))
    if not path.is_file():
        raise UsageError(f"there is no calibration data {path}", hint="Give an .npz file, or a folder of images.")
    return tuple(_stacked(path, graph))


def digest(sets: Iterable[Mapping[str, NDArray[Any]]]) -> str:
    """12 hexadecimal digits of the content of sets."""
    content = hashlib.sha256()
    for one in sets:
        for name, array in one.items():
            content.update(f"{name} {array.dtype} {array.shape}".encode())
            content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()[:12]


def _stacked(path: Path, graph: OperatorGraph) -> Iterable[Mapping[str, NDArray[Any]]]:
    hint = "Save it with numpy.savez(file, INPUT=array), where array is (sets, *shape of the input)."
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # numpy and zipfile raise whatever a damaged file makes them
        raise InvalidData(f"cannot read the calibration data {path}: {error}", hint=hint) from error
    wanted = dict(graph.inputs)
    if wanted.keys() != arrays.keys():
        raise InvalidData(
            f"{path} has arrays for {_listed(arrays)}, the model's inputs are {_listed(wanted)}", hint=hint
        )
    counts = {len(array) for array in arrays.values() if array.ndim}
    if len(counts) != 1 or not all(array.ndim for array in arrays.values()) or counts == {0}:
        raise InvalidData(f"{path} holds no sets, or another number of them for each input", hint=hint)
    for name, tensor in wanted.items():
        if arrays[name].shape[1:] != tensor.shape:
            raise InvalidData(
                f"{path}: a set of {name!r} is {list(arrays[name].shape[1:])}, the model reads {list(tensor.shape)}",
                hint=hint,
            )
        if arrays[name].dtype.kind not in "fiub" or not np.isfinite(arrays[name]).all():
            raise InvalidData(f"{path}: {name!r} holds what is no finite number", hint=hint)
    for number in range(counts.pop()):
        yield {name: array[number].astype(wanted[name].dtype) for name, array in arrays.items()}


def _images(folder: Path, graph: OperatorGraph) -> Iterable[Mapping[str, NDArray[Any]]]:
    name, tensor = _image_input(graph)
    batch, channels, height, width = tensor.shape
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in pictures.SUFFIXES)[:MOST]
    if not files:
        accepted = ", ".join(sorted(pictures.SUFFIXES))
        raise InvalidData(f"the calibration folder {folder} has no images", hint=f"Images end in {accepted}.")
    shown = [pictures.read(path, str(path), (width, height), grey=channels == 1) for path in files]
    pixels = np.stack(shown).reshape(len(files), height, width, channels).transpose(0, 3, 1, 2) / np.float32(255.0)
    pixels = np.resize(pixels, (-(-len(pixels) // batch) * batch, *pixels.shape[1:]))  # the last set begins anew
    for start in range(0, len(pixels), batch):
        yield {name: pixels[start : start + batch].astype(tensor.dtype)}


def _image_input(graph: OperatorGraph) -> tuple[str, Tensor]:
    """The input of a model that reads images alone."""
    if len(graph.inputs) == 1:
        name, tensor = graph.inputs[0]
        if len(tensor.shape) == 4 and tensor.shape[1] in (1, 3) and tensor.dtype.startswith("float"):
            return name, tensor
    shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in graph.inputs)
    raise UsageError(
        f"a folder of images calibrates a model whose one input is (n, 1 or 3, height, width), this one reads {shapes}",
        hint="Give an .npz with an array for each input.",
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
