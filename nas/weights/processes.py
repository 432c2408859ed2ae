"""Shared weights are trained by several processes at once: each has its share of every minibatch.

`torchrun` starts them and says who is who in the environment. Torch's `DistributedDataParallel` is told all parameters
at first; a supernet makes them when a network first needs them, so gradients are averaged here by hand.

Source: Li et al., "PyTorch Distributed: experiences on accelerating data parallel training", VLDB 2020, section 3.2.1:
    gradients are averaged in buckets. Normalisation takes each process's share by itself, as there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from device_profiles.errors import DeviceError, HwnasError, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

#: What torchrun says in the environment.
_SAID = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
#: Numbers that are averaged at once, 25 MB of them, as DistributedDataParallel does.
_BUCKET = 25 * 2**20 // 4


@dataclass(frozen=True)
class Group:
    """Processes that train the same weights.

    Attributes:
        rank: of this one, in 0..size - 1; the first writes checkpoints.
        size: how many there are.
        place: where this one's weights are.
    """

    rank: int = 0
    size: int = 1
    place: Any = None

    def share(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """This process's rows of tensors that are alike in all, `(batch, ...)` each; as many as of others, or one more.

        Raises:
            UsageError: there are fewer rows than processes.
        """
        if self.size == 1:
            return tensors
        if len(tensors[0]) < self.size:
            raise UsageError(
                f"a minibatch of {len(tensors[0])} examples cannot be shared by {self.size} processes",
                hint="Start fewer processes.",
            )
        return tuple(tensor.tensor_split(self.size)[self.rank] for tensor in tensors)

    def factor(self, rows: int, batch: int) -> float:
        """What gradients of a mean over `rows` are multiplied by, so that their average is that of `batch` rows."""
        return rows * self.size / batch

    def agree(self, what: str, *numbers: int) -> None:
        """Refuse numbers that differ between processes.

        Raises:
            HwnasError: they do.
        """
        if self.size == 1:
            return
        import torch

        found = torch.tensor([*numbers, *(-number for number in numbers)], dtype=torch.int64, device=self.place)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        largest, smallest = found.tolist()[: len(numbers)], [-one for one in found.tolist()[len(numbers) :]]
        if largest != smallest:
            raise HwnasError(
                f"processes that train together differ in {what}: {smallest} to {largest}",
                hint="All need the same files, versions and options; a trainer draws from `turn.rng` alone.",
            )

    def any(self, flag: Tensor) -> Tensor:
        """Whether a flag, a scalar, is set in any process."""
        if self.size == 1:
            return flag
        import torch

        found = flag.to(torch.int64)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return found.bool()

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """Put the mean over processes in place of each gradient; parameters that none has used stay without one.

        Raises:
            HwnasError: processes have made or used others.
        """
        if self.size == 1:
            return
        import torch

        used = [number for number, parameter in enumerate(parameters) if parameter.grad is not None]
        weights = sum(parameter.numel() for parameter in parameters)
        self.agree("weights that they use", len(parameters), weights, len(used), sum(used), sum(n * n for n in used))
        for bucket in _buckets([parameters[number].grad for number in used]):
            flat = torch.cat([slope.flatten() for slope in bucket])
            torch.distributed.all_reduce(flat)
            flat /= self.size
            for slope, mean in zip(bucket, torch.split(flat, [slope.numel() for slope in bucket]), strict=True):
                slope.copy_(mean.view(slope.shape))

    def share_buffers(self, module: nn.Module) -> None:
        """Give all processes what the first one has beside parameters: statistics of its normalisation."""
        if self.size == 1:
            return
        import torch

        for buffer in module.buffers():
            if buffer.numel():
                torch.distributed.broadcast(buffer, 0)
        torch.distributed.barrier()


def _buckets(slopes: Sequence[Any]) -> Iterator[list[Any]]:
    """Gradients of any shapes in groups of so many numbers, or of one that has more."""
    bucket: list[Any] = []
    for slope in slopes:
        if bucket and sum(one.numel() for one in bucket) + slope.numel() > _BUCKET:
            yield bucket
            bucket = []
        bucket.append(slope)
    if bucket:
        yield bucket


def count(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes torchrun has started; 1 where it has not started this one.

    Raises:
        UsageError: what the environment says is no number.
    """
    if not all(environment.get(name) for name in _SAID):
        return 1
    try:
        return int(environment["WORLD_SIZE"])
    except ValueError as error:
        raise UsageError(f"WORLD_SIZE must be a number, got {environment['WORLD_SIZE']!r}") from error


def rank() -> int:
    """Which of the processes that torchrun has started this one is; 0 where it is the only one."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def joined(place: torch.device) -> Group:
    """The group that torchrun has started this process in, or one of this process alone.

    Raises:
        DeviceError: there is no GPU for this process.
    """
    size = count()
    if size == 1:
        return Group(place=place)
    import torch

    if place.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise DeviceError(
                f"process {local} has no GPU of its own: there are {torch.cuda.device_count()}",
                hint="Start as many processes as there are GPUs, or use device=cpu.",
            )
        torch.cuda.set_device(local)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    return Group(torch.distributed.get_rank(), size, place)


def leave() -> None:
    """End the group, if there is one."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
