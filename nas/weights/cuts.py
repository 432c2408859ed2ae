"""A block whose weights are cut out of those of a wider one, each time it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class CutBlock(nn.Module):
    """A module without the parameters that are cut; what else it has, such as statistics of its inputs, is its own.

    Source: kernels, widths and depths that share weights, Cai et al., "Once-for-all: train one network and specialize
        it for efficient deployment", ICLR 2020, section 3.3; an operator's weights inside another's, Stamoulis et al.,
        "Single-path NAS", ECML PKDD 2019, section 3.1.

    Args:
        module: the block's own.
        whole: the wider one; it is not a part of this module, which has no weights of it.
        take: from the parameters of `whole`, by name, those of `module` that are cut, by name.
    """

    def __init__(
        self, module: nn.Module, whole: nn.Module, take: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    ) -> None:
        super().__init__()
        self.module = module
        self.take = take
        self._whole = (whole,)
        for name, tensor in self.cut().items():
            owner, attribute = self._place(name)
            wanted = owner.get_parameter(attribute).shape
            if tensor.shape != wanted:
                raise ValueError(f"{name} is {tuple(wanted)}, and {tuple(tensor.shape)} is cut out for it")
            delattr(owner, attribute)
            setattr(owner, attribute, None)

    def cut(self) -> dict[str, Tensor]:
        """The parameters that are cut, by the module's names; gradients of them reach the wider module's."""
        (whole,) = self._whole
        return self.take(dict(whole.named_parameters()))

    def forward(self, *inputs: Tensor) -> Any:
        """Run the module with them."""
        with self._lent():
            return self.module(*inputs)

    def state_alone(self) -> dict[str, Tensor]:
        """The state of the same module alone."""
        return {**self.module.state_dict(), **self.cut()}

    @contextmanager
    def _lent(self) -> Iterator[None]:
        lent = self.cut()
        for name, tensor in lent.items():  # as views: a parameter would be registered here, where others go later
            setattr(*self._place(name), tensor.view_as(tensor))
        try:
            yield
        finally:
            for name in lent:
                setattr(*self._place(name), None)

    def _place(self, name: str) -> tuple[nn.Module, str]:
        owner, _, attribute = name.rpartition(".")
        return self.module.get_submodule(owner), attribute
