"""A network is trained alone, from scratch; an interrupted training goes on, and the best weights are kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.errors import InvalidData, InvalidModel, UsageError
from nas.streams import stream, torch_seed
from nas.weights import going
from nas.weights.data.augmentation import augment
from nas.weights.data.protocol import Data, Part, Task
from nas.weights.devices import laid_out

if TYPE_CHECKING:
    from torch import Tensor, nn

#: A checkpoint is written after so many steps, and after each epoch.
CHECKPOINT_STEPS = 200
#: Examples that are judged at once.
_JUDGED = 250


class TrainingDiverged(InvalidModel):
    """A training ended in weights that are no numbers: its architecture has no value."""


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Images by SGD with momentum, tokens by AdamW (Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR
    2019); the rate falls by a cosine to a hundredth (Loshchilov & Hutter, "SGDR", ICLR 2017, without restarts).

    Attributes:
        epochs: each sees all training examples once, but those that fill no batch.
        batch: examples in one.
        rate: learning rate at the start; by default 0.05 for SGD and 0.001 for AdamW.
        smoothing: of labels, in 0..1.
        augment: what is done to images, see `nas.weights.data.augmentation`.
        momentum: of SGD.
        decay: weight decay.
        clip: largest norm of a gradient.
        device: `cpu` or `cuda`.
        seed: of the search.
        replicate: sets apart trainings of one architecture; two architectures see the same batches in the same one.
    """

    epochs: int = 10
    batch: int = 64
    rate: float | None = None
    smoothing: float = 0.0
    augment: tuple[str, ...] = ()
    momentum: float = 0.9
    decay: float = 3e-4
    clip: float = 5.0
    device: str = "cpu"
    seed: int = 0
    replicate: int = 0


@dataclass(frozen=True)
class Score:
    """How good a network is on a part of the data.

    Attributes:
        value: in the task's unit.
        low: lower end of the 90 % interval for the choice of examples.
        high: upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        score: of the kept weights on the validation examples.
        epoch: after which they were kept, from 1; the best one, the first of equals.
        weights: file that holds them.
    """

    score: Score
    epoch: int
    weights: Path


def train(
    build: Callable[[], nn.Module],
    data: Data,
    recipe: Recipe,
    *,
    checkpoint: Path,
    about: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Trained:
    """Train a network, or take what is left of an earlier training of the same.

    On a CPU an interrupted training ends on the same weights, bit for bit, as one that was not.

    Args:
        build: makes the network, with fresh weights from torch's generator.
        data: to train on; the validation examples choose the epoch whose weights are kept.
        recipe: how.
        checkpoint: a `.safetensors` file for the best weights; what is needed to go on lies beside it until the end.
        about: what is trained on what; a checkpoint of something else is not gone on with.
        progress: told steps done, and of how many.

    Raises:
        TrainingDiverged: a loss or the score is no number, and no other epoch was better.
        UsageError: outputs do not fit the task.
        InvalidData: a batch is larger than the training examples, or a checkpoint is damaged.
    """
    import torch

    facts = {"about": about, "recipe": asdict(recipe), "maximise": data.task.maximise}
    identity = json.dumps(facts, sort_keys=True)
    finished = going.finished(checkpoint, identity)
    if finished is not None:
        return Trained(Score(*finished.score), finished.epoch, checkpoint)
    require_batch(data, recipe)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if recipe.device == "cuda" else []):
        torch.manual_seed(torch_seed(recipe.seed, "alone.weights", recipe.replicate))
        network = laid_out(build()).to(recipe.device)
        optimiser = _optimiser(network, data.task, recipe)
        best = _steps(network, optimiser, data, recipe, going.Files(checkpoint, identity), progress)
    return Trained(Score(*best.score), best.epoch, checkpoint)


def _steps(
    network: nn.Module,
    optimiser: Any,
    data: Data,
    recipe: Recipe,
    files: going.Files,
    progress: Callable[[int, int], None],
) -> going.Best:
    """From where the training is to its end."""
    import torch

    per_epoch = len(data.train) // recipe.batch
    total = per_epoch * recipe.epochs
    top = optimiser.param_groups[0]["lr"]
    done, best = files.restore(network, optimiser)
    for step, inputs, targets in _batches(data, recipe, done, total):
        progress(step, total)
        torch.manual_seed(torch_seed(recipe.seed, "alone.steps", recipe.replicate, step))  # of layers that drop out
        for group in optimiser.param_groups:
            group["lr"] = 0.5 * top * (1.01 + 0.99 * math.cos(math.pi * step / total))
        outputs = network.train()(inputs)
        if step == done:
            _check(outputs, targets, data)
        loss = data.task.loss(outputs, targets, recipe.smoothing)
        if not math.isfinite(loss.item()):
            files.remove()
            raise TrainingDiverged(
                f"the loss is {loss.item()} after {step} of {total} steps",
                hint=f"--set train_rate={top / 4:g} learns more slowly.",
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        optimiser.step()
        epoch, left = divmod(step + 1, per_epoch)
        if left == 0:
            best = _better(best, network, data, recipe, epoch)
        if left == 0 or (step + 1) % CHECKPOINT_STEPS == 0:
            files.save(network, optimiser, step + 1, best)
    progress(total, total)
    if best is None:
        files.remove()
        raise TrainingDiverged(f"none of {recipe.epochs} epochs ended with a score that is a number")
    files.finish(best)
    return best


def _better(best: going.Best | None, network: nn.Module, data: Data, recipe: Recipe, epoch: int) -> going.Best | None:
    """The best weights so far, with those of an epoch that has ended."""
    score = judge(network.eval(), data.task, data.valid, where=recipe.device)
    if not all(map(math.isfinite, (score.value, score.low, score.high))):
        return best
    if best is not None and not (score.value > best.score[0] if data.task.maximise else score.value < best.score[0]):
        return best
    weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
    return going.Best(weights, (score.value, score.low, score.high), epoch)


def _batches(data: Data, recipe: Recipe, first: int, last: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Steps `first` to `last`, each with its inputs and targets; every step draws the same wherever it is begun."""
    import torch

    per_epoch, known, order = len(data.train) // recipe.batch, -1, np.empty(0, dtype=np.int64)
    for step in range(first, last):
        epoch, place = divmod(step, per_epoch)
        if epoch != known:
            order = stream(recipe.seed, "alone.epochs", recipe.replicate, epoch).permutation(len(data.train))
            known = epoch
        rows = torch.from_numpy(order[place * recipe.batch : (place + 1) * recipe.batch])
        inputs = data.train.inputs[rows].to(recipe.device)
        if recipe.augment:
            inputs = augment(inputs, recipe.augment, stream(recipe.seed, "alone.images", recipe.replicate, step))
        yield step, inputs, data.train.targets[rows].to(recipe.device)


def _optimiser(network: nn.Module, task: Task, recipe: Recipe) -> Any:
    import torch

    if task.images:
        rate = 0.05 if recipe.rate is None else recipe.rate
        return torch.optim.SGD(network.parameters(), rate, recipe.momentum, weight_decay=recipe.decay)
    return torch.optim.AdamW(
        network.parameters(), 0.001 if recipe.rate is None else recipe.rate, weight_decay=recipe.decay
    )


def _check(outputs: Tensor, targets: Tensor, data: Data) -> None:
    """Refuse outputs of another shape than the task's."""
    expected = (*targets.shape, data.task.outputs)
    if tuple(outputs.shape) != expected:
        raise UsageError(
            f"networks give outputs of shape {tuple(outputs.shape)}, {data.name} wants {expected}",
            hint=f"Use the space option {data.task.option()}.",
        )


def judge(network: Any, task: Task, part: Part, *, where: str = "cpu") -> Score:
    """How good a network in eval mode is on a part of the data.

    Args:
        network: on the device.
        task: of the data.
        part: of the data.
        where: the device.
    """
    import torch

    with torch.no_grad():
        found = [task.score(network(inputs.to(where)), targets.to(where)) for inputs, targets in _parts(part)]
    sums, counts = (torch.cat(column).cpu() for column in zip(*found, strict=True))
    return Score(*task.summary(sums, counts))


def _parts(part: Part) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(part), _JUDGED):
        yield part.inputs[start : start + _JUDGED], part.targets[start : start + _JUDGED]


def load(network: nn.Module, weights: Path) -> nn.Module:
    """A network with the weights of a finished training, in eval mode.

    Raises:
        InvalidData: the file is damaged, or of another network.
    """
    return going.load(network, weights)


def kept(folder: Path, stem: str, about: str) -> Path | None:
    """The weights of the longest of several trainings of one network, and of the best of those; None without any.

    Args:
        folder: where they are.
        stem: that their names begin with.
        about: what was trained on what, as `train` was told.
    """
    found = []
    for path in sorted(folder.glob(f"{stem}.*.safetensors")):
        identity, best = going.ended(path)
        facts = json.loads(identity)
        if facts["about"] == about:
            value = best.score[0] if facts["maximise"] else -best.score[0]
            found.append((facts["recipe"]["epochs"], value, path))
    return max(found, key=lambda one: one[:2])[2] if found else None


def require_batch(data: Data, recipe: Recipe) -> None:
    """Refuse a batch that is larger than all training examples.

    Raises:
        InvalidData: it is.
    """
    if len(data.train) < recipe.batch:
        raise InvalidData(
            f"{data.name} has {len(data.train)} training examples, fewer than a batch of {recipe.batch}",
            hint=f"--set train_batch={max(len(data.train) // 4, 2)}, or more data.",
        )
