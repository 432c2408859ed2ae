"""A predictor's card: what it is, what it learned from, and where it may be believed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device_profiles.conditions import Conditions
from device_profiles.profile import from_plain
from predictors.prediction import UNITS
from predictors.sealed import Kind, check_numbers, is_own, read_head, understood, unsealed_facts, write_head

#: Version of the predictor folder. 1: first (2026-11). 2: what a model learned moved into its own files (2026-11).
#: 3: digests of all files, and of the card (2026-11).
SCHEMA = "hwnas.predictor/3"

_EARLY = "a version of 2026-11 that kept no digests"
_KIND = Kind(
    "card.json",
    SCHEMA,
    "a predictor's folder",
    "Make one with: hwnas fit.",
    older={"hwnas.predictor/1": _EARLY, "hwnas.predictor/2": _EARLY},
    sign="If you know what it says to be right: python -c 'import predictors, sys; predictors.sign(sys.argv[1])' {}",
)


@dataclass(frozen=True)
class Card:
    """The contents of `card.json`.

    Attributes:
        predictor: its registered name.
        cost: `latency`, `energy` or `memory`.
        unit: of values.
        target: name of the target.
        profile: the target's profile as plain data.
        conditions: facts of the measurements, as plain data.
        space: spec of the space whose architectures it takes, or None.
        choices: options per gene of that space, or None.
        trained_on: ids of the networks it was fitted on.
        kernels: number of distinct kernels it was fitted on.
        device_s: seconds of device time behind the measurements.
        half_width: relative half-width of the 90 % interval where all is known, or None with fewer than 9 networks.
        encoding: how architectures of the space are told, see `predictors.encodings.Fidelity`; None without a space,
            and of folders of the first versions, which are tables.
        sensor: what energies were read from, or that they were modelled; None of other costs.
    """

    predictor: str
    cost: str
    unit: str
    target: str
    profile: dict[str, Any]
    conditions: dict[str, Any]
    space: str | None
    choices: tuple[int, ...] | None
    trained_on: tuple[str, ...]
    kernels: int
    device_s: float
    half_width: float | None
    encoding: dict[str, Any] | None = None
    sensor: str | None = None

    def write(self, folder: Path) -> None:
        """Write `card.json`, with the digests of all files that are in the folder."""
        write_head(folder, _KIND, asdict(self))

    @staticmethod
    def read(folder: Path) -> Card:
        """Read `card.json`, and hold all files of the folder against it.

        Raises:
            SchemaMismatch: there is none, it is of another schema, or a file is not as it was written.
        """
        return _card(folder, read_head(folder, _KIND))

    @staticmethod
    def read_unsigned(folder: Path) -> Card:
        """Read a `card.json` that was changed by hand, or was written by a version that knew no digests.

        Raises:
            SchemaMismatch: it is no card.
        """
        return _card(folder, unsealed_facts(folder, _KIND))


def is_predictor(folder: Path) -> bool:
    """Whether a folder was written as a predictor, and holds nothing beside it."""
    return is_own(folder, _KIND)


def _card(folder: Path, data: dict[str, Any]) -> Card:
    with understood(f"{folder} is not {_KIND.what}", _KIND.remedy):
        for name in ("choices", "trained_on"):
            data[name] = None if data[name] is None else tuple(data[name])
        card = Card(**data)
        _check(card)
        return card


def _check(card: Card) -> None:
    """Refuse a card that says what cannot be, or contradicts itself.

    Raises:
        ValueError: it does.
    """
    for name in ("predictor", "cost", "unit", "target", "space", "sensor"):
        value = getattr(card, name)
        if not isinstance(value, str) and not (name in ("space", "sensor") and value is None):
            raise ValueError(f"{name} must be a text, got {value!r}")
    if UNITS.get(card.cost) != card.unit:
        raise ValueError(f"{card.cost!r} is not a cost in {card.unit!r}")
    if card.choices is not None and (
        not card.choices or not all(type(count) is int and count >= 1 for count in card.choices)
    ):
        raise ValueError(f"choices must be options per gene, got {card.choices!r}")
    if (card.space is None) != (card.choices is None):
        raise ValueError("space and choices must both be there, or neither")
    if card.trained_on is None or not all(isinstance(model, str) for model in card.trained_on):
        raise ValueError("trained_on must be ids of networks")
    if type(card.kernels) is not int or card.kernels < 0:
        raise ValueError(f"kernels must be their number, got {card.kernels!r}")
    check_numbers("device_s", (card.device_s,), 1, least=0.0)
    if card.half_width is not None:
        check_numbers("half_width", (card.half_width,), 1, least=0.0)
    if card.encoding is not None and not isinstance(card.encoding.get("kind"), str):
        raise ValueError(f"encoding must say its kind, got {card.encoding!r}")
    profile, conditions = from_plain(card.profile), Conditions.from_plain(card.conditions)
    said = {"target": card.target, "runtime": profile.runtime.name, "threads": profile.runtime.threads}
    meant = {"target": profile.name, "runtime": conditions.runtime, "threads": conditions.own.threads}
    for name, value in said.items():
        if value != meant[name]:
            raise ValueError(f"it contradicts itself: {name} is {value!r} and {meant[name]!r}")
