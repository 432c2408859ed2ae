"""A predictor's card: what it is, what it learned from, and where it may be believed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from device_profiles.errors import InvalidData, SchemaMismatch
from device_profiles.profile import from_plain
from device_profiles.reading import parse_json, read_bytes

#: Version of the predictor folder. 1: first (2026-11). 2: what a model learned moved into its own files (2026-11).
SCHEMA = "hwnas.predictor/2"


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

    def write(self, folder: Path) -> None:
        """Write `card.json`."""
        (folder / "card.json").write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")

    @staticmethod
    def read(folder: Path) -> Card:
        """Read `card.json`.

        Raises:
            SchemaMismatch: there is none, or it is of another schema.
        """
        path = folder / "card.json"
        try:
            data = json.loads(path.read_text())
            schema = data.pop("schema")
            if schema != SCHEMA:
                raise SchemaMismatch(
                    f"{path} has schema {schema!r}; this version reads {SCHEMA!r}", hint="Fit the predictor again."
                )
            for name in ("choices", "trained_on"):
                data[name] = None if data[name] is None else tuple(data[name])
            if data["half_width"] is not None:
                check_numbers("half_width", (data["half_width"],), 1)
            from_plain(data["profile"])
            return Card(**data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SchemaMismatch(
                f"{folder} is not a predictor's folder: {error}", hint="Make one with: hwnas fit"
            ) from error


def is_predictor(folder: Path) -> bool:
    """Whether a folder was written as a predictor, and holds nothing beside it."""
    try:
        card = parse_json(read_bytes(folder / "card.json"), "card.json")
        files = list(folder.iterdir())
    except (InvalidData, OSError):
        return False
    if not isinstance(card, dict) or not str(card.get("schema")).startswith("hwnas.predictor/"):
        return False
    name = str(card.get("predictor"))
    own = {"card.json", "network.json", "table.safetensors"}
    return all(
        (file.name in own or file.name.startswith((f"{name}.", f"{name}-")))
        and file.is_file()
        and not file.is_symlink()
        for file in files
    )


def check_numbers(name: str, values: Sequence[Any] | None, count: int) -> None:
    """Refuse what is not so many finite numbers.

    Raises:
        ValueError: it is not.
    """
    numbers = [value for value in values or () if isinstance(value, (int, float)) and math.isfinite(value)]
    if values is None or len(values) != count or len(numbers) != count:
        raise ValueError(f"{name} must be {count} finite numbers, got {values!r}")
