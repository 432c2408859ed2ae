"""First weights of networks that share them."""

from __future__ import annotations

from torch import nn

from nas.spaces._parts.residual import is_residual

#: What the last batch norm of what is added to its own input multiplies with at first. Not 0, so that all else of it
#: has a gradient from the first step on.
FAINT = 0.001


def fade_in(module: nn.Module) -> nn.Module:
    """A new module whose residuals begin close to the identity; the same module.

    Paths through a deep network of random blocks have little in common: what one teaches the layers behind them is
    nothing to the next, and none learns. Where all blocks that may be left out begin as if they were, paths are alike.

    Source: Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017, section 5.1.
    """
    for part in module.modules():
        if is_residual(part):
            last = [leaf for leaf in part.modules() if next(leaf.children(), None) is None][-1]
            if isinstance(last, nn.BatchNorm2d):
                nn.init.constant_(last.weight, FAINT)
    return module
