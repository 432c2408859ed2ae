"""Where training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device_profiles.errors import DeviceError, UnknownName

if TYPE_CHECKING:
    import torch

NAMES = ("cpu", "cuda", "auto")


def device(name: str) -> torch.device:
    """A torch device by name; `auto` is a GPU where torch has one, and the CPU elsewhere.

    Raises:
        UnknownName: it is none of `NAMES`.
        DeviceError: it is `cuda`, and torch has no GPU here.
    """
    import torch

    if name not in NAMES:
        raise UnknownName("device", str(name), NAMES)
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise DeviceError("device cuda is asked for, and torch has no GPU here", hint="Use device=auto or device=cpu.")
    return torch.device("cuda" if name != "cpu" and there else "cpu")


def laid_out(module: Any) -> Any:
    """The same module with the channels of its kernels last, so that convolutions run so, whatever they are given.

    Values are the same; a training step of images takes half the time, on GPUs and on CPUs where convolutions are
    oneDNN's.
    """
    import torch

    return module.to(memory_format=torch.channels_last)


def device_of(module: Any) -> torch.device:
    """Where the weights of a module are; the CPU for what has none."""
    import torch

    first = next(iter(module.parameters()), None) if isinstance(module, torch.nn.Module) else None
    return torch.device("cpu") if first is None else first.device
