"""`FILE.npz` with `images` and `labels`, and maybe `test_images` and `test_labels`."""

from __future__ import annotations

import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidData
from nas.streams import stream
from nas.weights.data.files import digest, require_file
from nas.weights.data.pixels import checked, divided, numbered, require_one_each, shuffled
from nas.weights.data.protocol import Data, Wanted, require_shape

_ARRAYS = ("images", "labels", "test_images", "test_labels")


class Npz:
    """`FILE.npz`."""

    forms = "FILE.npz"

    def claims(self, name: str) -> bool:
        """By the end of the name."""
        return name.lower().endswith(".npz")

    def fingerprint(self, name: str) -> str:
        """Of the file."""
        return digest(require_file(name))

    def load(self, name: str, wanted: Wanted, *, seed: int, limit: int | None) -> Data:
        """Labels are classes in the order of their numbers."""
        require_shape(name, "images", ("1", "channels", "height", "width"), wanted)
        arrays = _arrays(name)
        labels, test_labels, classes = numbered(name, arrays["labels"], arrays.get("test_labels"))
        pixels, rng = checked(name, arrays["images"]), stream(seed, "weights.images")
        require_one_each(name, pixels, labels)
        last = None
        if test_labels is not None:
            test_pixels = checked(name, arrays["test_images"])
            require_one_each(f"{name}, to test,", test_pixels, test_labels)
            last = test_pixels, test_labels
        first = shuffled((pixels, labels), rng)
        return divided(name, classes, first, None if last is None else shuffled(last, rng), wanted, limit)


DATA = Npz()


def _arrays(name: str) -> dict[str, NDArray[Any]]:
    path = require_file(name)
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {key: np.asarray(file[key]) for key in _ARRAYS if key in file.files}
            held = sorted(file.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise InvalidData(
            f"cannot read {path}: {error}", hint="Write it with numpy.savez(FILE, images=..., labels=...)."
        ) from error
    missing = [key for key in _ARRAYS[:2] if key not in found]
    if missing:
        raise InvalidData(
            f"{path} has no array {missing[0]!r}; it has {', '.join(held) or 'none'}",
            hint="Write it with numpy.savez(FILE, images=..., labels=...).",
        )
    if ("test_images" in found) != ("test_labels" in found):
        raise InvalidData(f"{path} has one of test_images and test_labels", hint="Give both, or none.")
    return found
