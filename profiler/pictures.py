"""Pictures out of files, in the size and the channels that a network reads."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidData

#: Suffixes of files that are read.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def read(file: Path | IO[bytes], name: str, size: tuple[int, int], *, grey: bool = False) -> NDArray[np.uint8]:
    """One picture, resized (bilinear): `(height, width, 3)`, or `(height, width)` in grey.

    Args:
        file: of any kind that Pillow reads.
        name: for people.
        size: width and height.
        grey: whether colours are brought to one channel.

    Raises:
        InvalidData: it cannot be read; with its name.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            picture: Any = image.convert("L" if grey else "RGB")
            return np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise InvalidData(f"cannot read the image {name}: {error}", hint="Remove or repair it.") from error
