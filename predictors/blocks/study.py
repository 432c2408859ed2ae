"""What is known of a space before any kernel has a cost: networks as bags of blocks, and which kernels these run.

Making ten thousand networks and taking them apart takes minutes, and so does compiling a thousand. Nothing of it
depends on what kernels cost, so it is kept on disk: whoever measures more and fits again has it at once.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.blocks.bags import Bags, Outputs, Reader, Spots
from predictors.blocks.counts import Counts
from predictors.blocks.places import Archs, SampledSpace
from profiler.block_traces import Gives, Shapes
from profiler.operators import Operator, operator_from_plain, operator_to_plain

#: Of what is in a file. 1: first (2026-11). 2: says which blocks have weights.
VERSION = 2
#: Networks of each kind that are taken apart anew before what is kept is believed.
_LOOKED_AT = 32


@dataclass(frozen=True)
class Study:
    """Networks of a space.

    Attributes:
        archs: genomes of the networks that were compiled, `(n, d)`.
        taught: of these are learned from; the others are held against what was learned.
        networks: the compiled ones, taken apart.
        kernels: distinct ones.
        runs: how often each compiled network runs each kernel, `(n, kernels)`.
        stands: how often each block of `networks.of` stands in those that are learned from, `(blocks,)`.
        uses: kernels that it has in all of these together, `(blocks, kernels)`.
        more: genomes of networks that were not compiled, `(m, d)`.
        walked: these, taken apart, by the same numbers.
        outputs: what blocks give, by their keys and the shapes that they read.
        why: no costs of kernels make a space of this kind a sum over blocks, or "".
    """

    archs: Archs
    taught: int
    networks: Bags
    kernels: tuple[Operator, ...]
    runs: Counts
    stands: NDArray[np.float64]
    uses: Counts
    more: Archs
    walked: Bags
    outputs: Outputs
    why: str

    def holds(self, space: SampledSpace, shapes: Shapes) -> bool:
        """Whether a space's networks are still these: some of both kinds are made and taken apart anew.

        Equal keys are equal blocks, so what known ones give is believed: tracing them takes longer than all the rest.
        """
        reader = Reader(Shapes(shapes.export, dict(self.outputs)))
        for archs, known in ((self.archs, self.networks), (space.canonical(self.more), self.walked)):
            looked_at = np.linspace(0, len(archs) - 1, min(_LOOKED_AT, len(archs)), dtype=np.int64)
            found = reader.bags(map(space.assembly, archs[looked_at]))
            if any(found.named(i) != known.named(at) for i, at in enumerate(looked_at.tolist())):
                return False
        return True

    def write(self, path: Path) -> None:
        """Keep it in a file, which is there as a whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        spots = self.networks.of
        places = list(dict.fromkeys(spots.places))
        number = {place: i for i, place in enumerate(places)}
        facts = {
            "kernels": [operator_to_plain(kernel) for kernel in self.kernels],
            "blocks": spots.blocks,
            "places": places,
            "outputs": [[key, read, *given] for (key, read), given in self.outputs.items()],
            "taught": self.taught,
            "why": self.why,
        }
        arrays = {
            "archs": self.archs,
            "more": self.more,
            "stands": self.stands,
            "owners": np.array(spots.owners, dtype=np.int64),
            "stand": np.array([number[place] for place in spots.places], dtype=np.int64),
            **_plain("networks", self.networks.counts),
            **_plain("walked", self.walked.counts),
            **_plain("runs", self.runs),
            **_plain("uses", self.uses),
        }
        temporary = path.with_suffix(f".{os.getpid()}.npz")
        small = {name: array.astype(_least_type(array)) for name, array in arrays.items()}
        np.savez_compressed(temporary, facts=np.array(json.dumps(facts)), **small)  # type: ignore[arg-type]
        temporary.replace(path)

    @staticmethod
    def read(path: Path) -> Study | None:
        """What a file keeps; None where there is none, or it is damaged: then it is made again."""
        try:
            with np.load(path, allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                places, kernels = facts["places"], tuple(map(operator_from_plain, facts["kernels"]))
                stand = [str(places[at]) for at in file["stand"].tolist()]
                spots = Spots.of([str(name) for name in facts["blocks"]], file["owners"].tolist(), stand)
                return Study(
                    file["archs"].astype(np.int64),
                    int(facts["taught"]),
                    Bags(spots, _counts(file, "networks")),
                    kernels,
                    _counts(file, "runs"),
                    file["stands"].astype(np.float64),
                    _counts(file, "uses"),
                    file["more"].astype(np.int64),
                    Bags(spots, _counts(file, "walked")),
                    {
                        (str(key), tuple(map(tuple, read))): Gives(tuple(shape), bool(weighted))
                        for key, read, shape, weighted in facts["outputs"]
                    },
                    str(facts["why"]),
                )
        except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error):
            return None


def _plain(name: str, of: Counts) -> dict[str, NDArray[Any]]:
    return {f"{name}_starts": of.starts, f"{name}_numbers": of.numbers, f"{name}_counts": of.counts}


def _counts(file: Any, name: str) -> Counts:
    return Counts(
        file[f"{name}_starts"].astype(np.int64),
        file[f"{name}_numbers"].astype(np.int32),
        file[f"{name}_counts"].astype(np.float64),
    )


def _least_type(array: NDArray[Any]) -> np.dtype[Any]:
    """The smallest type for whole numbers from 0 on."""
    return np.min_scalar_type(int(array.max(initial=0)))
