"""Images inside of a `.tar`, compressed or not: read from it, nothing is written to disk."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidData
from nas.streams import stream
from nas.weights.data.files import digest, require_file
from nas.weights.data.pixels import (
    SUFFIXES,
    Labelled,
    divided,
    picture,
    require_classes,
    require_same_classes,
    shuffled,
    stacked,
)
from nas.weights.data.protocol import Data, Wanted, require_shape

_ENDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BLOCK, _PIECE = tarfile.BLOCKSIZE, 1 << 20
_HINT = "Make the archive again: it was cut short or damaged."
Named = list[tuple[str, str, NDArray[np.uint8]]]
"""Part (`train`, `test`, or another folder), class and picture."""


class Archive:
    """`FILE.tar`: the folder that holds an image is its class, `train` or `test` above that its part."""

    forms = "FILE.tar of images"

    def claims(self, name: str) -> bool:
        """By the end of the name, unless it is a folder."""
        return name.lower().endswith(_ENDS) and not Path(name).is_dir()

    def fingerprint(self, name: str) -> str:
        """Of the file."""
        return digest(require_file(name))

    def load(self, name: str, wanted: Wanted, *, seed: int, limit: int | None) -> Data:
        """Only the last two folders of a path are looked at, so it does not matter where others lead."""
        require_shape(name, "images", ("1", "channels", "height", "width"), wanted)
        found = sorted(_pictures(require_file(name), wanted.input_shape), key=lambda one: one[0])
        named: Named = [(*_place(path), pixels) for path, pixels in found]
        parts = {part for part, _, _ in named}
        first = [one for one in named if one[0] == "train"] if "train" in parts else named
        names = sorted({label for _, label, _ in first})
        require_classes(name, len(names), "class folders with images", "One folder for each class.")
        rng = stream(seed, "weights.images")
        images, last = shuffled(_stacked(first, names, name), rng), None
        if {"train", "test"} <= parts:
            tests = [one for one in named if one[0] == "test"]
            others = {label for _, label, _ in tests}
            require_same_classes((f"{name}: train", set(names)), ("test", others))
            last = shuffled(_stacked(tests, names, name), rng)
        return divided(name, len(names), images, last, wanted, limit)


DATA = Archive()


def _pictures(path: Path, shape: tuple[int, ...]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Path and pixels of each image.

    Raises:
        InvalidData: the archive is damaged or cut short, or an image cannot be read.
    """
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isreg() and PurePosixPath(member.name).suffix.lower() in SUFFIXES:
                    file = archive.extractfile(member)
                    assert file is not None
                    yield member.name, picture(file, f"{path}: {member.name}", shape)
            # The reader takes an end between two files for the end: a whole archive has a block of zeros there.
            assert archive.fileobj is not None
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(_BLOCK) != bytes(_BLOCK):
                raise InvalidData(f"{path} ends before the end of the archive", hint=_HINT)
            while archive.fileobj.read(_PIECE):
                pass  # to the end of what is compressed, whose sum is then checked
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InvalidData(f"cannot read the archive {path}: {error}", hint=_HINT) from error


def _place(path: str) -> tuple[str, str]:
    folders = PurePosixPath(path).parts[:-1]
    if not folders:
        raise InvalidData(f"the image {path} is in no folder of the archive", hint="One folder for each class.")
    return (folders[-2] if len(folders) > 1 else ""), folders[-1]


def _stacked(named: Named, names: list[str], place: str) -> Labelled:
    return stacked([pixels for *_, pixels in named], [names.index(label) for _, label, _ in named], place)
