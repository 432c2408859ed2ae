"""`text:FILE`: a text whose next byte is to be said; `text`: the topics of Python's help, which are always there."""

from __future__ import annotations

import hashlib

from device_profiles.errors import InvalidData
from nas.weights.data.alphabet import alphabet
from nas.weights.data.files import require_file
from nas.weights.data.protocol import TEST_SHARE, VALID_SHARE, Data, Part, Wanted, require_shape
from nas.weights.data.tasks import Tokens

_PREFIX = "text:"


class Text:
    """`text` and `text:FILE`."""

    forms = "text · text:FILE"

    def claims(self, name: str) -> bool:
        """The word, or what begins with it and a colon."""
        return name == "text" or name.startswith(_PREFIX)

    def fingerprint(self, name: str) -> str:
        """Of the text: the topics are others in another version of Python."""
        return hashlib.sha256(_read(name)).hexdigest()[:16]

    def load(self, name: str, wanted: Wanted, *, seed: int, limit: int | None) -> Data:
        """Sequences that do not overlap, each with the byte that follows it.

        The parts are three pieces of the text, one after the other: the last fifth for the report, a fifth of what is
        before for judging. So the seed decides nothing. A reduced alphabet is that of the first piece.
        """
        import torch

        require_shape(name, "text", ("1", "length"), wanted)
        text, length = _read(name), wanted.input_shape[1]
        count = (len(text) - 1) // length
        test = int(count * (1 - TEST_SHARE))
        valid = int(test * (1 - VALID_SHARE))
        if min(valid, test - valid, count - test) < 1:
            raise InvalidData(
                f"{name} has {len(text)} bytes, too few for training, validation and test sequences of {length}",
                hint=f"Give a text of at least {3 * length + 1} bytes, or use a smaller space option length.",
            )
        letters = alphabet(text[: valid * length], wanted.outputs)
        tokens = torch.from_numpy(letters.encode(text))
        inputs, targets = (tokens[at : at + count * length].reshape(count, length) for at in (0, 1))
        parts = [(0, valid), (valid, test), (test, count)]
        made = [Part(inputs[a:b][:limit].clone(), targets[a:b][:limit].clone()) for a, b in parts]
        return Data(name, Tokens(letters.tokens), *made)


DATA = Text()


def _read(name: str) -> bytes:
    if name != "text":
        return require_file(name.removeprefix(_PREFIX)).read_bytes()
    from pydoc_data.topics import topics

    return "\n".join(topics[key] for key in sorted(topics)).encode()
