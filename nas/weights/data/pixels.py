"""From pixels to examples: read, divided, normalised, brought to the size and the channels of a space."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidData, UsageError
from nas.weights.data.protocol import TEST_SHARE, VALID_SHARE, Data, Part, Wanted, require_shape
from nas.weights.data.tasks import Classification
from profiler import pictures

Pixels = NDArray[Any]
Labels = NDArray[np.int64]
Labelled = tuple[Pixels, Labels]
"""Images `(n, channels, height, width)`, uint8 or float32, and their classes `(n,)`."""

SUFFIXES = pictures.SUFFIXES
#: Grey is repeated over channels, colours are averaged; what other channels mean nobody knows.
_CONVERTED = (1, 3)


def shuffled(images: Labelled, rng: np.random.Generator) -> Labelled:
    """The same images `(n, ...)` and labels `(n,)` in another order."""
    order = rng.permutation(len(images[1]))
    return images[0][order], images[1][order]


def divided(name: str, classes: int, first: Labelled, test: Labelled | None, wanted: Wanted, limit: int | None) -> Data:
    """Data from images `(n, channels, height, width)` in a random order.

    A fifth is kept for the report, unless there are images for it, and a fifth of what is left to judge architectures.
    Training images alone set mean and deviation.

    Args:
        name: of the data.
        classes: number of them.
        first: images to learn from.
        test: images for the report, or None.
        wanted: by the networks.
        limit: images of each part at most, or None.

    Raises:
        InvalidData: there are too few, or they have channels that the networks do not read.
        UsageError: the networks read no images.
    """
    require_shape(name, "images", ("1", "channels", "height", "width"), wanted)
    pixels, labels = first
    if test is None:
        cut = int(len(pixels) * (1 - TEST_SHARE))
        (pixels, labels), test = (pixels[:cut], labels[:cut]), (pixels[cut:], labels[cut:])
    cut = int(len(pixels) * (1 - VALID_SHARE))
    parts = [(pixels[:cut], labels[:cut]), (pixels[cut:], labels[cut:]), test]
    if min(len(part[1]) for part in parts) == 0:
        raise InvalidData(
            f"{name} has too few images to be split into training, validation and test images",
            hint="Add images: at least 3, better hundreds for each class.",
        )
    channels = wanted.input_shape[1]
    for part, _ in parts:
        if part.shape[1] != channels and part.shape[1] not in _CONVERTED:
            raise InvalidData(
                f"{name} has images of {part.shape[1]} channels; the networks read {channels}",
                hint=f"Use the space option image_channels={part.shape[1]}, or images of 1 or 3 channels.",
            )
    mean = parts[0][0].mean(axis=(0, 2, 3), dtype=np.float64)
    deviation = parts[0][0].std(axis=(0, 2, 3), dtype=np.float64) + 1e-6
    made = [_part(x[:limit], y[:limit], wanted.input_shape, mean, deviation) for x, y in parts]
    return Data(name, Classification(classes), *made)


def _part(
    pixels: Pixels,
    labels: Labels,
    shape: tuple[int, ...],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
) -> Part:
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
    return Part(images.contiguous(), torch.from_numpy(labels))


def picture(file: Path | IO[bytes], name: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """One picture in colour, `(height, width, 3)`, resized (bilinear) to a space's input.

    Raises:
        InvalidData: it cannot be read; with its name.
    """
    return pictures.read(file, name, (shape[3], shape[2]))


def stacked(pictures: list[NDArray[np.uint8]], labels: list[int], place: str) -> Labelled:
    """Pictures `(height, width, 3)` as images `(n, 3, height, width)` with their classes.

    Raises:
        InvalidData: there are none.
    """
    if not labels:
        raise InvalidData(f"{place} holds no images", hint=f"Accepted: {', '.join(sorted(SUFFIXES))}.")
    return np.stack(pictures).transpose(0, 3, 1, 2), np.array(labels, dtype=np.int64)


def require_classes(place: str, count: int, what: str, hint: str) -> None:
    """Refuse fewer than two classes.

    Raises:
        InvalidData: it is so.
    """
    if count < 2:
        raise InvalidData(f"{place} has {count} {what}; at least 2 are needed", hint=hint)


def require_same_classes(train: tuple[str, set[str]], test: tuple[str, set[str]]) -> None:
    """Refuse test images of other classes than those that are learned.

    Raises:
        InvalidData: there are some, or a class has none; with their names.
    """
    if train[1] != test[1]:
        odd = ", ".join(sorted(train[1].symmetric_difference(test[1])))
        raise InvalidData(f"{train[0]} and {test[0]} do not hold the same classes: {odd}", hint="Add or remove them.")


def numbered(name: str, labels: NDArray[Any], test: NDArray[Any] | None) -> tuple[Labels, Labels | None, int]:
    """Labels `(n,)` that are whole numbers as classes 0, 1, ... in their order, and how many classes there are.

    Raises:
        InvalidData: they are none, there is one class, or a test label is no class that is learned.
    """
    whole = [_whole(name, one) for one in (labels, test) if one is not None]
    classes, found = np.unique(whole[0], return_inverse=True)
    require_classes(name, len(classes), "classes", "Give images of at least two.")
    if test is None:
        return found.astype(np.int64), None, len(classes)
    odd = sorted(set(whole[1].tolist()) - set(classes.tolist()))
    if odd:
        raise InvalidData(
            f"{name} has test images of class {odd[0]}, and none to learn it from", hint="Add or remove them."
        )
    return found.astype(np.int64), np.searchsorted(classes, whole[1]).astype(np.int64), len(classes)


def _whole(name: str, labels: NDArray[Any]) -> Labels:
    hint = "Give the class of each image as a whole number, 0 and up."
    if labels.ndim != 1:
        raise InvalidData(f"{name} has labels of shape {labels.shape}; one for each image is needed", hint=hint)
    if labels.dtype.kind not in "iuf":
        raise InvalidData(f"{name} has labels of type {labels.dtype}, which are no whole numbers", hint=hint)
    bad = ~np.isfinite(labels) | (labels != np.floor(labels))
    if bad.any():
        raise InvalidData(f"{name} has the label {labels[bad][0]}, which is no whole number", hint=hint)
    return labels.astype(np.int64)


def checked(name: str, images: NDArray[Any]) -> Pixels:
    """Images `(n, h, w)`, `(n, h, w, c)` or `(n, c, h, w)` as `(n, c, h, w)`, uint8 or float32.

    The axis of channels is the last one if it has 1 to 4 entries, else the second.

    Raises:
        InvalidData: they have another shape or type, or values that are not finite.
    """
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise InvalidData(
            f"{name} has images of type {images.dtype}; uint8 or floats are read", hint="Convert them, e.g. to uint8."
        )
    few = range(1, 5)
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] in few:
        images = images.transpose(0, 3, 1, 2)
    elif images.ndim != 4 or images.shape[1] not in few:
        raise InvalidData(
            f"{name} has images of shape {images.shape}; (n, h, w), (n, h, w, c) and (n, c, h, w) are read",
            hint="c is the number of channels, 1 to 4.",
        )
    if 0 in images.shape[1:]:
        raise InvalidData(f"{name} has images without pixels, of shape {images.shape}", hint="Remove them.")
    if images.dtype == np.uint8:
        return images
    if not np.isfinite(images).all():
        raise InvalidData(f"{name} has pixels that are not finite", hint="Remove NaN and infinities.")
    return images.astype(np.float32)


def require_one_each(name: str, images: Pixels, labels: Labels) -> None:
    """Refuse another number of images `(n, ...)` than of labels `(n,)`.

    Raises:
        InvalidData: it is so.
    """
    if len(images) != len(labels):
        raise InvalidData(
            f"{name} has {len(images)} images and {len(labels)} labels", hint="Each image needs one label."
        )


def require_limit(limit: int | None) -> None:
    """Refuse a limit that leaves nothing.

    Raises:
        UsageError: it is below 1.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"at least 1 image of each split is needed, got a limit of {limit}")
