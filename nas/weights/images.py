"""Images to train on: scikit-learn's digits, which every installation has, or a folder of images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidData, UsageError
from nas.streams import stream

if TYPE_CHECKING:
    from torch import Tensor

#: Share of the training images that is kept to judge architectures; the test images are for the report alone.
VALID_SHARE = 0.2
TEST_SHARE = 0.2
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class Split:
    """Images `(n, channels, height, width)`, normalised float32, and labels `(n,)`, int64, as torch tensors."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return int(self.labels.shape[0])


@dataclass(frozen=True)
class Images:
    """A data set of images, in memory.

    Attributes:
        name: `digits` or the folder.
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
        found = hashlib.sha256(self.train.images.numpy().tobytes())
        found.update(self.train.labels.numpy().tobytes())
        return found.hexdigest()


def listing(name: str) -> str:
    """16 hexadecimal digits of what files a data set has, by path and size, without reading them; "" for `digits`."""
    if name == "digits":
        return ""
    root = Path(name)
    lines = [f"{path.relative_to(root)} {path.stat().st_size}" for path in sorted(root.rglob("*")) if path.is_file()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def load(name: str, input_shape: tuple[int, ...], *, seed: int, limit: int | None = None) -> Images:
    """Read images and bring them to the shape of a space's input.

    Args:
        name: `digits`, or a folder with `train/<class>/*` and maybe `test/<class>/*`, or with `<class>/*`.
        input_shape: `(1, channels, height, width)`; images are resized (bilinear), grey ones repeated or colours
            averaged.
        seed: of the split.
        limit: use at most that many images of each split, or None for all.

    Raises:
        UsageError: the folder does not exist, or the limit is below 1.
        InvalidData: it holds no images, or fewer than two classes.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"at least 1 image of each split is needed, got a limit of {limit}")
    rng = stream(seed, "weights.images")
    if name == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        raw = (digits.images[:, None] * (255.0 / 16.0)).astype(np.uint8)
        pixels, labels, test_pixels, test_labels = *_shuffled(raw, digits.target.astype(np.int64), rng), None, None
        classes = 10
    else:
        pixels, labels, test_pixels, test_labels, classes = _folder(Path(name), input_shape, rng)
    if test_pixels is None or test_labels is None:
        cut = int(len(pixels) * (1 - TEST_SHARE))
        pixels, test_pixels = pixels[:cut], pixels[cut:]
        labels, test_labels = labels[:cut], labels[cut:]
    cut = int(len(pixels) * (1 - VALID_SHARE))
    parts = [(pixels[:cut], labels[:cut]), (pixels[cut:], labels[cut:]), (test_pixels, test_labels)]
    if min(len(part[1]) for part in parts) == 0:
        raise InvalidData(f"{name} has too few images to be split into training, validation and test images")
    mean = parts[0][0].mean(axis=(0, 2, 3), dtype=np.float64)
    deviation = parts[0][0].std(axis=(0, 2, 3), dtype=np.float64) + 1e-6
    splits = [_split(x[:limit], y[:limit], input_shape, mean, deviation) for x, y in parts]
    return Images(name, classes, *splits)


def _shuffled(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    order = rng.permutation(len(labels))
    return pixels[order], labels[order]


def _folder(
    root: Path, input_shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8] | None, NDArray[np.int64] | None, int]:
    if not root.is_dir():
        raise UsageError(
            f"there is no image folder {root}", hint="Give 'digits', or a folder with train/<class>/*.jpg."
        )
    train = root / "train" if (root / "train").is_dir() else root
    names = sorted(place.name for place in train.iterdir() if place.is_dir())
    if len(names) < 2:
        raise InvalidData(
            f"{train} has {len(names)} class folders; at least 2 are needed", hint="One folder for each class."
        )
    pixels, labels = _shuffled(*_read(train, names, input_shape), rng)
    test = root / "test"
    if train != root and test.is_dir():
        others = {place.name for place in test.iterdir() if place.is_dir()}
        if others != set(names):
            odd = ", ".join(sorted(others.symmetric_difference(names)))
            raise InvalidData(f"{train} and {test} do not hold the same classes: {odd}", hint="Add or remove them.")
        return pixels, labels, *_shuffled(*_read(test, names, input_shape), rng), len(names)
    return pixels, labels, None, None, len(names)


def _read(root: Path, names: list[str], input_shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from PIL import Image, UnidentifiedImageError

    size = (input_shape[3], input_shape[2])
    pixels, labels = [], []
    for label, name in enumerate(names):
        for path in sorted((root / name).iterdir()):
            if path.suffix.lower() not in _SUFFIXES:
                continue
            try:
                with Image.open(path) as image:
                    colour = image.convert("RGB")
                    pixels.append(
                        np.asarray(colour if colour.size == size else colour.resize(size, Image.Resampling.BILINEAR))
                    )
            except (UnidentifiedImageError, OSError) as error:
                raise InvalidData(f"cannot read the image {path}: {error}", hint="Remove or repair it.") from error
            labels.append(label)
    if not labels:
        raise InvalidData(f"{root} holds no images", hint=f"Accepted: {', '.join(sorted(_SUFFIXES))}.")
    return np.stack(pixels).transpose(0, 3, 1, 2), np.array(labels, dtype=np.int64)


def _split(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    shape: tuple[int, ...],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
) -> Split:
    import torch
    from torch.nn import functional

    images = torch.from_numpy(((pixels - mean[:, None, None]) / deviation[:, None, None]).astype(np.float32))
    if tuple(images.shape[2:]) != tuple(shape[2:]):
        images = functional.interpolate(images, size=tuple(shape[2:]), mode="bilinear", align_corners=False)
    channels = shape[1]
    if images.shape[1] != channels:
        images = (
            images.expand(-1, channels, -1, -1)
            if images.shape[1] == 1
            else images.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
        )
    return Split(images.contiguous(), torch.from_numpy(labels))
