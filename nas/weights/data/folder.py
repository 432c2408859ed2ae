"""A folder of images: `train/<class>/*` and maybe `test/<class>/*`, or `<class>/*`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from device_profiles.errors import UsageError
from nas.streams import stream
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


class Folder:
    """A folder; what no other kind claims is looked for as one."""

    forms = "FOLDER of images"

    def claims(self, name: str) -> bool:
        """What is a folder."""
        return Path(name).is_dir()

    def fingerprint(self, name: str) -> str:
        """Of the paths and the content of all images."""
        root, found = _root(name), hashlib.sha256()
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix.lower() in SUFFIXES:
                found.update(path.relative_to(root).as_posix().encode() + b"\0")
                found.update(hashlib.sha256(path.read_bytes()).digest())
        return found.hexdigest()[:16]

    def load(self, name: str, wanted: Wanted, *, seed: int, limit: int | None) -> Data:
        """Classes are numbered in the order of the names of their folders."""
        require_shape(name, "images", ("1", "channels", "height", "width"), wanted)
        root, rng = _root(name), stream(seed, "weights.images")
        train = root / "train" if (root / "train").is_dir() else root
        names = sorted(place.name for place in train.iterdir() if place.is_dir())
        require_classes(str(train), len(names), "class folders", "One folder for each class.")
        first = shuffled(_read(train, names, wanted.input_shape), rng)
        test, last = root / "test", None
        if train != root and test.is_dir():
            others = {place.name for place in test.iterdir() if place.is_dir()}
            require_same_classes((str(train), set(names)), (str(test), others))
            last = shuffled(_read(test, names, wanted.input_shape), rng)
        return divided(name, len(names), first, last, wanted, limit)


DATA = Folder()


def _root(name: str) -> Path:
    root = Path(name)
    if not root.is_dir():
        raise UsageError(
            f"there is no image folder {root}", hint="Give 'digits', or a folder with train/<class>/*.jpg."
        )
    return root


def _read(root: Path, names: list[str], shape: tuple[int, ...]) -> Labelled:
    pictures, labels = [], []
    for label, name in enumerate(names):
        for path in sorted((root / name).iterdir()):
            if path.suffix.lower() in SUFFIXES:
                pictures.append(picture(path, str(path), shape))
                labels.append(label)
    return stacked(pictures, labels, str(root))
