"""A fitted predictor: a folder that answers architectures, operator graphs, and ONNX files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.conditions import Conditions
from device_profiles.errors import ConditionMismatch, InvalidData, SchemaMismatch, UsageError
from device_profiles.profile import Target, as_target, from_plain, to_plain
from predictors import encodings, network, registry, samples
from predictors.card import Card, is_predictor
from predictors.differentiable.protocol import DifferentiableCost
from predictors.encodings import Encoding, SearchedSpace, Tabulated
from predictors.folders import replacing
from predictors.graphs.protocol import GraphPredictor
from predictors.prediction import UNITS, Prediction, check_missing
from predictors.sealed import understood
from predictors.trust import widened
from profiler.free_dims import Wanted
from profiler.fusing import compiled
from profiler.model_files import Asked, ModelFile, prepare
from profiler.modules import Shapes, as_file
from profiler.operators import OperatorGraph
from profiler.store import Store

if TYPE_CHECKING:
    from torch import nn

Archs = NDArray[np.int64]

Progress = Callable[[int, int], None]

#: A coverage is a quotient of sums, and may be this far beyond 0..1.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Predictor:
    """Predictions of one cost on one target.

    Attributes:
        card: what it is and where it may be believed.
        model: for fused graphs.
        encoding: for architectures of `card.space`, or None if it was fitted without a space.
    """

    card: Card
    model: GraphPredictor
    encoding: Encoding | None

    def __repr__(self) -> str:
        card = self.card
        about = f" for {card.space}" if card.space is not None else ""
        return f"Predictor({card.predictor}: {card.cost} on {card.target}{about}, {len(card.trained_on)} networks)"

    def predict(
        self,
        what: Archs | OperatorGraph | str | Path | Sequence[Any] | nn.Module,
        input_shape: Shapes | None = None,
        *,
        missing: str = "guess",
        asked: Asked | None = None,
    ) -> Prediction:
        """Predict architectures, operator graphs, ONNX files, or a torch module.

        Args:
            what: an integer matrix `(n, d)`; or one or several operator graphs or paths of `.onnx` files. Graphs must
                hold the target's own kernels (`profiler.fusing.fused_graph`); files are compiled by the target's
                runtime here; or a module.
            input_shape: of a module's input, such as `(1, 3, 224, 224)`, or of each of its inputs.
            missing: `guess` or `raise`, see `NetworkModel.predict`.
            asked: shapes of the files' free dimensions, and inputs of one's own.

        Raises:
            InvalidModel: a file cannot be run as it is, see `profiler.model_files.prepare`.
            MissingKernel: a kernel is unknown and `missing` is `raise`.
            UsageError: architectures were given and the predictor has no space, or they do not fit it.
        """
        check_missing(missing)
        if isinstance(what, np.ndarray):
            return self._predict_archs(what, missing)
        if input_shape is not None or hasattr(what, "state_dict"):
            what = [as_file(what, input_shape)]  # type: ignore[arg-type]
        items = [what] if isinstance(what, (str, Path, OperatorGraph)) else list(what)
        if items and all(isinstance(item, (list, tuple, np.ndarray)) for item in items):
            return self._predict_archs(np.asarray(items), missing)
        read = [self._read(item, asked) for item in items]
        graphs, denormal = [graph for graph, _ in read], np.array([share for _, share in read])
        return widened(self._believed(self.model.predict(graphs, missing=missing)), graphs, denormal)

    def differentiable(self) -> DifferentiableCost:
        """The expected cost under independent choices (DESIGN: `DifferentiableCost`).

        Raises:
            UsageError: it was fitted without a space.
        """
        return self._require_encoding().differentiable()

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

    def save(self, folder: str | Path) -> None:
        """Write the predictor into `folder`, whole or not at all; what was there before is replaced."""
        with replacing(Path(folder), "a predictor", is_predictor) as work:
            self.model.save(work)
            if self.encoding is not None:
                self.encoding.save(work)
            self.card.write(work)

    def _predict_archs(self, archs: Archs, missing: str) -> Prediction:
        found = self._require_encoding().predict(archs)
        if missing == "raise":
            network.require_known(found.missing)
        return found

    def _believed(self, found: Prediction) -> Prediction:
        """The prediction, if it is one: damage that no file shows must not pass for a number."""
        low, high = (found.value if end is None else end for end in (found.low, found.high))
        sane = np.isfinite(found.value) & np.isfinite(high) & (found.value > 0)
        sane &= (low >= 0) & (low <= found.value) & (found.value <= high)
        sane &= (found.coverage >= -_ROUNDING) & (found.coverage <= 1 + _ROUNDING)
        if found.unit != self.card.unit or not sane.all():
            worst = int(np.argmin(sane))
            raise InvalidData(
                f"the predictor says {found.value[worst]} [{low[worst]}, {high[worst]}] {found.unit} at a coverage of "
                f"{found.coverage[worst]}: that is no {self.card.cost} in {self.card.unit}"
                if len(sane)
                else f"the predictor speaks of {found.unit}, its card of {self.card.unit}",
                hint="Fit the predictor again.",
            )
        return found

    def _require_encoding(self) -> Encoding:
        if self.encoding is None:
            raise UsageError(
                "this predictor was fitted without a space and takes no architectures", hint="Fit it with --space NAME."
            )
        return self.encoding

    def _read(self, item: Any, asked: Asked | None) -> tuple[OperatorGraph, float]:
        """The kernels of a graph or a file, and the share of its work that denormal weights do."""
        if isinstance(item, OperatorGraph):
            if item.runtime != self.card.profile["runtime"]["name"]:
                raise UsageError(
                    f"the graph holds kernels of {item.runtime or 'no runtime'}, the predictor knows those of "
                    f"{self.card.profile['runtime']['name']}",
                    hint="Give the .onnx file, or the graph from profiler.fusing.fused_graph.",
                )
            return item, 0.0
        target = from_plain(self.card.profile)
        if asked is None and target.batch > 1:
            asked = Asked(Wanted(batch=target.batch))
        file = item if isinstance(item, ModelFile) else prepare(Path(item), asked)
        return compiled(file, target), file.denormal if self.card.cost != "memory" else 0.0


def fit(
    name: str,
    store: Store,
    *,
    target: Target | str | Path,
    space: SearchedSpace | None = None,
    cost: str = "latency",
    networks: Sequence[str] | None = None,
    progress: Progress = lambda done, total: None,
) -> Predictor:
    """Fit a predictor on what was measured.

    Args:
        name: of a predictor, see `predictors.names()`.
        store: the measurements.
        target: whose measurements, as a target, a name or a path; its runtime compiles the networks of the space.
        space: whose architectures it will answer, or None for graphs and files alone.
        cost: `latency`, `energy` or `memory`; memory is simulated, so its one predictor is `simulation`.
        networks: ids of the networks to learn from; all if None.
        progress: told how many networks of the space are compiled, and of how many.

    Raises:
        UnknownName: no predictor has the name.
        UsageError: the predictor does not predict this cost, or there is no such cost.
        InvalidData: the store has no measurements of the target, or none of this cost.
    """
    target = as_target(target)
    make = registry.get(name)
    conditions = store.require_conditions(target.name)
    if cost not in UNITS:
        raise UsageError(f"unknown cost {cost!r}", hint=f"Allowed: {', '.join(UNITS)}.")
    if cost not in make.costs:
        raise UsageError(
            f"{name} does not predict {cost}", hint=f"Predictors of {cost}: {', '.join(registry.names_for(cost))}."
        )
    measured = samples.networks(store, conditions, cost)
    if networks is not None:
        wanted = set(networks)
        measured = measured.take([i for i, model in enumerate(measured.ids) if model in wanted])
    kernels = samples.kernels(store, conditions, networks, cost=cost)
    if cost == "energy" and not measured.ids and not kernels.operators:
        raise InvalidData(
            f"store {store.url} has no energy of target {target.name!r}",
            hint="Energy needs a meter on the device; fit latency or memory.",
        )
    fitted = make.fit(kernels, measured)
    unit = UNITS[cost]
    encoding, fidelity = None, None
    if space is not None:
        encoding, fidelity = encodings.choose(fitted, space, target, unit, progress=progress)
    card = Card(
        predictor=name,
        cost=cost,
        unit=unit,
        target=target.name,
        profile=to_plain(target),
        conditions=conditions.to_plain(),
        space=space.spec if space is not None else None,
        choices=space.choices if space is not None else None,
        trained_on=measured.ids,
        kernels=len(kernels.operators),
        device_s=store.device_s(conditions),
        half_width=fitted.half_width,
        encoding=None if fidelity is None else asdict(fidelity),
        sensor=_sensor(store, conditions) if cost == "energy" else None,
    )
    return Predictor(card, fitted, encoding)


def for_space(known: Predictor, space: SearchedSpace, *, progress: Progress = lambda done, total: None) -> Predictor:
    """What is known of a device, told of the architectures of another space: nothing is measured or learned again.

    Args:
        known: fitted on what was measured on the device, such as probes.
        space: whose networks the runtime compiles here, or on the device where the predictor's target has a way there.
        progress: told how many networks of the space are compiled, and of how many.

    Raises:
        UsageError: nothing serves the space, see `predictors.encodings.choose`.
    """
    card = known.card
    encoding, fidelity = encodings.choose(known.model, space, from_plain(card.profile), card.unit, progress=progress)
    told = replace(card, space=space.spec, choices=space.choices, encoding=asdict(fidelity))
    return Predictor(told, known.model, encoding)


def _sensor(store: Store, conditions: Conditions) -> str | None:
    """What the store's energies were read from: one sensor, see `profiler.energies.Wanted`."""
    return next((one.sensor for windows in store.metered(conditions).values() for one in windows), None)


def load(folder: str | Path) -> Predictor:
    """Read a predictor's folder.

    Raises:
        SchemaMismatch: it is none, of another schema, a file is not as it was written, or they contradict each other.
    """
    place = Path(folder)
    return _read(place, Card.read(place))


def sign(folder: str | Path) -> None:
    """Take a folder for right that was changed by hand, or written before there were digests.

    Raises:
        SchemaMismatch: what it holds makes no predictor; nothing is changed then.
    """
    place = Path(folder)
    card = Card.read_unsigned(place)
    _read(place, card)
    card.write(place)


def _read(place: Path, card: Card) -> Predictor:
    if card.predictor not in registry.names():
        raise SchemaMismatch(
            f"{place} is of the predictor {card.predictor[:60]!r}, which is not installed here",
            hint=f"Install what it comes from, or fit one of: {', '.join(registry.names())}.",
        )
    make = registry.get(card.predictor)
    remedy = "Fit the predictor again."
    with understood(f"cannot read {place}", remedy):
        if card.cost not in make.costs:
            raise ValueError(f"{card.predictor} does not predict {card.cost}")
        model = make.load(place)
        if model.half_width != card.half_width:
            raise ValueError(f"half_width is {card.half_width} in the card and {model.half_width} in the model")
    kind = str((card.encoding or {"kind": Tabulated.kind})["kind"])
    with understood(f"cannot read {place}/{kind}.safetensors", remedy):
        if card.choices is None:
            if any((place / name).exists() for name in encodings.FILES):
                raise ValueError("the card knows of no space")
            return Predictor(card, model, None)
        return Predictor(card, model, encodings.load(kind, place, card.choices, model, card.unit))


def same_conditions(predictor: Predictor, conditions: Conditions) -> None:
    """Refuse to compare a predictor with measurements of other conditions.

    Raises:
        ConditionMismatch: they differ.
    """
    Conditions.from_plain(predictor.card.conditions).require_same(
        conditions, what=f"predictor for {predictor.card.target!r}"
    )
