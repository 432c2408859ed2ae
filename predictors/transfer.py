"""Few-sample transfer from other devices. Not part of this version; the name answers with an error that says so."""

from __future__ import annotations

from typing import Any

from device_profiles.errors import HwnasError


class TransferPredictor:
    """Not part of this version."""

    def __init__(self, choices: Any, features: Any = None) -> None:
        raise HwnasError("predictors.transfer is not part of this version", hint="Fit 'lookup' on the device itself.")
