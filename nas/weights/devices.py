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
    oneDNN's. 1x1 convolutions that leave places out run with channels first on CPUs: the gradient of their kernels is
    written beyond its memory there (oneDNN of torch 2.13 on AVX-512, few channels, 48 pixels and more), and the process
    crashes, or computes with what was overwritten.
    """
    import torch

    laid = module.to(memory_format=torch.channels_last)
    for part in laid.modules():
        if _leaves_places_out(part):
            part.to(memory_format=torch.contiguous_format)
            if _channels_first not in part._forward_pre_hooks.values():
                part.register_forward_pre_hook(_channels_first)
    return laid


def _leaves_places_out(part: Any) -> bool:
    import torch

    return isinstance(part, torch.nn.Conv2d) and set(part.kernel_size) == {1} and set(part.stride) != {1}


def _channels_first(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """What a module is given, in planes, on a CPU."""
    return tuple(one.contiguous() if one.device.type == "cpu" else one for one in given)


def device_of(module: Any) -> torch.device:
    """Where the weights of a module are; the CPU for what has none."""
    import torch

    first = next(iter(module.parameters()), None) if isinstance(module, torch.nn.Module) else None
    return torch.device("cpu") if first is None else first.device
