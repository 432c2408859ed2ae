"""Networks as bags of blocks, each alone, with what it reads, and with what reads it: as numbers, for many networks.

Names of blocks are long and networks have hundreds, so a block's name is made once and a network is a row of numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from predictors.blocks.counts import Counts
from predictors.blocks.places import text
from profiler.assembly import INPUT, Assembly, Merged
from profiler.block_traces import Gives, Shapes
from profiler.pieces import Shape

Bag = Counter[tuple[str, str]]
"""How often a network has each block where, by name."""

Outputs = dict[tuple[str, tuple[Shape, ...]], Gives]
"""What blocks give, by their keys and the shapes that they read."""

#: The place of a block where it does not matter.
ALONE = ""


@dataclass
class Spots:
    """Numbers of blocks, and of the spots at which they stand; there may be ever more, and none changes.

    Attributes:
        blocks: names by number: the block's key and the shapes that it reads.
        owners: of each spot, the number of the block that stands there.
        places: of each spot, where that is: `ALONE`, "reads ...", or "read by ...".
    """

    blocks: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    _blocks: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    _spots: dict[tuple[int, str], int] = field(default_factory=dict, repr=False, compare=False)

    @staticmethod
    def of(blocks: Sequence[str], owners: Sequence[int], places: Sequence[str]) -> Spots:
        """From what the attributes say."""
        found = Spots()
        for name in blocks:
            found.block(name)
        for owner, place in zip(owners, places, strict=True):
            found.spot(owner, place)
        return found

    def block(self, name: str) -> int:
        """The number of a block."""
        number = self._blocks.setdefault(name, len(self.blocks))
        if number == len(self.blocks):
            self.blocks.append(name)
        return number

    def spot(self, owner: int, place: str) -> int:
        """The number of a spot."""
        number = self._spots.setdefault((owner, place), len(self.places))
        if number == len(self.places):
            self.owners.append(owner)
            self.places.append(place)
        return number


@dataclass(frozen=True)
class Bags:
    """How often networks have each block at each spot.

    Attributes:
        of: what the numbers of spots mean.
        counts: of spots, `(n, spots)`.
    """

    of: Spots
    counts: Counts

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, first: int, last: int) -> Bags:
        """Networks from one number up to another."""
        return Bags(self.of, self.counts.rows(first, last))

    def named(self, network: int) -> Bag:
        """One network by the names of its blocks and their places."""
        of = self.of
        row = self.counts.row(network)
        return Counter({(of.blocks[of.owners[spot]], of.places[spot]): count for spot, count in row.items()})

    def numbered(self, spots: Spots) -> Bags:
        """The same networks by the numbers of other spots, which are added to."""
        of = self.of
        distinct, back = np.unique(self.counts.numbers, return_inverse=True)
        new = [spots.spot(spots.block(of.blocks[of.owners[at]]), of.places[at]) for at in distinct.tolist()]
        return Bags(spots, replace(self.counts, numbers=np.array(new, dtype=np.int32)[back]))


@dataclass
class Reader:
    """Takes networks apart, and knows what it met before.

    Attributes:
        shapes: of what blocks read.
        spots: what was met, by number.
    """

    shapes: Shapes
    spots: Spots = field(default_factory=Spots)
    _known: Outputs = field(default_factory=dict, repr=False)
    _owners: dict[tuple[str, tuple[Shape, ...], int], tuple[int, int]] = field(default_factory=dict, repr=False)
    _reads: dict[tuple[int, tuple[str, ...]], int] = field(default_factory=dict, repr=False)
    _read_by: dict[tuple[int, tuple[str, ...]], int] = field(default_factory=dict, repr=False)

    def blocks(self, assembly: Assembly) -> list[int]:
        """Numbers of a network's blocks, in order."""
        return self._read(assembly)[0]

    def bags(self, assemblies: Iterable[Assembly]) -> Bags:
        """Networks by what stands where in them."""
        return Bags(self.spots, Counts.of([Counter(self._read(assembly)[1]) for assembly in assemblies]))

    def outputs(self) -> Outputs:
        """What the blocks which were met give, by their keys and the shapes that they read."""
        return dict(self._known)

    def _read(self, assembly: Assembly) -> tuple[list[int], list[int]]:
        """Numbers of blocks, and of all spots at which they stand.

        Blocks that give the same value are alike: a runtime may run whichever of them for all, so each is one of so
        many, and what reads one of them reads all.
        """
        given, merged = self._given(assembly)
        keys = {INPUT: INPUT}
        readers: dict[str, tuple[str, ...]] = {}
        owners: list[int] = []
        found: list[int] = []
        alike = Counter(merged.values())
        for block in assembly.blocks:
            key, inputs = block.key, [merged[name] for name in block.inputs]
            owner, alone = self._owner(key, tuple([given[name] for name in inputs]), alike[merged[block.name]])
            owners.append(owner)
            found.append(alone)
            sources = tuple([keys[name] for name in inputs])
            spot = self._reads.get((owner, sources))
            if spot is None:
                spot = self._reads[owner, sources] = self.spots.spot(owner, "reads " + ", ".join(sources))
            found.append(spot)
            keys[block.name] = key
            for name in inputs:
                before = readers.get(name, ())
                if key not in before:
                    readers[name] = (*before, key) if not before or before[-1] < key else tuple(sorted((*before, key)))
        for block, owner in zip(assembly.blocks, owners, strict=True):
            by = readers.get(merged[block.name], ())
            spot = self._read_by.get((owner, by))
            if spot is None:
                spot = self._read_by[owner, by] = self.spots.spot(owner, "read by " + ", ".join(by))
            found.append(spot)
        return owners, found

    def _given(self, assembly: Assembly) -> tuple[dict[str, Shape], dict[str, str]]:
        """Shapes of what blocks give, and the first block that gives it, by their names."""
        shapes: dict[str, Shape] = {INPUT: assembly.input_shape}
        merged = Merged()
        for block in assembly.blocks:
            read = tuple([shapes[name] for name in block.inputs])
            known = self._known.get((block.key, read))
            if known is None:
                known = self._known[block.key, read] = self.shapes.output(block, read, assembly.input_dtype)
            shapes[block.name] = known.shape
            merged.add(block, weighted=known.weighted)
        return shapes, merged.of

    def _owner(self, key: str, read: tuple[Shape, ...], alike: int) -> tuple[int, int]:
        """Numbers of a block that is one of so many, and of its spot where it does not matter where it stands."""
        found = self._owners.get((key, read, alike))
        if found is None:
            number = self.spots.block(text(key if alike == 1 else f"one of {alike} {key}", read))
            found = self._owners[key, read, alike] = number, self.spots.spot(number, ALONE)
        return found
