"""One network for many devices: what the prior of devices leaves, learned where the prior has not seen the device.

Devices are dealt into folds. For each fold the prior stands on the other folds alone, so that its errors there are
those of a device that it does not know; the network learns these errors. Latency is linear in the device's tables,
so a convex mix of two devices is a device too, and fills the space between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from predictors.differentiable import _main_effects, _training
from predictors.differentiable._descent import Batch
from predictors.differentiable._prior import Prior
from predictors.differentiable.protocol import Archs, Floats

if TYPE_CHECKING:
    from torch import Tensor

FOLDS = 5
#: Folds of devices that say how long to train, and whether the network is kept.
JUDGES = 2
#: Mixes of two devices in each fold, beside the devices themselves.
MIXES = 40
#: Fewest devices that a network is learned from: with less none can be held out and learned from too.
LEAST_DEVICES = 6
#: Architectures that are learned from, and the share of them that is held out with the devices.
ROWS = 6000
HELD_SHARE = 0.2
_BATCH = 512
#: Share of the network's output that is added if it took nothing off the held-out error, and more the more it took: a
#: device is a draw of its own, and where it is unlike all that were held out, the prior is the safer guess.
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Devices:
    """Devices, real and mixed, over the same `n` architectures; all is relative to each device's scale.

    Attributes:
        vectors: `(m, k)`, latencies of the references.
        log_scale: `(m,)`, logarithm of the scale in ms.
        latency: `(m, n)`, NaN where it is not known.
        floors: `(m,)`, the least latency that is believed.
    """

    vectors: Floats
    log_scale: Floats
    latency: Floats
    floors: Floats

    def take(self, rows: Archs) -> Devices:
        """Some of them."""
        return Devices(self.vectors[rows], self.log_scale[rows], self.latency[rows], self.floors[rows])

    def mixed(self, count: int, rng: np.random.Generator) -> Devices:
        """Themselves, then `count` convex mixes of two of them."""
        if len(self.vectors) < 2 or not count:
            return self
        first, second = np.array([rng.choice(len(self.vectors), 2, replace=False) for _ in range(count)]).T
        share = rng.uniform(size=(count, 1))

        def mix(values: Floats) -> Floats:
            return np.asarray(share * values[first] + (1 - share) * values[second])

        vectors, latency, floors = mix(self.vectors), mix(self.latency), mix(self.floors[:, None])
        scale = np.exp(np.log(vectors).mean(axis=1, keepdims=True))
        return Devices(
            np.vstack([self.vectors, vectors / scale]),
            np.concatenate([self.log_scale, mix(self.log_scale[:, None])[:, 0]]),
            np.vstack([self.latency, latency / scale]),
            np.concatenate([self.floors, (floors / scale)[:, 0]]),
        )


@dataclass(frozen=True)
class Joint:
    """What was learned of many devices.

    Attributes:
        learned: the network, or None if it did not help on devices that were held out.
        center: `(q,)`, of what the network is told of a device, see `told`.
        width: `(q,)`, as `center`.
        spread: unit of the network's output, relative to a device's scale.
        ratio: error with the whole of the network over error without, on held-out architectures of held-out devices,
            as geometric mean over these; 1 if no step was better than none, None where nothing could be held out.
    """

    learned: _training.Learned | None
    center: Floats
    width: Floats
    spread: float
    ratio: float | None


def told(vectors: Floats, log_scale: Floats, scales: Floats) -> Floats:
    """What the network is told of devices, `(m, k + 5)`: their shapes and scales, and what the prior makes of them."""
    return np.column_stack([vectors, log_scale, scales])


def learn(prior: Prior, archs: Archs, devices: Devices, *, hidden: int, steps: int, seed: int) -> Joint:
    """Learn what the prior leaves.

    Two of five folds of devices, on a fifth of the architectures, say how long to train and whether to keep the
    network; it is then trained that long on all folds.

    Args:
        prior: of all devices, in the same order.
        archs: `(n, d)`.
        devices: `m` of them.
        hidden: units of each hidden layer.
        steps: most steps.
        seed: of folds, mixes, weights and batches.
    """
    count = len(devices.vectors)
    if count < LEAST_DEVICES:
        return Joint(None, np.zeros(0), np.ones(0), 1.0, None)
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(count) % FOLDS)
    parts = [_residuals(prior, archs, devices, np.flatnonzero(fold == which), rng) for which in range(FOLDS)]
    known = np.vstack([part.told for part in parts])
    center, width = known.mean(axis=0), np.maximum(known.std(axis=0), 1e-3)
    left = np.concatenate([part.target[~np.isnan(part.target)] for part in parts])
    none = Joint(None, center, width, 1.0, None)
    if not len(left) or float(left.std()) < 1e-9:
        return none
    spread = float(left.std())
    held = rng.permutation(len(archs)) < max(int(HELD_SHARE * len(archs)), 1)
    trainer = _Trainer(prior.choices, archs, center, width, spread, hidden, seed)
    real = [int((fold == which).sum()) for which in range(JUDGES)]
    score = trainer.judge(parts[:JUDGES], real, np.flatnonzero(held))
    if score is None:
        return none
    tried = trainer.train(parts[JUDGES:], np.flatnonzero(~held), steps, score)
    if tried.error > 1 - _training.LEAST_GAIN:
        return Joint(None, center, width, spread, tried.error)
    learned = trainer.train(parts, np.arange(len(archs)), tried.steps, None)
    share = min(LEAST_SHARE + 1 - tried.error, 1.0)
    return Joint(learned, center, width, share * spread, tried.error)


@dataclass(frozen=True)
class _Part:
    """Devices of one fold: what is told of them `(m, q)`, and `(m, n)` what the prior says, and what it leaves."""

    told: Floats
    base: Floats
    target: Floats
    least: Floats


def _residuals(prior: Prior, archs: Archs, devices: Devices, rows: Archs, rng: np.random.Generator) -> _Part:
    """What a prior without these devices leaves of them and of their mixes."""
    others = np.delete(prior.surfaces, rows, axis=0)
    unaware = Prior(prior.choices, prior.anchors, others, prior.scales)
    mixed = devices.take(rows).mixed(MIXES, rng)
    effects, pairs, scales = unaware.posterior(mixed.vectors)
    base = unaware.values(effects, pairs, archs)
    known = told(mixed.vectors, mixed.log_scale, scales)
    return _Part(known, base, mixed.latency - base, np.maximum(mixed.latency, mixed.floors[:, None]))


@dataclass(frozen=True)
class _Trainer:
    """What all trainings of one fit share."""

    choices: tuple[int, ...]
    archs: Archs
    center: Floats
    width: Floats
    spread: float
    hidden: int
    seed: int

    def judge(self, parts: list[_Part], real: list[int], columns: Archs) -> Callable[[list[Tensor]], float] | None:
        """The held-out error of a network relative to that of none, over the real devices of some parts.

        A geometric mean over devices: one whose table no prior explains must not decide for the others. None if
        there is nothing to judge by.
        """
        import torch

        cases = []
        for part, count in zip(parts, real, strict=True):
            for device in range(count):
                places = columns[~np.isnan(part.target[device, columns])]
                if len(places):
                    left, least = part.target[device, places], part.least[device, places]
                    inputs = self._inputs(part, np.full(len(places), device), places)
                    before = max(float(np.mean(np.abs(left) / least)), 1e-12)
                    cases.append((*inputs, torch.from_numpy(left), torch.from_numpy(1.0 / least), before))
        if not cases:
            return None

        def score(parameters: list[Tensor]) -> float:
            ratios = []
            for rows, side, target, weight, before in cases:
                deep = _training.raw(parameters, rows, side).double()
                ratios.append(float(((self.spread * deep - target).abs() * weight).mean()) / before)
            return float(np.exp(np.mean(np.log(np.maximum(ratios, 1e-12)))))

        return score

    def train(
        self,
        parts: list[_Part],
        columns: Archs,
        steps: int,
        score: Callable[[list[Tensor]], float] | None,
    ) -> _training.Learned:
        """Train on some parts and architectures."""
        known = np.vstack([part.told for part in parts])
        target = np.vstack([part.target[:, columns] for part in parts])
        least = np.vstack([part.least[:, columns] for part in parts])
        whole = _Part(known, target, target, least)
        device, place = np.nonzero(~np.isnan(target))
        left = (target[device, place] / self.spread).astype(np.float32)
        weight = 1.0 / least[device, place]
        weight = (weight / weight.mean()).astype(np.float32)

        def draw(rng: np.random.Generator) -> Batch:
            index = rng.integers(0, len(device), _BATCH)
            rows, side = self._inputs(whole, device[index], columns[place[index]])
            return Batch(rows.numpy(), side.numpy(), left[index], weight[index])

        shape = (sum(self.choices), len(self.center), self.hidden)
        return _training.train(shape, len(self.choices), draw, score, start=1.0, steps=steps, seed=self.seed)

    def _inputs(self, part: _Part, device: Archs, column: Archs) -> tuple[Tensor, Tensor]:
        import torch

        side = ((part.told[device] - self.center) / self.width).astype(np.float32)
        rows = self.archs[column] + _main_effects.offsets(self.choices)
        return torch.from_numpy(rows), torch.from_numpy(side)
