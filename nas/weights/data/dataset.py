"""A `torch.utils.data.Dataset` from Python: read once, kept for this process under a name that holds its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidData, UsageError
from nas.streams import stream
from nas.weights.data.pixels import checked, divided, numbered, require_one_each, shuffled
from nas.weights.data.protocol import Data, Wanted, require_shape

_PREFIX = "dataset:"
Raw = tuple[NDArray[Any], NDArray[Any]]
"""Images as they came, and labels."""
_KEPT: dict[str, tuple[Raw, Raw | None]] = {}


class Dataset:
    """`dataset:NAME-DIGEST`, which `keep` gives."""

    forms = "a torch.utils.data.Dataset, from Python"

    def claims(self, name: str) -> bool:
        """What `keep` gave, in this process or in another."""
        return name.startswith(_PREFIX)

    def fingerprint(self, name: str) -> str:
        """The end of the name."""
        return name.rpartition("-")[2]

    def load(self, name: str, wanted: Wanted, *, seed: int, limit: int | None) -> Data:
        """As from `.npz`."""
        require_shape(name, "images", ("1", "channels", "height", "width"), wanted)
        if name not in _KEPT:
            raise UsageError(
                f"{name} is a data set that was given from Python", hint="Give it again: nas.search(..., data=DATASET)."
            )
        first, test = _KEPT[name]
        labels, test_labels, classes = numbered(name, first[1], None if test is None else test[1])
        pixels, rng = checked(name, first[0]), stream(seed, "weights.images")
        require_one_each(name, pixels, labels)
        images = shuffled((pixels, labels), rng)
        last = None
        if test is not None and test_labels is not None:
            last = shuffled((checked(name, test[0]), test_labels), rng)
        return divided(name, classes, images, last, wanted, limit)


DATA = Dataset()


def keep(data: Any) -> str:
    """Read a data set, and give it a name that the data of a search can have.

    Args:
        data: a data set with `__len__` and `__getitem__`, whose items are an image and its class; or two of them, the
            second for the report. An image is a tensor or array `(h, w)`, `(h, w, c)` or `(c, h, w)`, uint8 or float,
            or a picture of PIL; all have one shape.

    Raises:
        UsageError: it is something else, or gives other images each time.
        InvalidData: it holds what cannot be stacked.
    """
    parts = data if isinstance(data, Sequence) and len(data) == 2 and hasattr(data[0], "__getitem__") else (data,)
    raw = [_read(part) for part in parts]
    found = hashlib.sha256()
    for images, labels in raw:
        for column in (images, labels):
            found.update(f"{column.dtype} {column.shape}".encode() + np.ascontiguousarray(column).tobytes())
    name = f"{_PREFIX}{type(parts[0]).__name__}-{found.hexdigest()[:16]}"
    _KEPT[name] = raw[0], raw[1] if len(raw) > 1 else None
    return name


def _read(data: Any) -> Raw:
    kind = type(data).__name__
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise UsageError(
            f"data of type {kind} cannot be counted and read by number",
            hint="Give a torch.utils.data.Dataset with __len__ and __getitem__, or a name such as 'digits'.",
        )
    items = [_item(data, number) for number in range(len(data))]
    shapes = sorted({image.shape for image, _ in items})
    if len(shapes) != 1:
        said = "no images" if not shapes else f"images of the shapes {shapes[0]} and {shapes[1]}"
        raise InvalidData(f"the data set {kind} has {said}", hint="Resize them to one shape.")
    if not np.array_equal(_item(data, 0)[0], items[0][0]):
        raise UsageError(
            f"the data set {kind} gives another image each time that it is asked for the first one",
            hint="Leave random transforms out: --set augment=flip,crop,cutout is for training alone.",
        )
    return np.stack([image for image, _ in items]), np.array([label for _, label in items])


def _item(data: Any, number: int) -> tuple[NDArray[Any], Any]:
    item = data[number]
    try:
        image, label = item
        return np.asarray(image), np.asarray(label).item()
    except (TypeError, ValueError) as error:
        raise InvalidData(
            f"item {number} of the data set {type(data).__name__} is no image with its class: {error}",
            hint="__getitem__ must give (image, class).",
        ) from error
