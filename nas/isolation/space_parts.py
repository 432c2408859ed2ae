"""What a search asks of its space; of a space of others, looked at before it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import HwnasError, PluginError, UsageError
from device_profiles.plugins import is_foreign, text_of
from nas import spaces
from nas.arrays import Archs, Floats
from nas.isolation.checking import Broken
from nas.isolation.deadline import EvaluationTimeout, deadline
from nas.spaces.protocol import Space

#: Rows that a space of others is tried on before a search.
_TRIED = 5


@dataclass(frozen=True)
class Parts:
    """Functions of a space.

    Attributes:
        sample: see `Space.sample`.
        canonical: likewise.
        is_valid: likewise.
        features: likewise.
        listed: `(k, d)`, the genomes that have values, where a table has only some; None for all.
    """

    sample: Callable[[int, np.random.Generator], Archs]
    canonical: Callable[[Archs], Archs]
    is_valid: Callable[[Archs], NDArray[np.bool_]]
    features: Callable[[Archs], Floats]
    listed: Archs | None = None


def load(spec: str, seconds: float) -> tuple[Space, Parts]:
    """Make a space, and its functions for a search.

    Args:
        spec: see `nas.spaces.load`.
        seconds: for each call of a space of others.

    Raises:
        HwnasError: see `nas.spaces.load`.
        PluginError: it is of others, and failed, took too long, or is not what the protocol says.
    """
    name = spec.partition("@")[0].partition(":")[0]
    kept = spaces.live.find(spec.partition("@")[0])
    make = spaces.REGISTRY.get(name) if kept is None else kept
    if not is_foreign(make):
        space = spaces.load(spec)
        return space, Parts(space.sample, space.canonical, space.is_valid, space.features)
    guarded = _Guarded(name, seconds)
    space = guarded.call("SPACE", lambda: spaces.load(spec))
    guarded.call("its protocol", lambda: _check(space))
    width = len(space.choices)

    def matrix(found: Any, count: int) -> Archs:
        rows = _array(found, "iu", (count, width))
        if ((rows < 0) | (rows >= np.array(space.choices))).any():
            raise Broken("a gene is outside of the choices")
        return rows.astype(np.int64)

    parts = Parts(
        lambda n, rng: guarded.call("sample", lambda: matrix(space.sample(n, rng), n)),
        lambda archs: guarded.call("canonical", lambda: matrix(space.canonical(archs), len(archs))),
        lambda archs: guarded.call("is_valid", lambda: _array(space.is_valid(archs), "b", (len(archs),))),
        lambda archs: guarded.call("features", lambda: _features(space.features(archs), len(archs))),
    )
    for part in (parts.is_valid, parts.canonical, parts.features):
        part(np.zeros((1, width), dtype=np.int64))
    parts.sample(min(_TRIED, space.size), np.random.default_rng(0))
    guarded.call("spec", lambda: _check_spec(space))
    return space, parts


@dataclass(frozen=True)
class _Guarded:
    name: str
    seconds: float

    def call(self, what: str, function: Callable[[], Any]) -> Any:
        """What the function returns; any failure is an error of the space."""
        try:
            with deadline(self.seconds):
                return function()
        except (HwnasError, KeyboardInterrupt):
            raise
        except Broken as error:
            said = f"is not as the protocol says in {what}: {error}"
        except EvaluationTimeout as error:
            said = f"took longer than {self.seconds:g} s in {what}"
            del error
        except BaseException as error:  # whatever code of others raises
            said = f"failed in {what}: {text_of(error)}"
        raise PluginError(f"space {self.name!r} {said}", hint="nas.testing.check_space holds it to the protocol.")


def _check(space: Any) -> None:
    if not isinstance(space, Space):
        raise Broken(f"{type(space).__name__} lacks members of nas.spaces.protocol.Space")
    choices = space.choices
    if not isinstance(choices, tuple) or not choices or not all(_whole(count) and count >= 1 for count in choices):
        raise Broken(f"choices are whole numbers of at least 1, got {choices!r}")
    if space.size != prod(choices):
        raise Broken(f"size is the product of the choices, {prod(choices)}, got {space.size!r}")
    if len(space.ordered) != len(choices):
        raise Broken(f"ordered says something of {len(space.ordered)} genes, choices of {len(choices)}")
    if not isinstance(space.spec, str) or not space.spec:
        raise Broken(f"spec is a text, got {space.spec!r}")
    shape = space.input_shape
    if not isinstance(shape, tuple) or not all(_whole(extent) and extent >= 1 for extent in shape):
        raise Broken(f"input_shape is a tuple of whole numbers of at least 1, got {shape!r}")


def _check_spec(space: Space) -> None:
    """What is found is read again by the spec alone."""
    try:
        again = spaces.load(space.spec)
    except UsageError as error:
        raise Broken(f"nas.spaces.load({space.spec!r}) is refused: {error}") from error
    if again.choices != space.choices:
        raise Broken(f"nas.spaces.load({space.spec!r}) makes another space")


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _array(found: Any, kinds: str, shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(found)
    if array.size == 0 and 0 in shape:
        array = array.reshape(shape)
    if array.shape != shape or array.dtype.kind not in kinds:
        raise Broken(f"it gave {array.shape} of {array.dtype}, {shape} was asked for")
    return array


def _features(found: Any, count: int) -> Floats:
    array = np.asarray(found)
    if array.ndim != 2 or len(array) != count or array.dtype.kind not in "fiub":
        raise Broken(f"it gave {array.shape} of {array.dtype}, ({count}, f) numbers were asked for")
    return array.astype(np.float64)
