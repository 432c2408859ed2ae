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
from nas.weights import going, supernets, trainers
from nas.weights.data.protocol import Data, Part
from nas.weights.devices import device, device_of
from nas.weights.images import Images, Split
from nas.weights.trainers import Turn

if TYPE_CHECKING:
    from torch import Tensor, nn

#: A checkpoint is written after so many steps.
CHECKPOINT_STEPS = 100
#: What an optimiser's tensors are called in a checkpoint, where that is not as torch calls them.
_KEPT = {"momentum_buffer": "momentum"}


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

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of it; what there was before there were others is not named."""
        found = asdict(self)
        for name in ("trainer", "optimiser", "weights"):
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

    On the CPU it then ends with the weights that it would have had, bit for bit.

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
        UnknownName: there is no such trainer, or kind of weights.
        InvalidData: the checkpoint is damaged.
    """
    import torch

    place = device(device_name)
    trainer = trainers.REGISTRY.get(plan.trainer)
    facts = {"space": space.spec, "data": data.name, "digest": data.digest, "plan": plan.facts}
    if form := supernets.form(space, plan.weights):
        facts["form"] = form
    identity = json.dumps(facts, sort_keys=True)
    torch.manual_seed(plan.seed)
    supernet: Any = supernets.of(space, seed=plan.seed, kind=plan.weights).to(place)
    optimiser = _optimiser(plan)
    done = _restore(checkpoint, supernet, optimiser, identity)
    supernet.train()
    for step in range(done, plan.steps):
        progress(step, plan.steps)
        rng = stream(plan.seed, "weights.steps", step)
        torch.manual_seed(torch_seed(plan.seed, "weights.noise", step))
        for group in optimiser.param_groups:
            group["lr"] = plan.last_rate + 0.5 * (plan.rate - plan.last_rate) * (
                1 + math.cos(math.pi * step / plan.steps)
            )
        inputs, targets = (tensor.to(place) for tensor in minibatch(data.train, plan.batch, rng))

        def loss(outputs: Tensor, targets: Tensor = targets) -> Tensor:
            _require_classes(space, data, outputs)
            return loss_of(data, outputs, targets)

        supernet.zero_grad(set_to_none=True)
        trainer(Turn(supernet, space, inputs, loss, step, plan.steps, rng))
        adopt(optimiser, supernet)
        torch.nn.utils.clip_grad_norm_(supernet.parameters(), plan.clip)
        optimiser.step()
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == plan.steps:
            _save(checkpoint, supernet, optimiser, identity, step + 1)
    progress(plan.steps, plan.steps)
    supernet.zero_grad(set_to_none=True)
    module: nn.Module = supernet
    return module


def _optimiser(plan: TrainingPlan) -> Any:
    import torch

    if plan.optimiser == "adamw":
        return torch.optim.AdamW([{"params": []}], plan.rate, weight_decay=plan.decay)
    return torch.optim.SGD([{"params": []}], plan.rate, plan.momentum, weight_decay=plan.decay)


def adopt(optimiser: Any, module: nn.Module) -> None:
    """Give an optimiser the parameters of a module that it does not know yet: some are made when they are needed."""
    group = optimiser.param_groups[0]["params"]
    known = {id(parameter) for parameter in group}
    group.extend(parameter for parameter in module.parameters() if id(parameter) not in known)


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


def accuracy(network: Any, split: Split, *, batch: int = 250) -> float:
    """Share of images that a network in eval mode classifies correctly."""
    return int(right(network, split, batch=batch).sum()) / len(split)


def right(network: Any, split: Split, *, batch: int = 250) -> Flags:
    """Which images a network in eval mode classifies correctly, `(n,)`."""
    import torch

    place = device_of(network)
    with torch.no_grad():
        batches = _batches(split, batch)
        found = [(network(i.to(place)).argmax(dim=1).cpu() == labels).numpy() for i, labels in batches]
    return np.asarray(np.concatenate(found), dtype=np.bool_)


def _batches(split: Split, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(split), batch):
        yield split.images[start : start + batch], split.labels[start : start + batch]


def _save(path: Path, supernet: Any, optimiser: Any, identity: str, step: int) -> None:
    """Write weights and what the optimiser knows of each, whole or not at all."""
    tensors = {f"weights.{name}": tensor for name, tensor in supernet.state_dict().items()}
    for number, parameter in enumerate(supernet.parameters()):
        for name, tensor in optimiser.state.get(parameter, {}).items():
            if tensor is not None:
                tensors[f"{_KEPT.get(name, name)}.{number}"] = tensor
    going.write(path, tensors, {"identity": identity, "step": str(step)})


def _restore(path: Path, supernet: Any, optimiser: Any, identity: str) -> int:
    """Steps already done, with weights and momentum in place; 0 if there is no checkpoint of this very training."""
    found = going.read(path, identity)
    if found is None:
        return 0
    tensors, facts = found
    try:
        done = int(facts["step"])
        supernet.load_state_dict(going.below("weights", tensors))
        adopt(optimiser, supernet)
        for number, parameter in enumerate(supernet.parameters()):
            for name in ("momentum_buffer", "exp_avg", "exp_avg_sq", "step"):
                kept = tensors.get(f"{_KEPT.get(name, name)}.{number}")
                if kept is not None:  # a count stays on the CPU, as torch keeps it
                    optimiser.state[parameter][name] = kept if name == "step" else kept.to(parameter.device)
    except (RuntimeError, ValueError, KeyError, UsageError) as error:
        raise going.damaged(path, error) from error
    return done
