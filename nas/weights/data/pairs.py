"""`pairs:FILE.tsv`: a source and its translation in each line; `pairs`: made-up words and the same backwards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from device_profiles.errors import InvalidData
from nas.streams import stream
from nas.weights.data.alphabet import Alphabet, alphabet
from nas.weights.data.files import require_file
from nas.weights.data.protocol import TEST_SHARE, VALID_SHARE, Data, Part, Wanted, require_shape
from nas.weights.data.tasks import IGNORED, Tokens

_PREFIX = "pairs:"
#: Tokens that are no bytes: what fills a sequence up, and what a target begins and ends with.
_FILL, _BEGIN, _END, _RESERVED = range(4)
#: Of the made-up words: how many, and how long.
_WORDS, _SHORTEST, _LONGEST = 4000, 3, 12
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
Pair = tuple[bytes, bytes]


class Pairs:
    """`pairs` and `pairs:FILE.tsv`."""

    forms = "pairs · pairs:FILE.tsv"

    def claims(self, name: str) -> bool:
        """The word, or what begins with it and a colon."""
        return name == "pairs" or name.startswith(_PREFIX)

    def fingerprint(self, name: str) -> str:
        """Of the file; the words are always the same ones."""
        return "" if name == "pairs" else hashlib.sha256(_file(name).read_bytes()).hexdigest()[:16]

    def load(self, name: str, wanted: Wanted, *, seed: int, limit: int | None) -> Data:
        """Sources and targets as bytes; all pairs of one source are in the same part.

        The target that is given is the one that is wanted, a place later, behind a token that says where it begins.
        """
        require_shape(name, "pairs", ("1", "2", "length"), wanted)
        length = wanted.input_shape[2]
        found = _words(length, wanted.outputs) if name == "pairs" else _read(_file(name), length)
        sources = sorted({source for source, _ in found})
        order = stream(seed, "weights.pairs").permutation(len(sources))
        test = int(len(sources) * (1 - TEST_SHARE))
        valid = int(test * (1 - VALID_SHARE))
        if min(valid, test - valid, len(sources) - test) < 1:
            raise InvalidData(
                f"{name} has {len(sources)} sources, too few for training, validation and test",
                hint="Give at least 3, better thousands.",
            )
        place = {sources[source]: at for at, source in enumerate(order)}
        found = sorted(found, key=lambda pair: place[pair[0]])
        parts = [[pair for pair in found if a <= place[pair[0]] < b] for a, b in ((0, valid), (valid, test))]
        parts.append([pair for pair in found if place[pair[0]] >= test])
        text = b"".join(source + target for source, target in parts[0])
        letters = alphabet(text, wanted.outputs, reserved=_RESERVED)
        return Data(name, Tokens(letters.tokens), *(_part(part[:limit], letters, length) for part in parts))


DATA = Pairs()


def _part(pairs: list[Pair], letters: Alphabet, length: int) -> Part:
    import torch

    inputs = np.full((len(pairs), 2, length), _FILL, dtype=np.int64)
    targets = np.full((len(pairs), length), IGNORED, dtype=np.int64)
    for row, (source, target) in enumerate(pairs):
        given, wanted = letters.encode(source), letters.encode(target)
        inputs[row, 0, : len(given)] = given
        inputs[row, 0, len(given)] = _END
        inputs[row, 1, 0] = _BEGIN
        inputs[row, 1, 1 : len(wanted) + 1] = wanted
        targets[row, : len(wanted)] = wanted
        targets[row, len(wanted)] = _END
    return Part(torch.from_numpy(inputs), torch.from_numpy(targets))


def _file(name: str) -> Path:
    return require_file(name.removeprefix(_PREFIX))


def _read(path: Path, length: int) -> list[Pair]:
    """The distinct pairs of a file, in its order."""
    found: dict[Pair, None] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        columns = line.split(b"\t")
        if len(columns) != 2 or not all(columns):
            raise InvalidData(
                f"{path}, line {number}: {len(columns)} columns; a source, a tab and its target are needed",
                hint="Write one pair on each line, neither of them empty.",
            )
        longest = max(map(len, columns))
        if longest >= length:
            raise InvalidData(
                f"{path}, line {number}: {longest} bytes, and there is room for {length - 1} and the end",
                hint=f"Use the space option length={longest + 1}, or leave long pairs out.",
            )
        found[columns[0], columns[1]] = None
    return list(found)


def _words(length: int, vocabulary: int | None) -> list[Pair]:
    """Distinct words of random letters, as many as there is room for, and each backwards."""
    letters = _LETTERS if vocabulary is None else _LETTERS[: max(vocabulary - _RESERVED - 1, 1)]
    rng = np.random.default_rng(0)
    found: dict[bytes, None] = {}
    for size in rng.integers(min(_SHORTEST, length - 1), min(_LONGEST, length - 1) + 1, _WORDS):
        found[bytes(rng.choice(np.frombuffer(letters, dtype=np.uint8), size))] = None
    return [(word, word[::-1]) for word in found]
