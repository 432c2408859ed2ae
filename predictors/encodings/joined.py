"""A space of any size, whose networks are put together from blocks of compiled ones and predicted as whole graphs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from device_profiles.profile import Target
from predictors import intervals
from predictors.blocks import building
from predictors.blocks.joining import Joining, held_graphs, of_arrays, to_arrays
from predictors.blocks.places import Codes, NotLocal
from predictors.blocks.table import GUESSED
from predictors.differentiable.anchored import AnchoredCost
from predictors.differentiable.network import NetworkCost
from predictors.encodings import _files
from predictors.encodings.protocol import (
    MOST_MEDIAN,
    MOST_WORST,
    Archs,
    Fidelity,
    Progress,
    SearchedSpace,
    widened,
)
from predictors.genes import checked
from predictors.graphs.protocol import GraphPredictor
from predictors.prediction import Prediction
from predictors.sealed import check_numbers
from profiler.compiling import forked

#: Networks that are put together to learn a cost from that has gradients, and how many of them in one process.
TAUGHT, SPAN = 12_000, 50
#: Most steps of learning: twice as many take twice as long, and the median error from .11 to .09 % (`chain`).
STEPS = 3_000
#: Networks that are kept in memory, about.
_KEPT = 200_000
#: Begins names of arrays of the learned cost in the file.
_LEARNED = "learned."

_Told = tuple[float, float, float, float, tuple[str, ...]]
"""Value, ends of the interval (NaN where there is none), coverage and missing keys of a network."""


@dataclass(frozen=True)
class Joined:
    """Graphs of networks from stretches of kernels, and the model that predicts graphs.

    For costs that are no sums over kernels. Exact where blocks and their neighbours decide kernels; a network with a
    block between neighbours that no compiled one has is told by the learned cost.

    Attributes:
        joining: puts graphs together.
        model: of graphs.
        learned: from networks that were put together; it has gradients.
        error: relative half-width of the 90 % interval of its deviation from compiling network by network; 0 where it
            is exact.
    """

    kind: ClassVar[str] = "joined"
    file: ClassVar[str] = "joined.safetensors"

    joining: Joining
    model: GraphPredictor
    learned: NetworkCost
    error: float = 0.0
    _kept: dict[bytes, _Told] = field(default_factory=dict, compare=False, repr=False)

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self.joining.table.choices

    @staticmethod
    def fit(
        model: GraphPredictor, space: SearchedSpace, target: Target, unit: str, *, progress: Progress
    ) -> tuple[Joined, Fidelity]:
        """Compile what tells all networks, and learn from many that are put together.

        Raises:
            NotLocal: blocks do not tell the graphs of networks.
        """
        found = building.build(space, target, wired=True, progress=progress)
        joining = Joining.of(found, target.runtime.name)
        archs = space.sample(TAUGHT, np.random.default_rng([0, 9]))
        entries = joining.entries(archs)
        known = joining.known(entries)
        archs, entries = archs[known], entries[known]
        spans = [entries[start : start + SPAN] for start in range(0, len(entries), SPAN)]
        told = np.empty(0)
        for part in forked(lambda number: _of_graphs(joining, model, spans[number]).value, len(spans)):
            told = np.concatenate([told, part])
            progress(len(told), len(archs))
        encoding = Joined(joining, model, NetworkCost.fit(space.choices, archs, told, unit=unit, steps=STEPS))
        alone = model.predict(held_graphs(found, target.runtime.name)).value
        value = encoding.predict(found.held).value
        fidelity = Fidelity.of(Joined.kind, found.compiled, value, alone)
        if fidelity.median > MOST_MEDIAN or fidelity.worst > MOST_WORST:
            raise NotLocal(f"graphs of networks depend on more than their blocks: put together, {fidelity}")
        width = intervals.relative_half_width(np.abs(value / alone - 1.0))
        return replace(encoding, error=MOST_WORST if width is None else width), fidelity

    def predict(self, archs: Archs) -> Prediction:
        """Predictions of `(n, d)` architectures, as of their graphs; some hundred a second that were not asked before.

        Raises:
            UsageError: the shape or a gene is outside of the space.
        """
        archs = checked(archs, self.choices)
        entries = self.joining.entries(archs)
        keys = [row.tobytes() for row in entries]
        if len(self._kept) + len(keys) > _KEPT:
            self._kept.clear()
        known = self.joining.known(entries)
        new = list({key: row for row, key in enumerate(keys) if known[row] and key not in self._kept}.values())
        for start in range(0, len(new), SPAN):
            part = new[start : start + SPAN]
            graphs = _of_graphs(self.joining, self.model, entries[part])
            self._kept.update(zip([keys[row] for row in part], _rows(graphs), strict=True))
        guessed = iter(_rows(self._guess(archs[~known])))
        told = [self._kept[key] if sure else next(guessed) for key, sure in zip(keys, known, strict=True)]
        value, low, high, coverage = np.array([one[:4] for one in told]).reshape(-1, 4).T
        missing = tuple(one[4] for one in told)
        found = Prediction(value, low, high, self.learned.unit, coverage, missing)
        return widened(found if not np.isnan(low).any() else replace(found, low=None, high=None), self.error)

    def differentiable(self) -> AnchoredCost:
        """The learned cost, exact at every architecture."""
        return AnchoredCost(self.learned, lambda archs: self.predict(archs).value)

    def save(self, folder: Path) -> None:
        """Write `joined.safetensors`."""
        tensors, facts = to_arrays(self.joining)
        cost, learned = self.learned.to_tensors()
        tensors |= {f"{_LEARNED}{name}": array for name, array in learned.items()}
        _files.write(folder / self.file, tensors, {**facts, "learned": cost, "error": self.error})

    @classmethod
    def load(cls, folder: Path, choices: tuple[int, ...], model: GraphPredictor, unit: str) -> Joined:
        """Read `joined.safetensors`."""
        tensors, facts = _files.read(folder / cls.file)
        own = {name.removeprefix(_LEARNED): array for name, array in tensors.items() if name.startswith(_LEARNED)}
        learned = NetworkCost.of_tensors(facts["learned"], own)
        if learned.choices != choices or learned.unit != unit:
            raise ValueError(f"it costs {learned.choices} in {learned.unit}, the card says {choices} in {unit}")
        check_numbers("error", (facts["error"],), 1, least=0.0)
        if facts["error"] >= 1:
            raise ValueError(f"error must be below 1, got {facts['error']}")
        return Joined(of_arrays(tensors, facts, choices), model, learned, float(facts["error"]))

    def _guess(self, archs: Archs) -> Prediction:
        """What was learned of genomes `(n, d)` whose graphs are not known."""
        value = self.learned.predict(archs).value
        own, graphs = self.learned.half_width, self.model.half_width
        width = None if own is None or graphs is None else (1.0 + own) * (1.0 + graphs) - 1.0
        low, high = intervals.around(value, width, np.zeros_like(value))
        return Prediction(value, low, high, self.learned.unit, np.zeros_like(value), ((GUESSED,),) * len(value))


def _of_graphs(joining: Joining, model: GraphPredictor, entries: Codes) -> Prediction:
    """Predictions of networks that are known, `(n, places)`."""
    return model.predict([joining.graph(row) for row in entries])


def _rows(found: Prediction) -> list[_Told]:
    nothing = np.full_like(found.value, np.nan)
    low, high = (nothing if end is None else end for end in (found.low, found.high))
    columns = (column.tolist() for column in (found.value, low, high, found.coverage))
    return list(zip(*columns, found.missing, strict=True))
