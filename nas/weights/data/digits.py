"""`digits`: scikit-learn's 1,797 handwritten digits of 8x8 pixels, which every installation has."""

from __future__ import annotations

import numpy as np

from nas.streams import stream
from nas.weights.data.pixels import divided, shuffled
from nas.weights.data.protocol import Data, Wanted


class Digits:
    """`digits`."""

    forms = "digits"

    def claims(self, name: str) -> bool:
        """The one word."""
        return name == "digits"

    def fingerprint(self, name: str) -> str:
        """They do not change."""
        return ""

    def load(self, name: str, wanted: Wanted, *, seed: int, limit: int | None) -> Data:
        """Grey, in ten classes."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        raw = (digits.images[:, None] * (255.0 / 16.0)).astype(np.uint8)
        images = shuffled((raw, digits.target.astype(np.int64)), stream(seed, "weights.images"))
        return divided(name, 10, images, None, wanted, limit)


DATA = Digits()
