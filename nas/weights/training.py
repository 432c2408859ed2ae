"""Weight sharing: train one supernet, judge any of its networks by the weights it inherits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from device_profiles.errors import UsageError
from nas.arrays import Archs, Flags
from nas.spaces.protocol import Space
from nas.streams import stream, torch_seed
from nas.weights import precision, processes, supernets, trainers
from nas.weights.checkpoint import Checkpoint, Progress
from nas.weights.data.augmentation import augment
from nas.weights.data.protocol import Data, Part
from nas.weights.devices import device, device_of
from nas.weights.diverged import Diverged
from nas.weights.images import Images
from nas.weights.trainers import Turn

if TYPE_CHECKING:
    from torch import Tensor, nn

#: A checkpoint is written after so many steps.
CHECKPOINT_STEPS = 100
#: Steps whose loss or gradient is no number are left out; with so many of them a training ends.
LARGEST_SKIPPED = 10


@dataclass(frozen=True)
class TrainingPlan:
    """How shared weights are trained.

    Source: the optimiser is that of DARTS (Liu et al., ICLR 2019, appendix A); see `nas.weights.trainers` for which
        networks are run.

    Attributes:
        steps: minibatches.
        batch: images in one.
        rate: learning rate at the start of its cosine.
        last_rate: and at the end.
        momentum: of SGD.
        decay: weight decay.
        clip: largest norm of a gradient.
        seed: of weights, batches and paths.
        trainer: which networks see a minibatch; one of `nas.weights.trainers`.
        optimiser: of the weights: SGD of images, AdamW of tokens.
        weights: where networks have their weights from; one of `nas.weights.kinds`.
        precision: in which networks are run; one of `nas.weights.precision`.
        augment: what is done to images; names of `nas.weights.data.augmentation`.
    """

    steps: int = 400
    batch: int = 64
    rate: float = 0.05
    last_rate: float = 0.001
    momentum: float = 0.9
    decay: float = 3e-4
    clip: float = 5.0
    seed: int = 0
    trainer: str = "uniform"
    optimiser: Literal["sgd", "adamw"] = "sgd"
    weights: str = supernets.SHARED
    precision: str = "fp32"
    augment: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of it; what there was before there were others is not named."""
        found = asdict(self)
        for name in ("trainer", "optimiser", "weights", "precision", "augment"):
            if found[name] == getattr(TrainingPlan, name):
                del found[name]
        return found


def train(
    space: Space,
    data: Images | Data,
    plan: TrainingPlan,
    *,
    checkpoint: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    device_name: str = "cpu",
) -> nn.Module:
    """Train a supernet, or take it from its checkpoint; an interrupted training goes on.

    On the CPU it then ends with the weights that it would have had, bit for bit. Where torchrun has started several
    processes, each has its share of every minibatch, the first writes the checkpoint, and all end with the same
    weights. Steps whose loss or gradient is no number are left out.

    Args:
        space: whose networks share weights.
        data: images or sequences, or other data with `train`, `name`, `digest` and `loss(outputs, targets)`.
        plan: how.
        checkpoint: a `.safetensors` file; its metadata hold the plan, the space and the data, which must agree.
        progress: told steps done, and of how many.
        device_name: one of `nas.weights.devices.NAMES`.

    Raises:
        UsageError: the space cannot share weights, its networks have another number of classes than the data, or there
            is no such device.
        UnknownName: there is no such trainer, kind of weights, or precision.
        InvalidData: the checkpoint is damaged.
        Diverged: ten steps were left out; the last checkpoint is kept.
    """
    place = device(device_name)
    precision.require(plan.precision, place)
    training = _Training(space, data, plan, place, checkpoint)
    for step in range(training.begin(), plan.steps):
        progress(step, plan.steps)
        training.step(step)
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == plan.steps:
            training.save(step + 1)
    progress(plan.steps, plan.steps)
    return training.end()


class _Training:
    """State of a training."""

    def __init__(self, space: Space, data: Images | Data, plan: TrainingPlan, place: Any, checkpoint: Path) -> None:
        import torch

        self.space, self.data, self.plan, self.place = space, data, plan, place
        self.trainer = trainers.REGISTRY.get(plan.trainer)
        facts = {"space": space.spec, "data": data.name, "digest": data.digest, "plan": plan.facts}
        if form := supernets.form(space, plan.weights):
            facts["form"] = form
        self.group = processes.joined(place)
        torch.manual_seed(plan.seed)
        self.supernet: Any = supernets.of(space, seed=plan.seed, kind=plan.weights).to(place)
        self.optimiser = _optimiser(plan)
        self.scaler = precision.scaler(plan.precision, place)
        self.checkpoint = Checkpoint(checkpoint, json.dumps(facts, sort_keys=True))
        self.skipped = self.done = 0

    def begin(self) -> int:
        """Steps that are done, with all that they left in place."""
        found = self.checkpoint.restore(self.supernet, self.optimiser, adopt)
        self.done, self.skipped = found.step, found.skipped
        if found.scaler:
            self.scaler.load_state_dict(found.scaler)
        self.group.agree("steps that are done: all must see the same checkpoint", self.done, self.skipped)
        self.supernet.train()
        return self.done

    def step(self, step: int) -> None:
        """One minibatch.

        Raises:
            Diverged: it is the tenth whose loss or gradient is no number.
        """
        import torch

        plan, group = self.plan, self.group
        rng = stream(plan.seed, "weights.steps", step)
        # Of what is dropped the first process has what one alone would have.
        torch.manual_seed(torch_seed(plan.seed, "weights.noise", step, *([group.rank] if group.rank else [])))
        for kind in self.optimiser.param_groups:
            kind["lr"] = plan.last_rate + 0.5 * (plan.rate - plan.last_rate) * (
                1 + math.cos(math.pi * step / plan.steps)
            )
        whole = minibatch(self.data.train, plan.batch, rng)
        if plan.augment:
            whole = (augment(whole[0], plan.augment, stream(plan.seed, "weights.images", step)), whole[1])
        inputs, targets = (tensor.to(self.place) for tensor in group.share(*whole))
        wrong: list[Tensor] = [torch.zeros((), dtype=torch.bool, device=self.place)]

        def loss(outputs: Tensor) -> Tensor:
            _require_classes(self.space, self.data, outputs)
            found = loss_of(self.data, outputs, targets)
            wrong.append(~torch.isfinite(found.detach()).all())
            return found

        self.supernet.zero_grad(set_to_none=True)
        run = self._run(group.factor(len(inputs), len(whole[0])))
        self.trainer(Turn(run, self.space, inputs, loss, step, plan.steps, rng))
        adopt(self.optimiser, self.supernet)
        group.average(list(self.supernet.parameters()))
        self._apply(group.any(torch.stack(wrong).any()), step)

    def _run(self, factor: float) -> Any:
        """The supernet as a trainer runs it; itself, where nothing is to be done to it."""
        import torch

        scaled = None if factor == 1 else torch.tensor(factor, device=self.place)
        if self.scaler.is_enabled():
            scaled = self.scaler.scale(torch.ones((), device=self.place) if scaled is None else scaled)
        if self.plan.precision == "fp32" and scaled is None:
            return self.supernet
        return precision.Cast(self.supernet, self.plan.precision, self.place, scaled)

    def _apply(self, wrong: Tensor, step: int) -> None:
        """Change the weights by their gradients, or leave the step out, where they or a loss are no numbers."""
        import torch

        parameters = [one for one in self.supernet.parameters() if one.grad is not None]
        scaled = self.scaler.is_enabled() and bool(parameters)
        if scaled:
            self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.supernet.parameters(), self.plan.clip)
        fits = bool(torch.isfinite(norm) & ~wrong)
        overflow = scaled and not fits and not bool(wrong) and self.scaler.get_scale() >= 1
        if fits:
            self.scaler.step(self.optimiser) if scaled else self.optimiser.step()
        if scaled:
            self.scaler.update()  # a smaller scale where gradients were too large for fp16
        if fits or overflow:
            return
        self.skipped += 1
        _forget(self.supernet)
        if self.skipped >= LARGEST_SKIPPED:
            raise Diverged(
                f"training of shared weights diverged at step {step + 1} of {self.plan.steps}: {self.skipped} of its "
                "losses or gradients were no numbers",
                hint="The last checkpoint is kept. Train otherwise: trainer=fair, precision=fp32, another seed.",
            )

    def save(self, step: int) -> None:
        """Write the checkpoint after a step, if this is the process that does."""
        if self.group.rank == 0:
            scaler = self.scaler.state_dict() if self.scaler.is_enabled() else {}
            self.checkpoint.save(self.supernet, self.optimiser, Progress(step, self.skipped, scaler))

    def end(self) -> nn.Module:
        """The supernet, the same in all processes."""
        self.supernet.zero_grad(set_to_none=True)
        if self.done < self.plan.steps:
            self.group.share_buffers(self.supernet)
        module: nn.Module = self.supernet
        return module


def _forget(supernet: nn.Module) -> None:
    """Statistics of normalisation that are no numbers begin anew: what is once no number in a mean, stays none."""
    import torch

    for module in supernet.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            sums = module.running_mean.sum() + module.running_var.sum()  # type: ignore[union-attr]
            if not bool(torch.isfinite(sums)):
                module.reset_running_stats()


def _optimiser(plan: TrainingPlan) -> Any:
    import torch

    if plan.optimiser == "adamw":
        return torch.optim.AdamW([{"params": []}], plan.rate, weight_decay=plan.decay)
    return torch.optim.SGD([{"params": []}], plan.rate, plan.momentum, weight_decay=plan.decay)


def adopt(optimiser: Any, module: nn.Module) -> int:
    """Give an optimiser the parameters of a module that it does not know yet: some are made when they are needed.

    Returns:
        How many there were.
    """
    group = optimiser.param_groups[0]["params"]
    known = {id(parameter) for parameter in group}
    new = [parameter for parameter in module.parameters() if id(parameter) not in known]
    group.extend(new)
    return len(new)


def loss_of(data: Any, outputs: Tensor, targets: Tensor) -> Tensor:
    """The loss of outputs `(batch, ...)`: that of the data, or cross entropy for classes of images."""
    from torch.nn import functional

    if hasattr(data, "loss"):
        found: Tensor = data.loss(outputs, targets)
        return found
    return functional.cross_entropy(outputs, targets)


def _require_classes(space: Space, data: Any, outputs: Tensor) -> None:
    classes = getattr(data, "classes", outputs.shape[1])
    if outputs.shape[1] != classes:
        raise UsageError(
            f"networks of {space.spec} tell {outputs.shape[1]} classes apart, {data.name} has {classes}",
            hint=f"Use the space option classes={classes}.",
        )


def minibatch(split: Part, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random inputs and targets, drawn without repeats."""
    import torch

    rows = torch.from_numpy(rng.choice(len(split), size=min(size, len(split)), replace=False))
    return split.inputs[rows], split.targets[rows]


def inherit(
    supernet: Any, arch: Archs, data: Images | Data, *, batches: int = 4, size: int = 64, seed: int = 0
) -> nn.Module:
    """The network of `(d,)` genes with shared weights and batch-norm statistics of its own, in eval mode.

    Source: recalibration of batch norm, Bender et al., ICML 2018, section 3.3; Guo et al., ECCV 2020, section 3.4.
    """
    import torch

    network: nn.Module = supernet.subnet(arch)
    place = device_of(network)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average over the batches
    network.train()
    rng = stream(seed, "weights.calibration")
    with torch.no_grad():
        for _ in range(batches):
            network(minibatch(data.train, size, rng)[0].to(place))
    return network.eval()


def accuracy(network: Any, split: Part, *, batch: int = 250) -> float:
    """Share of images that a network in eval mode classifies correctly."""
    return int(right(network, split, batch=batch).sum()) / len(split)


def right(network: Any, split: Part, *, batch: int = 250) -> Flags:
    """Which images a network in eval mode classifies correctly, `(n,)`."""
    import torch

    place = device_of(network)
    with torch.no_grad():
        batches = _batches(split, batch)
        found = [(network(i.to(place)).argmax(dim=1).cpu() == labels).numpy() for i, labels in batches]
    return np.asarray(np.concatenate(found), dtype=np.bool_)


def _batches(split: Part, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(split), batch):
        yield split.inputs[start : start + batch], split.targets[start : start + batch]
