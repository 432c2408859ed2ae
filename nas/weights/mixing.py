"""The mixed form of a space: what it says itself, or what its networks show where each block reads the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Archs
from nas.spaces.mixture import Mixture, Place, Term
from nas.spaces.protocol import Mixes, Space
from nas.weights.keyed import Keyed
from predictors.blocks import places
from predictors.blocks.places import NONE, NotLocal, Places
from profiler.assembly import INPUT, Block

#: Networks that are looked at before anything is learned of all, in which blocks are looked for first, and genomes that
#: each combination of options is tried in.
_LOOKED_AT, _SAMPLED, _TRIED = 20, 100, 12
#: Spaces whose mixed form is kept.
_KEPT = 8


def of(space: Space) -> Mixture:
    """The mixed form.

    Raises:
        UsageError: it is not known: blocks do not stand in a row, or depend on too many genes.
    """
    return _made(Keyed(space))


@lru_cache(_KEPT)
def _made(spec: Keyed) -> Mixture:
    space = spec.space
    if isinstance(space, Mixes):
        return space.mixture()
    for arch in space.sample(_LOOKED_AT, np.random.default_rng(0)):
        blocks = space.assembly(arch).blocks
        if any(block.inputs != (before,) for block, before in zip(blocks, _names(blocks), strict=True)):
            raise _refused(space, "their blocks do not stand in a row")
    try:
        return _in_a_row(space, places.learn(space))
    except NotLocal as error:
        raise _refused(space, str(error)) from error


def _names(blocks: Sequence[Block]) -> list[str]:
    """What each block reads if they stand in a row."""
    return [INPUT, *(block.name for block in blocks[:-1])]


def _refused(space: Space, why: str) -> UsageError:
    return UsageError(
        f"networks of space {space.name!r} cannot be mixed by gates: {why}",
        hint="Use a strategy by ask and tell, such as auto.",
    )


def _in_a_row(space: Space, found: Places) -> Mixture:
    keys = ["", *map(places.key_of, found.blocks)]  # without the shapes that are read; none is first
    numbers = {key: number for number, key in reversed(list(enumerate(keys)))}
    merged = np.array([numbers[key] for key in keys])
    tables = [_essential(place, merged[place.codes - NONE]) for place in found.places]
    blocks = _blocks(space, tables, keys)
    made = []
    before = INPUT
    for place, genes, codes in tables:
        terms = []
        for code in np.unique(codes).tolist():
            options = np.argwhere(codes == code) if genes else None
            block = blocks[place.name, keys[code]] if code else None
            terms.append(Term((before,), block, genes, options))
        made.append(Place(place.name, tuple(terms)))
        before = place.name
    return Mixture(tuple(made), in_a_row=True)


_Table = tuple[places.Place, tuple[int, ...], NDArray[np.int64]]


def _essential(place: places.Place, codes: NDArray[np.int64]) -> _Table:
    """The place's table without the genes by which only shapes differ, and no blocks."""
    genes = list(place.genes)
    for axis in reversed(range(len(genes))):
        if (codes == codes.take([0], axis=axis)).all():
            codes = np.asarray(codes.take(0, axis=axis))
            del genes[axis]
    return place, tuple(genes), np.asarray(codes, dtype=np.int64)


def _blocks(space: Space, tables: Iterable[_Table], keys: list[str]) -> Mapping[tuple[str, str], Block]:
    """Blocks by the names of their places and their keys, taken from networks that have them."""
    rng = np.random.default_rng(0)
    pool = space.canonical(space.sample(_SAMPLED, rng))
    found: dict[tuple[str, str], Block] = {}

    def read(arch: Archs) -> None:
        for block in space.assembly(arch).blocks:
            found.setdefault((block.name, block.key), block)

    for arch in pool:
        read(arch)
    bases = places.surroundings(space.choices, pool[:_TRIED])
    for place, genes, codes in tables:
        for code in np.unique(codes).tolist():
            for chosen in np.argwhere(codes == code)[:_TRIED]:
                if not code or (place.name, keys[code]) in found:
                    break
                tried = bases.copy()
                tried[:, list(genes)] = chosen
                for arch in tried[space.is_valid(tried)]:
                    read(arch)
            if code and (place.name, keys[code]) not in found:
                raise _refused(space, f"no network was found that has {keys[code]!r} at {place.name!r}")
    return found
