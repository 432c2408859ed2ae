"""Any predictor of architectures, by what its folder says it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from device_profiles import measured
from device_profiles.errors import UsageError
from predictors import predictor
from predictors.architectures import EncodingPredictor
from predictors.sealed import schema_of
from predictors.transfer.genes import Features

#: The heads of folders, and of each the schemas that are read here.
_HEADS = ("cost.json", "transfer.json")


def load(folder: str | Path, *, features: Features | None = None) -> EncodingPredictor:
    """Read a folder that a predictor, a learned cost, or a transfer predictor was saved in.

    Args:
        folder: what `hwnas fit` wrote, or `save` of any of them; or the name of a measured device that ships.
        features: what a transfer predictor with structural features was made with, such as `space.features`.

    Returns:
        A `Predictor`, which also takes graphs and files; `NetworkCost`, `DeviceCost` or `TransferPredictor`.

    Raises:
        SchemaMismatch: it is none, of another schema, a file is not as it was written, or they contradict each other.
        UsageError: it is a cost of many devices, and no device is given; or features are missing.
    """
    place = place_of(folder)
    schema = next((found for head in _HEADS if (found := schema_of(place, head)) is not None), None)
    return _READERS.get(schema, _of_kernels)(place, features)


def place_of(folder: str | Path) -> Path:
    """The folder of a predictor: one that is there, else the one that ships under that name."""
    place = Path(folder)
    return place if place.exists() else measured.folder(place) or place


def _of_kernels(place: Path, _: Features | None) -> EncodingPredictor:
    return predictor.load(place)


def _network_cost(place: Path, _: Features | None) -> EncodingPredictor:
    from predictors.differentiable import NetworkCost

    return NetworkCost.load(place)


def _device_cost(place: Path, _: Features | None) -> EncodingPredictor:
    from predictors.differentiable import DeviceCost

    return DeviceCost.load(place)


def _conditioned(place: Path, _: Features | None) -> EncodingPredictor:
    raise UsageError(
        f"{place} speaks of many devices, and of none alone",
        hint="Save that of a device: ConditionedCost.load(DIR).for_device(latency_ms_of_references).save(OTHER_DIR).",
    )


def _transfer(place: Path, features: Features | None) -> EncodingPredictor:
    from predictors.transfer import TransferPredictor

    return TransferPredictor.load(place, features=features, only_if_needed=True)


_READERS: dict[str | None, Callable[[Path, Features | None], EncodingPredictor]] = {
    "hwnas.network-cost": _network_cost,
    "hwnas.device-cost": _device_cost,
    "hwnas.conditioned-cost": _conditioned,
    "hwnas.transfer": _transfer,
}
