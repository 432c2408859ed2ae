"""Predictions of a space's architectures at search speed: what a fitted predictor of graphs says of integer vectors.

A small space is a table (`tabulated`), one whose blocks decide their kernels with their neighbours is a sum over blocks
(`blockwise`), or, where the cost is no sum, networks put together from blocks (`joined`); any other is learned from
some thousand networks that were compiled or walked block by block (`distilled`; `tallied` where the space says what its
networks are made of), or is itself walked (`walked`). `choose` tells which.
"""

from __future__ import annotations

from pathlib import Path

from device_profiles.profile import Target
from predictors.blocks import studying
from predictors.blocks.places import NotLocal, NotPlaced
from predictors.encodings.blockwise import Blockwise
from predictors.encodings.distilled import Distilled
from predictors.encodings.joined import Joined
from predictors.encodings.protocol import Encoding, Fidelity, Progress, SearchedSpace
from predictors.encodings.tabulated import TABLE_LIMIT, Tabulated
from predictors.encodings.tallied import Tallied
from predictors.encodings.walked import Walked
from predictors.graphs.protocol import GraphPredictor
from predictors.graphs.simulation import Simulation
from predictors.network import NetworkModel

__all__ = [
    "FILES",
    "Blockwise",
    "Distilled",
    "Encoding",
    "Fidelity",
    "Joined",
    "SearchedSpace",
    "Tabulated",
    "Tallied",
    "Walked",
    "choose",
    "load",
]

_KINDS: dict[str, type[Tabulated] | type[Blockwise] | type[Joined] | type[Distilled] | type[Tallied] | type[Walked]] = {
    kind.kind: kind for kind in (Tabulated, Blockwise, Joined, Distilled, Tallied, Walked)
}

#: Files of encodings, beside those of the model.
FILES = tuple(kind.file for kind in _KINDS.values())


def choose(
    model: GraphPredictor, space: SearchedSpace, target: Target, unit: str, *, progress: Progress
) -> tuple[Encoding, Fidelity]:
    """The encoding of a space, and how far it is from compiling and predicting network by network.

    Args:
        model: for graphs.
        space: of any size.
        target: whose runtime compiles its networks.
        unit: of the cost.
        progress: told how many networks are compiled, then how many are walked or put together, and of about how many.

    Raises:
        UsageError: no kind serves the space; each is named with why.
    """
    if space.size <= TABLE_LIMIT:
        return Tabulated.fit(model, space, target, unit, progress=progress)
    why = f"{type(model).__name__} is no sum over kernels"
    if isinstance(model, NetworkModel):
        study, always = studying.kept(space, target), ""
        if study is None or not study.why:
            try:
                return Blockwise.fit(model, space, target, progress=progress)
            except NotPlaced as error:
                why = always = str(error)
            except NotLocal as error:
                why = str(error)
        try:
            study = study or studying.made(space, target, always, progress=progress)
            return Distilled.of_blocks(model, space, study, unit, study.why or why)
        except NotLocal as error:
            why = str(error)
    if isinstance(model, Simulation):
        try:
            return Joined.fit(model, space, target, unit, progress=progress)
        except NotLocal as error:
            why = str(error)
    return Distilled.fit(model, space, target, unit, why, progress=progress)


def load(kind: str, folder: Path, choices: tuple[int, ...], model: GraphPredictor, unit: str) -> Encoding:
    """Read what `Encoding.save` wrote.

    Raises:
        ValueError: there is no such kind, or the files are damaged.
        LookupError: something is missing.
    """
    if kind not in _KINDS:
        raise ValueError(f"its architectures are told by {kind[:40]!r}; this version knows {', '.join(_KINDS)}")
    return _KINDS[kind].load(folder, choices, model, unit)
