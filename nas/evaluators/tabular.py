"""Values out of a CSV with a column `arch` in the space's text form."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar

import numpy as np

from device_profiles.errors import HwnasError, InvalidTable, UsageError
from nas.arrays import Archs, Floats
from nas.evaluators.protocol import Context, Repeatable, Traits, digest
from nas.objectives import Objective, Values
from nas.spaces.protocol import Space
from predictors.tables import check

_UNITS = (("latency_ms", "ms"), ("_ms", "ms"), ("energy_mj", "mJ"), ("_bytes", "bytes"))


@dataclass(frozen=True)
class Tabular:
    """A table as an objective.

    Attributes:
        objective: what the column holds.
        index: row of each genome, by its bytes.
        columns: `(rows, r)` values; the first column is what it is, the others are replicates.
        identity: digest of the file.
    """

    objective: Objective
    index: dict[bytes, int]
    columns: Floats
    identity: str
    free: bool = False
    traits: ClassVar[Traits] = Traits(batched=True, instant=True, genomes_are_networks=True)

    def evaluate(self, archs: Archs) -> Values:
        """Look up; NaN for architectures that the table does not have."""
        return self._column(archs, 0)

    def _column(self, archs: Archs, place: int) -> Values:
        rows = np.array(
            [self.index.get(np.ascontiguousarray(arch, dtype=np.int64).tobytes(), -1) for arch in archs], dtype=np.int64
        )
        if len(rows) == 0:
            return Values(np.empty(0))
        return Values(np.where(rows >= 0, self.columns[rows, place], np.nan))


class RepeatedTabular(Tabular, Repeatable):
    """A table with several evaluations of each architecture, such as trainings with other seeds."""

    @property
    def most(self) -> int:
        """As many as columns."""
        return int(self.columns.shape[1])

    def again(self, archs: Archs, replicate: int) -> Values:
        """Values of another column."""
        return self._column(archs, replicate)


class TabularKind:
    """`table:FILE.csv[.gz]:COLUMN[,COLUMN...][:max]`; further columns are replicates."""

    forms = "table:FILE.csv[.gz]:COLUMN[,COLUMN...][:max]"
    settings = ()

    def claims(self, spec: str) -> bool:
        """Specs that begin with `table:`."""
        return spec.startswith("table:")

    def default_name(self, spec: str) -> str:
        """The column, or the first one."""
        return _parts(spec)[1][0]

    def open(self, name: str, spec: str, context: Context) -> Tabular:
        """Read the columns and check them.

        Raises:
            SchemaMismatch: it is an imported table that is not as it was written.
            InvalidTable: the file or a column is missing, values are unusable, or an architecture is there twice.
        """
        path, names, maximise = _parts(spec)
        if path.name == "table.csv" and (path.parent / "table.json").is_file():
            check(path.parent)  # an imported table says what it holds
        columns, texts = read_columns(path, names)
        for column, values in zip(names, columns.T, strict=True):
            check_column(values, column, maximise=maximise)
        index = _index(path, texts, context.space)
        unit = next((unit for mark, unit in _UNITS if mark in names[0]), "")
        objective = Objective(name, unit, maximise, "table", spec)
        return (Tabular if len(names) == 1 else RepeatedTabular)(objective, index, columns, digest(path))


EVALUATOR = TabularKind()

#: The texts that were read last, of which space, and what became of them: objectives of a search share a table.
_LAST: list[tuple[Space, list[str], dict[bytes, int]]] = []


def _index(path: Path, texts: list[str], space: Space) -> dict[bytes, int]:
    """The row of each genome, by its bytes.

    Raises:
        InvalidTable: a text is no architecture of the space, or one is there twice.
    """
    for known, read, found in _LAST:
        if read == texts and known == space:
            return found
    index: dict[bytes, int] = {}
    for number, text in enumerate(texts):
        try:
            genome = np.ascontiguousarray(space.parse(text), dtype=np.int64)
        except HwnasError as error:
            raise InvalidTable(f"{path}, row {number + 2}: {error.message}", hint=error.hint) from error
        first = index.setdefault(genome.tobytes(), number)
        if first != number:
            raise InvalidTable(
                f"{path}, row {number + 2}: {text} is in row {first + 2} already", hint="Keep one row of the two."
            )
    _LAST[:] = [(space, texts, index)]
    return index


def _parts(spec: str) -> tuple[Path, tuple[str, ...], bool]:
    text = spec.removeprefix("table:")
    maximise = text.endswith(":max")
    text = text.removesuffix(":max").removesuffix(":min")
    path, colon, columns = text.rpartition(":")
    names = tuple(columns.split(","))
    if not colon or not path or not all(names):
        raise UsageError(
            f"cannot read the objective {spec!r}", hint="Write table:FILE.csv:COLUMN, and :max after it to maximise."
        )
    return Path(path), names, maximise


def read_columns(path: Path, columns: Sequence[str]) -> tuple[Floats, list[str]]:
    """Numeric columns `(rows, r)` and the column `arch` of a CSV, gzipped or not.

    Raises:
        InvalidTable: the file cannot be read, or lacks one of them; an empty cell is NaN.
    """
    try:
        with _opened(path) as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or []
            missing = [name for name in ("arch", *columns) if name not in names]
            if missing:
                raise InvalidTable(f"{path} has no column {missing[0]!r}", hint=f"It has: {', '.join(names[:12])}.")
            texts, values = [], []
            for row in reader:
                texts.append(row["arch"] or "")
                values.append([float(row[name]) if row[name] not in ("", None) else np.nan for name in columns])
    except (OSError, ValueError, EOFError, csv.Error, zlib.error) as error:
        raise InvalidTable(
            f"cannot read {path}: {error}", hint="Give a CSV file, or one compressed by gzip."
        ) from error
    return np.array(values, dtype=np.float64).reshape(len(texts), len(columns)), texts


def _opened(path: Path) -> IO[str]:
    return gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="")


def check_column(values: Floats, column: str, *, maximise: bool) -> None:
    """Refuse a column, `(n,)`, that cannot be searched on.

    Raises:
        InvalidTable: no rows, NaN or infinite values, a constant column, or a cost that is negative.
    """
    if len(values) == 0:
        raise InvalidTable(f"column {column!r} has no rows", hint="Give a table with a row for each architecture.")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise InvalidTable(
            f"column {column!r} has {bad} values that are missing or not finite", hint="Remove those rows."
        )
    if np.ptp(values) == 0:
        raise InvalidTable(
            f"column {column!r} is constant ({values[0]:g}): there is nothing to search for", hint="Choose another."
        )
    if not maximise and (values < 0).any():
        raise InvalidTable(
            f"column {column!r} has {int((values < 0).sum())} negative costs, the lowest {values.min():g}",
            hint="A cost is above 0; tables made by linear extrapolation hold such values. Repair the table.",
        )
