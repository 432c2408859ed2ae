"""The files of a learned cost: `cost.json` says what it is, `cost.safetensors` holds its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from predictors.differentiable import _features
from predictors.differentiable.surface import Network, Surface
from predictors.folders import replacing
from predictors.sealed import Kind, is_own, read_head, read_tensors, understood, write_head

Facts = dict[str, Any]
Tensors = dict[str, NDArray[Any]]


def kind(schema: str, *older: str) -> Kind:
    """The folder of a learned cost."""
    remedy = "Fit the cost again, or load it with the version that saved it."
    return Kind("cost.json", schema, "a learned cost's folder", remedy, dict.fromkeys(older, "2026-11"))


def write(folder: Path, form: Kind, facts: Facts, tensors: Tensors) -> None:
    """Write both files, whole or not at all; a cost that was there before is replaced.

    Raises:
        UsageError: the folder holds something else.
    """
    from safetensors.numpy import save_file

    with replacing(folder, "a learned cost", lambda place: is_own(place, form), hint="Give another folder.") as work:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, work / "cost.safetensors")
        write_head(work, form, facts)


@contextmanager
def reading(folder: Path, form: Kind) -> Iterator[tuple[Facts, Tensors]]:
    """What `write` wrote, while the cost is built from it.

    Raises:
        SchemaMismatch: a file is missing, damaged or of another schema, or what it holds makes no cost.
    """
    facts = read_head(folder, form)
    with understood(f"cannot read the cost in {folder}", form.remedy):
        tensors, _ = read_tensors(folder / "cost.safetensors")
        for name, tensor in tensors.items():
            if tensor.dtype.kind not in "fi" or not np.isfinite(tensor).all():
                raise ValueError(f"{name} holds values that are not finite")
        yield facts, tensors


def number(facts: Mapping[str, Any], name: str, least: float = 0.0) -> float:
    """A finite number of at least `least`.

    Raises:
        ValueError: it is none.
    """
    value = facts[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < least:
        raise ValueError(f"{name} must be a number of at least {least}, got {value!r}")
    return float(value)


def text(facts: Mapping[str, Any], name: str) -> str:
    """A text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(facts[name], str):
        raise ValueError(f"{name} must be a text, got {facts[name]!r}")
    return str(facts[name])


def options(facts: Mapping[str, Any]) -> tuple[int, ...]:
    """Options per gene.

    Raises:
        ValueError: they are none.
    """
    found = facts["choices"]
    if not isinstance(found, list) or not found or not all(type(n) is int and n > 0 for n in found):
        raise ValueError(f"choices must be options per gene, got {found!r}")
    return tuple(found)


def shaped(tensors: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A tensor of the given shape, of finite numbers.

    Raises:
        ValueError: its shape is another, or a number is not finite.
    """
    found = tensors[name]
    if found.shape != shape:
        raise ValueError(f"{name} has shape {found.shape}, expected {shape}")
    if found.dtype.kind not in "fi" or not np.isfinite(found).all():
        raise ValueError(f"{name} holds what is no finite number")
    return found


def of_network(network: Network | None) -> tuple[Facts, Tensors]:
    """A network as plain data."""
    if network is None:
        return {"hidden": None}, {}
    tensors = {"entry": network.entry} | {f"weight{i}": weight for i, weight in enumerate(network.weights)}
    return {"hidden": network.entry.shape[1]}, tensors


def to_network(facts: Facts, tensors: Tensors, width: int) -> Network | None:
    """A network from plain data.

    Raises:
        ValueError: the data make none.
    """
    if facts["hidden"] is None:
        return None
    hidden = int(number(facts, "hidden", 1))
    sizes = ((hidden,), (hidden, hidden), (hidden,), (hidden,), (1,))
    weights = tuple(shaped(tensors, f"weight{i}", size) for i, size in enumerate(sizes))
    return Network(shaped(tensors, "entry", (width, hidden)), weights)


def of_surface(surface: Surface) -> tuple[Facts, Tensors]:
    """A surface as plain data."""
    facts, tensors = of_network(surface.network)
    facts |= {"choices": list(surface.choices), "softness": surface.softness, "spread": surface.spread}
    if surface.wiring:
        facts["wiring"] = surface.wiring
    if len(surface.pairs):
        tensors |= {"anchors": surface.anchors, "pairs": surface.pairs}
    return facts, tensors | {"effects": surface.effects}


def to_surface(facts: Facts, tensors: Tensors) -> Surface:
    """A surface from plain data.

    Raises:
        ValueError: the data make none.
    """
    choices = options(facts)
    anchors, pairs = np.zeros((0, len(choices)), dtype=np.int64), np.zeros(0)
    if "pairs" in tensors:
        pairs = shaped(tensors, "pairs", (len(tensors["pairs"]),))
        anchors = shaped(tensors, "anchors", (len(pairs), len(choices)))
        if anchors.dtype.kind != "i" or (anchors < 0).any() or (anchors >= np.array(choices)).any():
            raise ValueError("anchors are no architectures of the space")
    wiring = tuple(
        tuple(((int(a), int(b)), (int(c), int(d))) for (a, b), (c, d) in cell) for cell in facts.get("wiring", ())
    )
    size = _size(choices, wiring)
    return Surface(
        choices,
        shaped(tensors, "effects", (1 + size,)),
        number(facts, "softness", 1e-300),
        anchors,
        pairs,
        to_network(facts, tensors, size),
        number(facts, "spread", 1e-300),
        wiring,
    )


def _size(choices: tuple[int, ...], wiring: _features.Wiring) -> int:
    """Number of facts.

    Raises:
        ValueError: the wiring is not of these genes.
    """
    try:
        return _features.of(choices, wiring).size
    except UsageError as error:
        raise ValueError(error.message) from error
