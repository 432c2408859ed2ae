"""Macro hyper-parameters of ResNet-50: depth, widths, and how narrow bottlenecks are."""

from nas.spaces.resnet.space import SPACE

__all__ = ["SPACE"]
