"""A fitted predictor: a folder that answers architectures, operator graphs, and ONNX files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device_profiles.conditions import Conditions
from device_profiles.errors import ConditionMismatch, InvalidData, InvalidTable, SchemaMismatch, UsageError
from device_profiles.profile import Target, from_plain, to_plain
from predictors import intervals, models, network
from predictors.card import Card
from predictors.composition import Composition
from predictors.encoding import CostTable, DifferentiableTable
from predictors.network import NetworkModel
from predictors.prediction import Prediction
from predictors.samples import kernels as kernel_samples
from predictors.samples import networks as network_samples
from profiler.assembly import Assembly
from profiler.catalogue import compile_all
from profiler.fusing import fused_graph
from profiler.operators import OperatorGraph
from profiler.store import Store

Archs = NDArray[np.int64]

#: Most architectures that are tabulated one by one.
TABLE_LIMIT = 100_000

Progress = Callable[[int, int], None]


class TabulatedSpace(Protocol):
    """What a predictor needs of a space; those of `nas.spaces` have it."""

    @property
    def spec(self) -> str:
        """Name and options."""

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""

    @property
    def size(self) -> int:
        """Number of genomes."""

    def canonical(self, archs: Archs) -> Archs:
        """One representative for each network."""

    def is_valid(self, archs: Archs) -> NDArray[np.bool_]:
        """Which genomes have a function."""

    def assembly(self, arch: Archs) -> Assembly:
        """The network as blocks."""


@dataclass(frozen=True)
class Predictor:
    """Predictions of one cost on one target.

    Attributes:
        card: what it is and where it may be believed.
        model: for fused graphs.
        table: for architectures of `card.space`, or None if it was fitted without a space.
    """

    card: Card
    model: NetworkModel
    table: CostTable | None

    def predict(
        self, what: Archs | OperatorGraph | str | Path | Sequence[Any], *, missing: str = "guess"
    ) -> Prediction:
        """Predict architectures, operator graphs, or ONNX files.

        Args:
            what: an integer matrix `(n, d)`; or one or several operator graphs or paths of `.onnx` files. Graphs must
                hold the target's own kernels (`profiler.fusing.fused_graph`); files are compiled by the target's
                runtime here.
            missing: `guess` or `raise`, see `NetworkModel.predict`.

        Raises:
            MissingKernel: a kernel is unknown and `missing` is `raise`.
            UsageError: architectures were given and the predictor has no space, or they do not fit it.
        """
        network.check_missing(missing)
        if isinstance(what, np.ndarray):
            return self._predict_archs(what, missing)
        items = [what] if isinstance(what, (str, Path, OperatorGraph)) else list(what)
        if items and all(isinstance(item, (list, tuple, np.ndarray)) for item in items):
            return self._predict_archs(np.asarray(items), missing)
        return self.model.predict([self._graph(item) for item in items], missing=missing)

    def differentiable(self) -> DifferentiableTable:
        """The expected cost under independent choices (DESIGN: `DifferentiableCost`).

        Raises:
            UsageError: it was fitted without a space.
        """
        return self._require_table().differentiable()

    def require_target(self, target: str) -> None:
        """Refuse to speak for another target than its own.

        Raises:
            ConditionMismatch: `target` is another one.
        """
        if target != self.card.target:
            raise ConditionMismatch(
                "this predictor was fitted on another target",
                expected={"target": self.card.target},
                got={"target": target},
                hint=f"Fit one for it with: hwnas fit {target} ...",
            )

    def save(self, folder: Path) -> None:
        """Write the predictor into `folder`, whole or not at all; what was there before is replaced."""
        from safetensors.numpy import save_file

        folder = Path(folder)
        foreign = folder.is_dir() and not (folder / "card.json").exists() and any(folder.iterdir())
        if foreign or (folder.exists() and not folder.is_dir()):
            raise UsageError(f"{folder} exists and is not a predictor", hint="Give another folder with -o.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
            work = Path(place) / "new"
            work.mkdir()
            self.card.write(work)
            self.model.kernels.save(work)
            if self.table is not None:
                tensors = {f"cost{i}": np.ascontiguousarray(cost) for i, cost in enumerate(self.table.costs)}
                if self.table.coverage is not None:
                    tensors["coverage"] = np.ascontiguousarray(self.table.coverage)
                if self.table.lacking is not None:
                    tensors["lacking"] = np.ascontiguousarray(self.table.lacking)
                facts = {"genes": json.dumps(self.table.genes), "missing": json.dumps(self.table.missing)}
                save_file(tensors, work / "table.safetensors", metadata=facts)
            old = Path(place) / "old"
            if folder.exists():
                shutil.move(folder, old)
            try:
                shutil.move(work, folder)
            except BaseException:
                if old.exists() and not folder.exists():
                    shutil.move(old, folder)
                raise

    def _predict_archs(self, archs: Archs, missing: str) -> Prediction:
        table = self._require_table()
        value = table.predict(archs)
        coverage = table.covered(archs)
        unknown = table.missing_of(archs)
        if missing == "raise":
            network.require_known(unknown)
        low, high = intervals.around(value, coverage, self.card.half_width, self.card.guess_half_width)
        return Prediction(value, low, high, self.card.unit, coverage, unknown)

    def _require_table(self) -> CostTable:
        if self.table is None:
            raise UsageError(
                "this predictor was fitted without a space and takes no architectures", hint="Fit it with --space NAME."
            )
        return self.table

    def _graph(self, item: Any) -> OperatorGraph:
        if isinstance(item, OperatorGraph):
            if item.runtime != self.card.profile["runtime"]["name"]:
                raise UsageError(
                    f"the graph holds kernels of {item.runtime or 'no runtime'}, the predictor knows those of "
                    f"{self.card.profile['runtime']['name']}",
                    hint="Give the .onnx file, or the graph from profiler.fusing.fused_graph.",
                )
            return item
        return fused_graph(Path(item), from_plain(self.card.profile))


def fit(
    name: str,
    store: Store,
    *,
    target: Target,
    space: TabulatedSpace | None = None,
    cost: str = "latency",
    networks: Sequence[str] | None = None,
    progress: Progress = lambda done, total: None,
) -> Predictor:
    """Fit a predictor on what was measured.

    Args:
        name: registered name of a kernel model: `lookup`, `roofline`, `linear`, `lightgbm`.
        store: the measurements.
        target: whose measurements; its runtime compiles the networks of the space.
        space: whose architectures it will answer, or None for graphs and files alone.
        cost: `latency`.
        networks: ids of the networks to learn from; all if None.
        progress: told how many networks of the space are compiled, and of how many.

    Raises:
        UnknownName: no predictor has the name.
        InvalidData: the store has no measurements of the target, or none of this cost.
    """
    make = models.REGISTRY.get(name)
    conditions = store.require_conditions(target.name)
    if cost != "latency":
        if cost not in ("energy", "memory"):
            raise UsageError(f"unknown cost {cost!r}", hint="Allowed: latency, energy, memory.")
        raise InvalidData(
            f"store {store.url} has no {cost} that can be learned on target {target.name!r}",
            hint="Only latency can be fitted in this version.",
        )
    measured = network_samples(store, conditions)
    if networks is not None:
        wanted = set(networks)
        measured = measured.take([i for i, model in enumerate(measured.ids) if model in wanted])
    samples = kernel_samples(store, conditions, networks)
    fitted = network.fit(make, samples, measured)
    table = tabulate(fitted, space, target, progress=progress) if space is not None else None
    composition = fitted.composition
    card = Card(
        predictor=name,
        cost=cost,
        unit="ms",
        target=target.name,
        profile=to_plain(target),
        conditions=conditions.to_plain(),
        space=space.spec if space is not None else None,
        choices=space.choices if space is not None else None,
        trained_on=measured.ids,
        kernels=len(samples.operators),
        device_s=store.device_s(conditions),
        composition=(composition.scale, composition.per_kernel_ms, composition.constant_ms),
        half_width=fitted.half_width,
        guess_half_width=fitted.guess_half_width,
        extra_ms=dict(fitted.extra_ms),
    )
    return Predictor(card, fitted, table)


def tabulate(model: NetworkModel, space: TabulatedSpace, target: Target, *, progress: Progress) -> CostTable:
    """The cost of every architecture of a space.

    From the kernels that the target's runtime makes of each distinct network.

    Architectures whose output does not depend on the input are charged for what remains, the composition's constant,
    but no less than the fastest kernel; nothing of that was measured, so their coverage is 0.

    Raises:
        UsageError: the space is too large to be tabulated.
    """
    if space.size > TABLE_LIMIT:
        raise UsageError(
            f"space {space.spec} has {space.size} architectures; {TABLE_LIMIT} can be tabulated",
            hint="Fit without --space.",
        )
    archs = np.stack(np.unravel_index(np.arange(space.size), space.choices), axis=1).astype(np.int64)
    canonical = space.canonical(archs)
    distinct, inverse = np.unique(canonical, axis=0, return_inverse=True)
    valid = space.is_valid(distinct)
    live = np.flatnonzero(valid)
    catalogue = compile_all([space.assembly(distinct[i]) for i in live], target, progress=progress)
    prediction = model.predict_counts(catalogue.kernels, catalogue.counts.astype(np.float64))
    fastest = float(model.kernels.predict(catalogue.kernels).ms.min(initial=np.inf)) if catalogue.kernels else 1e-6
    value = np.full(len(distinct), max(model.composition.constant_ms, fastest))
    coverage = np.zeros(len(distinct))
    value[live], coverage[live] = prediction.value, prediction.coverage
    sets: dict[tuple[str, ...], int] = {(): 0}
    lacking = np.zeros(len(distinct), dtype=np.int32)
    lacking[live] = [sets.setdefault(keys, len(sets)) for keys in prediction.missing]
    rows = inverse.reshape(-1)
    return CostTable(
        choices=tuple(space.choices),
        genes=(tuple(range(len(space.choices))),),
        costs=(value[rows].reshape(space.choices),),
        coverage=coverage[rows].reshape(space.choices),
        lacking=lacking[rows].reshape(space.choices) if len(sets) > 1 else None,
        missing=tuple(sets),
    )


def load(folder: str | Path) -> Predictor:
    """Read a predictor's folder.

    Raises:
        SchemaMismatch: it is none, or of another schema.
    """
    from safetensors import SafetensorError, safe_open

    place = Path(folder)
    card = Card.read(place)
    kernels = models.REGISTRY.get(card.predictor).load(place)
    table = None
    if card.choices is not None:
        try:
            with safe_open(place / "table.safetensors", framework="numpy") as file:
                genes = tuple(tuple(part) for part in json.loads(file.metadata()["genes"]))
                costs = tuple(file.get_tensor(f"cost{i}") for i in range(len(genes)))
                names = set(file.keys())
                coverage = file.get_tensor("coverage") if "coverage" in names else None
                lacking = file.get_tensor("lacking") if "lacking" in names else None
                missing = tuple(tuple(keys) for keys in json.loads(file.metadata()["missing"]))
            table = CostTable(card.choices, genes, costs, coverage, lacking, missing)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, InvalidTable) as error:
            raise SchemaMismatch(
                f"cannot read {place}/table.safetensors: {error}", hint="Fit the predictor again."
            ) from error
    composed = Composition(*card.composition)
    return Predictor(
        card, NetworkModel(kernels, composed, card.half_width, card.guess_half_width, card.extra_ms), table
    )


def same_conditions(predictor: Predictor, conditions: Conditions) -> None:
    """Refuse to compare a predictor with measurements of other conditions.

    Raises:
        ConditionMismatch: they differ.
    """
    Conditions.from_plain(predictor.card.conditions).require_same(
        conditions, what=f"predictor for {predictor.card.target!r}"
    )
