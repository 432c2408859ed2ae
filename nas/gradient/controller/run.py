"""One run: shared weights and the controller are trained in turns, then architectures are drawn and judged."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from nas.arrays import Archs, Floats
from nas.gradient.controller.network import Controller, reinforce
from nas.gradient.controller.reward import Reward, quality
from nas.gradient.controller.settings import Settings
from nas.gradient.machine.run import LARGEST_SKIPPED
from nas.gradient.parts.costs import excess
from nas.gradient.protocol import GradientProblem
from nas.streams import stream, torch_seed
from nas.weights.devices import device_of
from nas.weights.paths import by_batch_statistics
from nas.weights.training import adopt, loss_of, minibatch

if TYPE_CHECKING:
    from torch import Tensor

#: Of SGD for shared weights and the norm to which their gradient is clipped, as other gradient strategies have them.
_MOMENTUM, _WEIGHT_DECAY, _LARGEST_NORM = 0.9, 3e-4, 5.0
#: Draws of a network for shared weights until one has a function; then one is drawn from the space.
_TRIES = 20
#: Rounds of draws in the end while fewer networks are within the bounds than are wanted.
_ROUNDS = 20
#: Whom a minibatch is for.
_WEIGHTS, _CONTROLLER, _FOUND = range(3)


class Run:
    """State of one run; it ends with `go`, after which `found` says what it found.

    Attributes:
        controller: on the CPU.
        baseline: exponential moving average of rewards; None before the first.
        skipped: steps of weights, and judged networks, that were left out since they had no finite loss or gradient.
    """

    def __init__(self, problem: GradientProblem, settings: Settings, reward: Reward, number: int, runs: int) -> None:
        import torch

        self.problem, self.settings, self.reward, self.number, self.runs = problem, settings, reward, number, runs
        self.baseline: float | None = None
        self.skipped = 0
        self.generator = torch.Generator().manual_seed(torch_seed(problem.seed, "enas.run", number))
        self.controller = Controller(
            problem.space.choices,
            hidden=settings.hidden,
            temperature=settings.temperature,
            squash=settings.squash,
            generator=self.generator,
        )
        self.adam = torch.optim.Adam(self.controller.parameters(), settings.rate)
        self.supernet: Any = copy.deepcopy(problem.supernet())
        self.place = device_of(self.supernet)
        self.data = problem.data()
        parameters = [{"params": list(self.supernet.parameters())}]
        self.sgd = torch.optim.SGD(parameters, settings.weight_rate, _MOMENTUM, weight_decay=_WEIGHT_DECAY)

    @property
    def diverged(self) -> bool:
        """Whether it ended early, since losses were no numbers."""
        return self.skipped >= LARGEST_SKIPPED

    def go(self) -> None:
        """All phases: of each the weights first, then the controller."""
        mine = self.settings
        first = done = 0
        while first < mine.steps and not self.diverged:
            last = min(first + mine.phase, mine.steps)
            for step in range(first, last):
                self.problem.progress("enas", self.number * mine.steps + step, self.runs * mine.steps)
                if not self.diverged:
                    self._train_weights(step)
            for step in range(done, done + mine.controller_steps):
                if not self.diverged:
                    self._train_controller(step)
            first, done = last, done + mine.controller_steps
        self.problem.progress("enas", (self.number + 1) * mine.steps, self.runs * mine.steps)

    def found(self, count: int) -> tuple[Archs, str]:
        """Up to `count` of the drawn networks, `(n, d)`, by their rewards on one validation batch; and what they are.

        None is beyond a bound where some are within; else it is the one that is least beyond. None is among them whose
        loss is no number.
        """
        archs, costs = self._drawn(count)
        broken = excess(self.problem, costs)
        if len(archs) and broken.min() > 0:
            nearest = int(broken.argmin())
            return archs[nearest : nearest + 1], "beyond the bounds"
        kept, factors = archs[broken == 0], self.reward.factor(costs[broken == 0])
        inputs, targets = self._batch(self.data.valid, _FOUND, 0)
        judged = [self._quality(arch, inputs, targets) for arch in kept]
        live = np.array([place for place, value in enumerate(judged) if value is not None], dtype=np.int64)
        rewards = np.array([judged[place] for place in live], dtype=np.float64) * factors[live]
        best = live[np.argsort(-rewards, kind="stable")][:count]
        return kept[best], f"best of {len(live)} drawn networks"

    def _drawn(self, count: int) -> tuple[Archs, Floats]:
        """Distinct networks with a function that the controller draws, `(n, d)`, and their costs, `(n, costs)`."""
        space = self.problem.space
        archs = np.zeros((0, len(space.choices)), dtype=np.int64)
        costs = np.zeros((0, len(self.problem.priced)))
        for _ in range(_ROUNDS):
            drawn = space.canonical(self.controller.draw(self.settings.draws, self.generator).numpy())
            drawn = drawn[space.is_valid(drawn)]
            archs = np.concatenate([archs, drawn])
            _, first = np.unique(archs, axis=0, return_index=True)
            archs = archs[np.sort(first)]
            costs = self.reward.costs(archs)
            if (excess(self.problem, costs) == 0).sum() >= count:
                break
        return archs, costs

    def _train_weights(self, step: int) -> None:
        """One step of the weights, on a network that the controller draws."""
        import torch

        space, rng = self.problem.space, stream(self.problem.seed, "enas.batches", self.number, _WEIGHTS, step)
        arch = space.sample(1, rng)[0]
        drawn = self.controller.draw(_TRIES, self.generator).numpy()
        live = np.flatnonzero(space.is_valid(drawn))
        if len(live):
            arch = drawn[live[0]]
        inputs, targets = self._batch(self.data.train, _WEIGHTS, step)
        self.supernet.train()
        self.sgd.zero_grad(set_to_none=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed(self.problem.seed, "enas.noise", self.number, step))
            loss = loss_of(self.data, self.supernet.forward_path(inputs, arch), targets)
        if not bool(torch.isfinite(loss)):
            self.skipped += 1
            return
        loss.backward()  # type: ignore[no-untyped-call]
        adopt(self.sgd, self.supernet)
        norm = torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), _LARGEST_NORM)
        if bool(torch.isfinite(norm)):
            self.sgd.step()
        else:
            self.skipped += 1
        self.supernet.zero_grad(set_to_none=True)

    def _train_controller(self, step: int) -> None:
        """One step of the controller, on networks that it draws, all judged on one validation batch."""
        import torch

        archs = self.controller.draw(self.settings.samples, self.generator)
        rewards = self._rewards(archs.numpy(), step)
        known = np.isfinite(rewards)
        if not known.any():
            return
        mean = float(rewards[known].mean())
        if self.baseline is None:
            self.baseline = mean
        self.adam.zero_grad(set_to_none=True)
        scores, entropies = self.controller.score(archs[torch.from_numpy(known)])
        kept = torch.from_numpy(rewards[known]).to(scores.dtype)
        reinforce(scores, entropies, kept, self.baseline, self.settings.entropy).mean().backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        share = self.settings.baseline
        self.baseline = share * self.baseline + (1 - share) * mean

    def _rewards(self, archs: Archs, step: int) -> Floats:
        """Rewards of `(n, d)` architectures, `(n,)`; NaN where a loss is no number."""
        costs = self.reward.costs(archs)
        rewards, factors = self.reward.refused(archs, costs), self.reward.factor(costs)
        inputs, targets = self._batch(self.data.valid, _CONTROLLER, step)
        for row in np.flatnonzero(np.isnan(rewards)):
            value = self._quality(archs[row], inputs, targets)
            rewards[row] = np.nan if value is None else value * factors[row]
        return rewards

    def _quality(self, arch: Archs, inputs: Tensor, targets: Tensor) -> float | None:
        """How good one architecture, `(d,)`, is on a batch; None, and counted, if its loss is no number."""
        outputs = by_batch_statistics(self.supernet, lambda: self.supernet.forward_path(inputs, arch))
        loss = loss_of(self.data, outputs, targets)
        if bool(loss.isfinite()):
            return quality(outputs, targets, loss)
        self.skipped += 1
        return None

    def _batch(self, part: Any, whom: int, step: int) -> tuple[Tensor, Tensor]:
        rng = stream(self.problem.seed, "enas.batches", self.number, whom, step)
        inputs, targets = minibatch(part, self.settings.batch, rng)
        return inputs.to(self.place), targets.to(self.place)
