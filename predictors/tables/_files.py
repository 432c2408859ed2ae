"""Files of others: read within bounds, and refused by name where they are no table."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections import Counter
from pathlib import Path

from device_profiles.errors import InvalidData, InvalidTable
from device_profiles.reading import read_bytes
from predictors.tables.protocol import RawFile

#: Bytes of a file, after decompression; the largest published table that we know has 40 MB.
LIMIT_BYTES = 256 * 2**20

#: Rows and columns of a CSV.
LIMIT_ROWS = 2_000_000
LIMIT_COLUMNS = 2_000

_GZIP = b"\x1f\x8b"


def read_raw(path: str | Path, limit: int = LIMIT_BYTES) -> RawFile:
    """A file's bytes, decompressed if it is gzipped.

    Raises:
        InvalidData: it is missing, empty, damaged, or larger than `limit` bytes.
    """
    path = Path(path)
    stored = read_bytes(path, largest_bytes=limit, hint="Give the file of a table.")
    data = _unzipped(path, stored, limit) if stored.startswith(_GZIP) else stored
    if not data.strip():
        raise InvalidTable(f"{path} is empty", hint="Give a file with values in it.")
    return RawFile(path, data, hashlib.sha256(stored).hexdigest(), len(stored))


def read_csv(file: RawFile, delimiter: str = ",") -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a CSV, or of what has another delimiter.

    Raises:
        InvalidTable: no rows, a row with another number of cells than the head, or a head that is there twice.
    """
    try:
        reader = csv.reader(io.StringIO(file.text, newline=""), delimiter=delimiter, strict=True)
        heads = [head.strip() for head in next(reader, [])]
        if len(heads) > LIMIT_COLUMNS:
            raise InvalidTable(f"{file.path} has {len(heads)} columns; {LIMIT_COLUMNS} are allowed")
        rows: list[list[str]] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(heads):
                raise InvalidTable(
                    f"{file.path}, line {reader.line_num}: {len(row)} cells, and the head has {len(heads)}",
                    hint="Repair the file: each row needs a cell for each column.",
                )
            rows.append(row)
            if len(rows) > LIMIT_ROWS:
                raise InvalidTable(f"{file.path} has more than {LIMIT_ROWS} rows", hint="Split it.")
    except csv.Error as error:
        raise InvalidTable(f"cannot read {file.path} as CSV: {error}", hint="Repair the file.") from error
    if len(set(heads)) != len(heads):
        twice = next(head for head, times in Counter(heads).items() if times > 1)
        raise InvalidTable(f"{file.path} has column {twice!r} twice", hint="Give each column a name of its own.")
    if not rows:
        raise InvalidTable(f"{file.path} has a head and no rows", hint="Give a file with values in it.")
    return heads, rows


def number(text: object, where: str) -> float:
    """A cell as a number; NaN for an empty one.

    Raises:
        InvalidTable: it is no number.
    """
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        try:
            return float(text)
        except OverflowError:
            text = f"{str(text)[:20]}..."
    stripped = text.strip() if isinstance(text, str) else "no text"
    if not stripped:
        return float("nan")
    try:
        if "_" in stripped:
            raise ValueError
        return float(stripped)
    except ValueError:
        raise InvalidTable(f"{where}: {str(text)[:60]!r} is no number", hint="Repair the file.") from None


def _unzipped(path: Path, stored: bytes, limit: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(stored)) as file:
            data = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidData(f"cannot decompress {path}: {error}", hint="Fetch the file again.") from error
    if len(data) > limit:
        raise InvalidData(
            f"{path} decompresses to more than {limit} bytes; {limit} are allowed",
            hint="Cut the table down to what you need.",
        )
    return data
