"""Weights of a block as slices of those of a wider one, for networks that share them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from profiler.assembly import Block, Cut

if TYPE_CHECKING:
    from torch import Tensor, nn

    Shapes = dict[str, tuple[int, ...]]

#: Axes of a parameter that are channels.
_CHANNEL_AXES = 2
#: A block's key, and what builds its module.
Kind = tuple[str, Callable[[], "nn.Module"]]
#: For a parameter, of each of its first axes how many equal groups it has.
Groups = Mapping[str, tuple[int, ...]]


def front_slices(
    build: Callable[[], nn.Module], key: str, whole: Callable[[], nn.Module], groups: Groups | None = None
) -> Cut:
    """The first channels of each parameter of a wider module of the same structure, and the middle of its kernels.

    The first two axes of a parameter, such as outputs and inputs, are channels; those behind are a kernel's. So blocks
    of different widths in a row read and give the same first channels. Where an axis has several groups, such as the
    heads of queries, keys and values in one matrix, it is the first channels of each group.

    Source: front parts of embeddings and linear layers, Wang et al., "HAT: hardware-aware transformers for efficient
        natural language processing", ACL 2020, section 2.2; Chen et al., "AutoFormer: searching transformers for visual
        recognition", ICCV 2021, the section on weight entanglement (there, heads have one width and their number is
        searched; here it is the other way round, so heads keep their number and lose channels). Kernels within kernels:
        Stamoulis et al., "Single-path NAS", ECML PKDD 2019, section 3.1; Cai et al., "Once-for-all: train one network
        and specialize it for efficient deployment", ICLR 2020, section 3.3 (there, kernels are transformed too, and
        channels sorted).

    Args:
        build: makes the module; all its parameters are cut.
        key: of the wider block.
        whole: makes the wider module. Each parameter of the module is there under its name, no smaller on any axis.
        groups: by the name of a parameter, how many groups each of its first axes has; 1 where nothing is said.
    """
    return Cut(key, whole, partial(_taken, _shapes(build), dict(groups or {})))


def sliced(
    name: str, inputs: tuple[str, ...], kind: Kind, widest: Kind, groups: Callable[[], Groups] | None = None
) -> Block:
    """A block whose weights are front slices of those of the widest kind at its place; see `front_slices`."""
    key, build = kind
    return Block(name, key, inputs, build, partial(_cut, build, widest, groups))


def _cut(build: Callable[[], nn.Module], widest: Kind, groups: Callable[[], Groups] | None) -> Cut:
    key, whole = widest
    return front_slices(build, key, whole, groups() if groups else None)


def _shapes(build: Callable[[], nn.Module]) -> Shapes:
    import torch

    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in build().named_parameters()}


def _taken(shapes: Shapes, groups: Groups, wide: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: _slice(wide[name], shape, groups.get(name, ())) for name, shape in shapes.items()}


def _slice(tensor: Tensor, shape: tuple[int, ...], groups: tuple[int, ...]) -> Tensor:
    """A part of this shape; a view where no axis has groups."""
    for axis, size in enumerate(shape):
        full = tensor.shape[axis]
        parts = groups[axis] if axis < len(groups) else 1
        if size == full:
            continue
        if parts > 1:
            split = tensor.reshape(*tensor.shape[:axis], parts, full // parts, *tensor.shape[axis + 1 :])
            tensor = split.narrow(axis + 1, 0, size // parts).flatten(axis, axis + 1)
        else:
            tensor = tensor.narrow(axis, 0 if axis < _CHANNEL_AXES else (full - size) // 2, size)
    return tensor
