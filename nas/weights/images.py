"""Images to train shared weights on: any data set of images with classes, under the names that these have."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiles.errors import UsageError
from nas.weights import data
from nas.weights.data.protocol import TEST_SHARE, VALID_SHARE, Part, Wanted
from nas.weights.data.tasks import Classification

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TEST_SHARE", "VALID_SHARE", "Images", "Split", "listing", "load"]


@dataclass(frozen=True)
class Split(Part):
    """Images `(n, channels, height, width)`, normalised float32, and labels `(n,)`, int64, as torch tensors."""

    @property
    def images(self) -> Tensor:
        """The inputs."""
        return self.inputs

    @property
    def labels(self) -> Tensor:
        """The targets."""
        return self.targets


@dataclass(frozen=True)
class Images:
    """A data set of images, in memory.

    Attributes:
        name: `digits`, the folder, or another name of data.
        classes: number of classes.
        train: for weights.
        valid: for judging architectures.
        test: for the report.
    """

    name: str
    classes: int
    train: Split
    valid: Split
    test: Split

    @property
    def digest(self) -> str:
        """SHA-256 of the training images and labels: weights are taken from a checkpoint only of the same."""
        return self.train.digest


def listing(name: str) -> str:
    """16 hexadecimal digits of what files a folder has, by path and size, without reading them; "" for `digits`.

    Of other data, the digits of their content.
    """
    root = Path(name)
    if not root.is_dir():
        return data.fingerprint(name)
    lines = [f"{path.relative_to(root)} {path.stat().st_size}" for path in sorted(root.rglob("*")) if path.is_file()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def load(name: str, input_shape: tuple[int, ...], *, seed: int, limit: int | None = None) -> Images:
    """Read images and bring them to the shape of a space's input.

    Args:
        name: `digits`, a folder with `train/<class>/*` and maybe `test/<class>/*`, or with `<class>/*`; or another
            name of images with classes, see `nas.weights.data`.
        input_shape: `(1, channels, height, width)`; images are resized (bilinear), grey ones repeated or colours
            averaged.
        seed: of the split.
        limit: use at most that many images of each split, or None for all.

    Raises:
        UsageError: the folder does not exist, the data are no images, or the limit is below 1.
        InvalidData: it holds no images, or fewer than two classes.
    """
    found = data.load(name, Wanted(input_shape), seed=seed, limit=limit)
    if not isinstance(found.task, Classification):
        raise UsageError(f"{name} is no data set of images with classes", hint="Give --data digits, or a folder.")
    return Images(name, found.task.outputs, _split(found.train), _split(found.valid), _split(found.test))


def _split(part: Part) -> Split:
    return Split(part.inputs, part.targets)
