"""In how many bits networks with shared weights are run while they are trained; the weights are always fp32.

Source: Micikevicius et al., "Mixed precision training", ICLR 2018: fp32 master weights (section 3.1), a scale of the
    loss so that small gradients are not lost in fp16 (section 3.2). bf16 has the range of fp32 and needs no scale:
    Kalamkar et al., "A study of BFLOAT16 for deep learning training", 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device_profiles.errors import UnknownName, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from nas.arrays import Archs

NAMES = ("fp32", "bf16", "fp16")


def require(name: str, place: torch.device) -> None:
    """Refuse a precision in which weights cannot be trained on a device.

    Raises:
        UnknownName: it is none of `NAMES`.
        UsageError: it is fp16, and the device is no GPU.
    """
    if name not in NAMES:
        raise UnknownName("precision", str(name), NAMES)
    if name == "fp16" and place.type != "cuda":
        raise UsageError(
            "shared weights are trained in fp16 on a GPU alone",
            hint="Use precision=bf16 on a CPU, or device=cuda.",
        )


def scaler(name: str, place: torch.device) -> Any:
    """Torch's scaler of gradients, which does nothing but for fp16."""
    import torch

    return torch.amp.GradScaler(place.type, enabled=name == "fp16")


class Cast:
    """A supernet whose passes compute in few bits, and the gradients of whose outputs are multiplied.

    The factor is applied where gradients enter the network and not to losses, so that a trainer may add up losses as it
    likes, and sees them as they are.

    Args:
        supernet: in training mode.
        name: one of `NAMES`.
        place: where its weights are.
        factor: of gradients, a scalar; None for 1.
    """

    def __init__(self, supernet: Any, name: str, place: torch.device, factor: Tensor | float | None) -> None:
        self._supernet, self._name, self._place, self._factor = supernet, name, place, factor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._supernet, name)

    def forward_path(self, inputs: Tensor, arch: Archs) -> Tensor:
        """Outputs of one architecture, `(d,)`, for inputs `(batch, ...)`, in fp32."""
        return self._run(self._supernet.forward_path, inputs, arch)

    def forward_mixed(self, inputs: Tensor, gates: Any) -> Tensor:
        """Outputs of a mixture by gates, `(options,)` for each gene, for inputs `(batch, ...)`, in fp32."""
        return self._run(self._supernet.forward_mixed, inputs, gates)

    def _run(self, forward: Any, inputs: Tensor, chosen: Any) -> Tensor:
        import torch

        kind = torch.float16 if self._name == "fp16" else torch.bfloat16
        with torch.autocast(self._place.type, kind, enabled=self._name != "fp32"):
            found: Tensor = forward(inputs, chosen)
        outputs, factor = found.float(), self._factor
        if factor is not None and outputs.requires_grad:
            outputs.register_hook(lambda slope: slope * factor)  # type: ignore[no-untyped-call]
        return outputs
