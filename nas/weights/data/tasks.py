"""Tasks: classes of images, the next byte of a text, the translation of a sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.weights.data.protocol import Part

if TYPE_CHECKING:
    from torch import Tensor

#: Normal quantile of a two-sided 90 % interval.
Z90 = 1.6449
#: Of targets that are not scored: what fills a sequence up.
IGNORED = -100


@dataclass(frozen=True)
class Classification:
    """Which class an image is of, scored by accuracy.

    Attributes:
        outputs: classes.
    """

    outputs: int
    score_name: str = "accuracy"
    unit: str = "fraction"
    maximise: bool = True
    images: bool = True

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross entropy.

        Source of smoothing: Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, section 7.
        """
        return _cross_entropy(outputs, targets, smoothing)

    def score(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """1 for each image that is classified correctly, else 0; and 1."""
        right = (outputs.argmax(dim=1) == targets).double()
        return right, right.new_ones(len(right))

    def summary(self, sums: Tensor, counts: Tensor) -> tuple[float, float, float]:
        """Share of `(n,)` images that are classified correctly, with Wilson's 90 % interval."""
        share = float(sums.sum() / counts.sum())
        low, high = wilson(share, len(sums))
        return share, float(low), float(high)

    def chance(self, part: Part) -> float:
        """That of guessing the largest class."""
        return float(part.targets.bincount().max()) / len(part)

    def option(self) -> str:
        """The option of most spaces of images."""
        return f"classes={self.outputs}"


@dataclass(frozen=True)
class Tokens:
    """Which token is next, of a text or of a translation, scored by perplexity: the exponential of the mean loss.

    Under teacher forcing the true tokens before are given.

    Attributes:
        outputs: tokens.
    """

    outputs: int
    score_name: str = "perplexity"
    unit: str = ""
    maximise: bool = False
    images: bool = False

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Cross entropy of all tokens that are scored."""
        return _cross_entropy(outputs.flatten(0, 1), targets.flatten(), smoothing)

    def score(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the losses of each sequence, in nats, and how many of its tokens are scored."""
        from torch.nn.functional import cross_entropy

        losses = cross_entropy(outputs.transpose(1, 2), targets, reduction="none", ignore_index=IGNORED)
        return losses.double().sum(dim=1), (targets != IGNORED).sum(dim=1).double()

    def summary(self, sums: Tensor, counts: Tensor) -> tuple[float, float, float]:
        """Perplexity of `(n,)` sequences; the interval is that of a ratio of sums over sequences that are independent.

        Source: Cochran, "Sampling techniques", 3rd edition, 1977, section 6.4.
        """
        mean = float(sums.sum() / counts.sum())
        count = len(sums)
        spread = float(((sums - mean * counts) ** 2).sum()) / max(count - 1, 1)
        error = Z90 * math.sqrt(spread / count) / float(counts.mean())
        return _exponential(mean), _exponential(mean - error), _exponential(mean + error)

    def chance(self, part: Part) -> float:
        """That of knowing how frequent each token is, and nothing else."""
        seen = part.targets[part.targets != IGNORED].bincount().double()
        share = seen[seen > 0] / seen.sum()
        return float((-(share * share.log()).sum()).exp())

    def option(self) -> str:
        """The option of the spaces of transformers."""
        return f"vocabulary={self.outputs}"


def wilson(share: Any, count: int) -> tuple[Any, Any]:
    """Wilson's 90 % interval of a share of `count` trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    z2 = Z90**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z90 / (1 + z2 / count) * (share * (1 - share) / count + z2 / (4 * count**2)) ** 0.5
    return centre - half, centre + half


def _cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs, targets, label_smoothing=smoothing, ignore_index=IGNORED)


def _exponential(nats: float) -> float:
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf
