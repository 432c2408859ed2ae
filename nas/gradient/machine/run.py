"""One run: weights and an architecture are trained in turns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Floats
from nas.gradient.machine.channels import pass_by
from nas.gradient.machine.settings import PARTS, Settings
from nas.gradient.parts.probing import gradients, undisturbed
from nas.gradient.parts.protocol import Halt, Reference, Sampler, Turn, Watch
from nas.gradient.protocol import GradientProblem
from nas.streams import stream, torch_seed
from nas.weights.devices import device_of
from nas.weights.training import adopt, loss_of, minibatch

if TYPE_CHECKING:
    from torch import Tensor

    from nas.gradient.parts.protocol import Forward, Rows

#: Of Adam for the logits, as in DARTS (Liu, Simonyan & Yang, ICLR 2019, appendix A.1.1); the spread of the first ones.
_BETAS, _LOGIT_DECAY, _LOGIT_SPREAD = (0.5, 0.999), 1e-3, 1e-3
#: Of SGD for shared weights, as there; and the norm to which their gradient is clipped.
_MOMENTUM, _WEIGHT_DECAY, _LARGEST_NORM = 0.9, 3e-4, 5.0
#: Radius of perturbations at the start and at the end (Chen & Hsieh, ICML 2020, section 5.1); it grows linearly.
_RADII = (0.03, 0.3)
#: Looks of a stop in one run.
_LOOKS = 20
#: Steps whose loss or gradient is no number are left out; with so many of them a run ends.
LARGEST_SKIPPED = 10


class Run:
    """State of one run; it ends with `go`.

    Attributes:
        skipped: steps, of weights or of the architecture, that were left out since they had no finite loss or gradient.
        halted: why it ended early, or "".
    """

    def __init__(
        self,
        problem: GradientProblem,
        settings: Settings,
        name: str,
        number: int,
        runs: int,
        weight: float,
        references: Sequence[Reference],
    ) -> None:
        import torch

        self.problem, self.settings, self.name, self.number, self.runs = problem, settings, name, number, runs
        self.weight, self.references = weight, references
        self.skipped, self.halted = 0, ""
        made = {part: registry.get(getattr(settings, part)) for part, registry in PARTS.items()}
        self.sampler: Sampler = made["sampler"]()
        self.step, self.hardware, self.perturb = made["step"], made["hardware"], made["perturbation"]
        self.bounds = made["bounds"](problem.priced)
        self.look: Callable[[Watch], Halt | None] = made["stop"](problem.space)
        self._check_parts()
        self.supernet: Any = copy.deepcopy(problem.supernet()).train()
        self.place = device_of(self.supernet)
        self.data = problem.data()
        self.generator = torch.Generator().manual_seed(torch_seed(problem.seed, "gdas.run", number))
        self.logits: Rows = [
            (_LOGIT_SPREAD * torch.randn(options, generator=self.generator)).requires_grad_()
            for options in problem.space.choices
        ]
        if settings.channels < 1:
            pass_by(self.supernet, settings.channels, self.generator)
        self.architecture = torch.optim.Adam(self.logits, settings.rate, betas=_BETAS, weight_decay=_LOGIT_DECAY)
        parameters = [{"params": list(self.supernet.parameters())}]
        self.weights = torch.optim.SGD(parameters, settings.weight_rate, _MOMENTUM, weight_decay=_WEIGHT_DECAY)
        self.history: list[Rows] = []

    def _check_parts(self) -> None:
        """Refuse parts that do nothing together.

        Raises:
            UsageError: so it is.
        """
        mine = self.settings
        if self.sampler.credit is not None and mine.step != "first":
            raise UsageError(
                f"step {mine.step!r} differentiates losses by gates, which sampler {mine.sampler!r} does without",
                hint=f"Use {self.name}.step=first, or another sampler.",
            )
        if self.sampler.one_path and mine.perturbation != "none":
            raise UsageError(
                f"perturbation {mine.perturbation!r} moves the gates of a mixture, and weights of sampler "
                f"{mine.sampler!r} are trained on one path",
                hint=f"Use {self.name}.perturbation=none, or a sampler such as softmax.",
            )

    def go(self) -> None:
        """All steps, or those up to where it is stopped."""
        steps, every = self.settings.steps, max(self.settings.steps // _LOOKS, 1)
        for step in range(steps):
            self.problem.progress(self.name, self.number * steps + step, self.runs * steps)
            share = step / max(steps - 1, 1)
            tau = self.settings.tau_first + (self.settings.tau_last - self.settings.tau_first) * share
            rng = stream(self.problem.seed, "gdas.steps", self.number, step)
            self._train_weights(tau, share, rng)
            self._train_architecture(tau, rng)
            if self.skipped >= LARGEST_SKIPPED:
                self.halted = f"stopped at step {step + 1}: losses are no numbers"
            elif (step + 1) % every == 0:
                self._watch(step, rng)
            if self.halted:
                break
        self.problem.progress(self.name, (self.number + 1) * steps, self.runs * steps)

    def scores(self) -> list[Floats]:
        """Log-probabilities of options up to a constant, `(options,)` for each gene."""
        return [score.detach().double().numpy() for score in self.sampler.scores(self.logits)]

    def note(self) -> str:
        """The weight, what bounds say, and what went otherwise than planned."""
        said = [f"weight {self.weight:g}", self.bounds.note(), self.halted]
        said.append(f"{self.skipped} steps without a number left out" if self.skipped else "")
        return ", ".join(part for part in said if part)

    def _train_weights(self, tau: float, share: float, rng: np.random.Generator) -> None:
        """One step of the weights, on the path or the mixture that is drawn."""
        import torch

        with torch.no_grad():
            gates = self.sampler.gates(self.logits, tau, self.generator)
        inputs, targets = self._batch(self.data.train, rng)
        if self.sampler.one_path:
            path = np.array([int(gate.argmax()) for gate in gates])
            outputs = self.supernet.forward_path(inputs, path)
        else:
            gates = self._perturbed(gates, inputs, targets, _RADII[0] + (_RADII[1] - _RADII[0]) * share)
            outputs = self.supernet.forward_mixed(inputs, gates)
        loss = loss_of(self.data, outputs, targets)
        if not bool(torch.isfinite(loss)):
            self.skipped += 1
            return
        self.weights.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adopt(self.weights, self.supernet)
        norm = torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), _LARGEST_NORM)
        if bool(torch.isfinite(norm)):
            self.weights.step()
        else:
            self.skipped += 1
        self.supernet.zero_grad(set_to_none=True)

    def _perturbed(self, gates: Rows, inputs: Tensor, targets: Tensor, radius: float) -> Rows:
        """The gates that weights are trained under."""

        def loss(near: Rows) -> Tensor:
            return loss_of(self.data, self.supernet.forward_mixed(inputs, near), targets).cpu()

        if self.settings.perturbation == "none":
            return gates
        with undisturbed(self.supernet):
            near: Rows = self.perturb(gates, loss, radius, self.generator)
        return near

    def _train_architecture(self, tau: float, rng: np.random.Generator) -> None:
        """One step of the logits."""
        import torch

        valid = self._batch(self.data.valid, rng)
        train = self._batch(self.data.train, rng) if self.settings.step != "first" else valid
        noise = self.generator.get_state()

        def loss(forward: Forward, batch: tuple[Tensor, Tensor]) -> Tensor:
            self.generator.set_state(noise)
            gates = self.sampler.gates(self.logits, tau, self.generator)
            if self.sampler.credit is None:
                return loss_of(self.data, forward(batch[0], gates), batch[1]).cpu()
            with torch.no_grad():
                plain = loss_of(self.data, forward(batch[0], gates), batch[1]).cpu()
            return self.sampler.credit(plain, gates, self.logits)

        self.architecture.zero_grad(set_to_none=True)
        turn = Turn(
            self.logits,
            self.supernet,
            self.weights,
            lambda forward: loss(forward, train),
            lambda forward: self.total(loss(forward, valid), self.logits),
        )
        with undisturbed(self.supernet):
            value = self.step(turn)
        slopes = [logit.grad for logit in self.logits if logit.grad is not None]
        if not all(bool(torch.isfinite(part).all()) for part in (value, *slopes)):
            self.skipped += 1
            return
        before = [logit.detach().clone() for logit in self.logits]
        self.architecture.step()
        if self.sampler.settle is not None:
            self.sampler.settle(before, self.logits)
        with torch.no_grad():
            self.bounds.settle(self.costs(self.logits))

    def costs(self, logits: Rows) -> list[Tensor]:
        """Expected costs of logits, `(options,)` each: a scalar for each predicted objective, in its unit."""
        probabilities = self.probabilities(logits)
        return [price.cost(probabilities) for price in self.problem.priced]

    def probabilities(self, logits: Rows) -> Rows:
        """Of the options, `(options,)` for each gene."""
        import torch

        return [torch.softmax(score, dim=0) for score in self.sampler.scores(logits)]

    def total(self, loss: Tensor, logits: Rows) -> Tensor:
        """The loss of an architecture, a scalar: cross entropy, costs, their bounds, and the sampler's own term."""
        costs = self.costs(logits)
        factor, terms = self.hardware(costs, self.references, self.weight)
        limits = self.bounds.terms(costs)
        first, *others = (t if limit is None else t + limit for t, limit in zip(terms, limits, strict=True))
        total: Tensor = factor * loss + sum(others, start=first)
        return total if self.sampler.regulariser is None else total + self.sampler.regulariser(logits)

    def _batch(self, part: Any, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        inputs, targets = minibatch(part, self.settings.batch, rng)
        return inputs.to(self.place), targets.to(self.place)

    def _watch(self, step: int, rng: np.random.Generator) -> None:
        """Let the stop look, and go back to where it says that it was better."""
        import torch

        self.history.append([logit.detach().clone() for logit in self.logits])

        def alignment() -> float:
            gates = [gate.detach() for gate in self.probabilities(self.logits)]
            slopes = []
            for part in (self.data.train, self.data.valid):
                inputs, targets = self._batch(part, rng)
                loss = loss_of(self.data, self.supernet.forward_mixed(inputs, gates), targets)
                found = gradients(loss, list(self.supernet.parameters()))
                slopes.append(torch.cat([slope.flatten() for slope in found]))
            return float(torch.nn.functional.cosine_similarity(slopes[0], slopes[1], dim=0))

        def valid_loss(logits: Rows) -> Tensor:
            inputs, targets = self._batch(self.data.valid, rng)
            return loss_of(self.data, self.supernet.forward_mixed(inputs, self.probabilities(logits)), targets).cpu()

        probabilities = [row.detach().double().numpy() for row in self.probabilities(self.logits)]
        with undisturbed(self.supernet):
            halt = self.look(Watch(probabilities, self.logits, valid_loss, alignment))
        if halt is None:
            return
        self.halted = f"stopped at step {step + 1}: {halt.reason}"
        better = self.history[max(len(self.history) - 1 - halt.back, 0)]
        with torch.no_grad():
            for logit, value in zip(self.logits, better, strict=True):
                logit.copy_(value)
