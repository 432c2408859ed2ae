"""One cost for many devices: a new one is known by what a few reference architectures take on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.errors import UsageError
from predictors.architectures import Learned, LearnedFromArchitectures
from predictors.differentiable import _files, _joint, _sources, _training
from predictors.differentiable._prior import Prior, draw_scales
from predictors.differentiable.protocol import Archs, Floats, check_choices, check_values
from predictors.differentiable.surface import Surface
from predictors.genes import checked
from predictors.prediction import Prediction, check_missing
from predictors.sealed import heard, said

if TYPE_CHECKING:
    from torch import Tensor

#: 1: first (2026-11). 2: digests of both files (2026-11).
SCHEMA = "hwnas.conditioned-cost/2"
_FORM = _files.kind(SCHEMA, "hwnas.conditioned-cost/1")
#: 1: first (2026-11).
DEVICE_SCHEMA = "hwnas.device-cost/1"
_OF_DEVICE = _files.kind(DEVICE_SCHEMA)
#: References that are chosen where none are given.
REFERENCES = 10
#: Where the cost bends away from 0, as a share of the least latency that is believed on any source.
_SOFT_SHARE = 0.1


@dataclass(frozen=True)
class DeviceCost(LearnedFromArchitectures):
    """The cost of one device; a `DifferentiableCost` in ms.

    Attributes:
        surface: the function.
        target: name of the device, or None if nobody said.
        space: spec of the space, or None if nobody said.
    """

    surface: Surface
    target: str | None = None
    space: str | None = None

    @property
    def card(self) -> Learned:
        """What it says of itself."""
        return Learned("device-cost", "ms", self.choices, self.target, self.space)

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self.surface.choices

    def predict(self, archs: Archs, *, missing: str = "guess") -> Prediction:
        """Latency of `(n, d)` architectures in ms, without intervals: a few references calibrate none.

        Raises:
            UsageError: the shape or a gene is outside of the space.
        """
        check_missing(missing)
        value = self.surface.predict(archs)
        return Prediction(value, None, None, "ms", np.ones(len(value)), ((),) * len(value))

    def __call__(self, probabilities: Sequence[Tensor]) -> Tensor:
        """Latency of `(..., options)` for each gene: `(...)`, in ms; see `DifferentiableCost`.

        Raises:
            UsageError: the number of genes or of their options is another.
        """
        return self.surface(probabilities)

    def differentiable(self) -> DeviceCost:
        """Itself."""
        return self

    def save(self, folder: str | Path) -> None:
        """Write `cost.json` and `cost.safetensors` into a folder, which is made if it is not there."""
        facts, tensors = _files.of_surface(self.surface)
        _files.write(Path(folder), _OF_DEVICE, facts | said(self.target, self.space), tensors)

    @staticmethod
    def load(folder: str | Path) -> DeviceCost:
        """Read what `save` wrote.

        Raises:
            SchemaMismatch: there is none, it is damaged, or it is of another schema.
        """
        with _files.reading(Path(folder), _OF_DEVICE) as (facts, tensors):
            return DeviceCost(_files.to_surface(facts, tensors), **heard(facts))


@dataclass(frozen=True)
class ConditionedCost:
    """One network for many devices, on a Gaussian prior of devices.

    A device is the vector of its latencies at the references: their geometric mean is its scale, which multiplies all,
    and what remains is its shape. The prior turns the shape into main effects and pairs of genes (`_prior`), and the
    network, which is told shape and scale, adds what priors leave on devices that they have not seen (`_joint`).

    Sources: Lee et al., "HELP: hardware-adaptive efficient latency prediction for NAS via meta-learning", NeurIPS
    2021, section 3 (a device as latencies of references); Sukthanker et al., "Multi-objective differentiable neural
    architecture search", ICLR 2025, section 3 (one differentiable predictor conditioned on such a vector).

    Attributes:
        prior: what the sources say of a new device.
        joint: the network, with its errors on held-out devices.
        softness: where the cost bends away from 0, relative to a device's scale.
        devices: names of the sources.
        filled: how many latencies of references were missing in sources and were filled by main effects.
    """

    prior: Prior
    joint: _joint.Joint
    softness: float
    devices: tuple[str, ...]
    filled: int

    @property
    def choices(self) -> tuple[int, ...]:
        """Options per gene."""
        return self.prior.choices

    @property
    def references(self) -> Archs:
        """`(k, d)`: what to measure on a new device."""
        return self.prior.anchors.copy()

    @property
    def has_network(self) -> bool:
        """False if the network did not help on held-out devices, or there were fewer than 6: the prior stands alone."""
        return self.joint.learned is not None

    @staticmethod
    def fit(
        choices: Sequence[int],
        sources: Mapping[str, tuple[Archs, Floats]],
        *,
        references: Archs | None = None,
        seed: int = 0,
        hidden: int = 64,
        steps: int = 6000,
    ) -> ConditionedCost:
        """Learn from source devices.

        A source needs not have all references: one that it lacks is filled by the source's main effects, fitted to
        its rows (`filled` counts them). Latencies below 0.3 times a source's 5th percentile are raised to that: they
        are errors of measurement. The network learns from at most 6,000 architectures.

        Args:
            choices: options per gene, `(d,)`.
            sources: by device, architectures `(n, d)` and latencies `(n,)` in ms; n >= 20, and any n for each.
            references: `(k, d)`, distinct; None to choose 10 by a greedy A-optimal design among architectures that
                most sources have.
            seed: of the choice, the folds, the weights and the batches.
            hidden: units of each of the two hidden layers.
            steps: most steps of training, of 512 rows each.

        Raises:
            UsageError: there are no sources, a gene is outside of the space, or references repeat.
            InvalidTable: a latency is not positive and finite, a source is constant, has too few rows or no reference.
        """
        choices = check_choices(choices)
        found = _sources.read(choices, sources)
        rng = np.random.default_rng(seed)
        if references is None:
            references = _sources.choose(choices, found, REFERENCES, rng)
        references = _checked_references(choices, references)
        at, filled = _sources.at_references(choices, found, references)
        scale = np.exp(np.log(at).mean(axis=1))
        prior = Prior(choices, references, found.surfaces / scale[:, None], draw_scales(rng))
        rows = np.sort(rng.choice(len(found.archs), min(len(found.archs), _joint.ROWS), replace=False))
        devices = _joint.Devices(
            at / scale[:, None], np.log(scale), found.latency_ms[:, rows] / scale[:, None], found.floors / scale
        )
        joint = _joint.learn(prior, found.archs[rows], devices, hidden=hidden, steps=steps, seed=seed)
        return ConditionedCost(prior, joint, _SOFT_SHARE * float(devices.floors.min()), found.devices, filled)

    def for_device(
        self, latency_ms_of_references: Floats, *, target: str | None = None, space: str | None = None
    ) -> DeviceCost:
        """The cost of a device, seen or not.

        Args:
            latency_ms_of_references: `(k,)`, in the order of `references`.
            target: name of the device, if a search is to hold it against its own.
            space: spec of the space, likewise.

        Raises:
            UsageError: there are more or fewer.
            InvalidTable: one is not positive and finite.
        """
        given = np.asarray(latency_ms_of_references, dtype=np.float64)
        if given.shape != (len(self.prior.anchors),):
            raise UsageError(
                f"a device is given by the latencies of its {len(self.prior.anchors)} references, "
                f"got shape {given.shape}",
                hint="Measure `references`, in their order.",
            )
        given = check_values(given, len(given), "latency_ms_of_references")
        log_scale = float(np.log(given).mean())
        scale = float(np.exp(log_scale))
        effects, pairs, scales = self.prior.posterior((given / scale)[None])
        network = None
        if self.joint.learned is not None:
            told = _joint.told((given / scale)[None], np.array([log_scale]), scales)[0]
            network = self.joint.learned.given((told - self.joint.center) / self.joint.width)
        return DeviceCost(
            Surface(
                self.choices,
                scale * effects[0],
                scale * self.softness,
                self.prior.anchors,
                scale * pairs[0],
                network,
                scale * self.joint.spread,
            ),
            target,
            space,
        )

    def predict(self, archs: Archs, latency_ms_of_references: Floats) -> Prediction:
        """Latency of `(n, d)` architectures in ms, on the device that is given by `(k,)` latencies of the references.

        Raises:
            UsageError: the shape or a gene is outside of the space, or the references are more or fewer.
            InvalidTable: a latency is not positive and finite.
        """
        return self.for_device(latency_ms_of_references).predict(archs)

    def save(self, folder: str | Path) -> None:
        """Write `cost.json` and `cost.safetensors` into a folder, which is made if it is not there."""
        learned = self.joint.learned
        facts, tensors = _files.of_network(learned.network if learned else None)
        facts |= {
            "choices": list(self.choices),
            "softness": self.softness,
            "spread": self.joint.spread,
            "devices": list(self.devices),
            "filled": self.filled,
            "steps": learned.steps if learned else 0,
            "ratio": self.joint.ratio,
        }
        tensors |= {
            "references": self.prior.anchors,
            "surfaces": self.prior.surfaces,
            "scales": self.prior.scales,
        }
        if learned:
            tensors |= {"side": learned.side, "center": self.joint.center, "width": self.joint.width}
        _files.write(Path(folder), _FORM, facts, tensors)

    @staticmethod
    def load(folder: str | Path) -> ConditionedCost:
        """Read what `save` wrote.

        Raises:
            SchemaMismatch: there is none, it is damaged, or it is of another schema.
        """
        with _files.reading(Path(folder), _FORM) as (facts, tensors):
            return _from_plain(facts, tensors)


def _checked_references(choices: tuple[int, ...], references: Any) -> Archs:
    found = checked(references, choices)
    distinct = len(np.unique(found, axis=0))
    if not distinct or distinct < len(found):
        raise UsageError(
            f"references must be distinct architectures, got {len(found)} with {distinct} distinct",
            hint="Leave references out to have 10 chosen.",
        )
    return found


def _from_plain(facts: dict[str, Any], tensors: _files.Tensors) -> ConditionedCost:
    choices = _files.options(facts)
    devices = facts["devices"]
    if not isinstance(devices, list) or not devices or not all(isinstance(name, str) for name in devices):
        raise ValueError(f"devices must be names, got {devices!r}")
    width = sum(choices)
    try:
        references = _checked_references(choices, tensors["references"])
    except UsageError as error:
        raise ValueError(error.message) from error
    prior = Prior(
        choices,
        references,
        _files.shaped(tensors, "surfaces", (len(devices), 1 + width)),
        _files.shaped(tensors, "scales", (len(tensors["scales"]), 4)),
    )
    network = _files.to_network(facts, tensors, width)
    ratio = None if facts["ratio"] is None else _files.number(facts, "ratio")
    steps = int(_files.number(facts, "steps"))
    learned, center, spans = None, np.zeros(0), np.ones(0)
    if network is not None:
        told = len(references) + 1 + prior.scales.shape[1]
        center, spans = (_files.shaped(tensors, name, (told,)) for name in ("center", "width"))
        side = _files.shaped(tensors, "side", (told, network.entry.shape[1]))
        learned = _training.Learned(network, side, steps, float("nan") if ratio is None else ratio)
    joint = _joint.Joint(learned, center, spans, _files.number(facts, "spread", 1e-300), ratio)
    softness = _files.number(facts, "softness", 1e-300)
    return ConditionedCost(prior, joint, softness, tuple(devices), int(_files.number(facts, "filled")))
