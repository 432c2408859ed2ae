"""URLs of databases without their passwords: those belong in no error, log or answer."""

from __future__ import annotations

import re

#: `://USER:PASSWORD@`, up to the last `@`: a password may hold one that somebody forgot to quote.
_USER = re.compile(r"(://[^:/?#]*):.*@", re.DOTALL)
#: `?password=...` and its relatives: drivers take it there as well.
_OPTION = re.compile(r"([?&;][^=&;?]*(?:pass|pwd|secret|token)[^=&;?]*=)[^&;]*", re.IGNORECASE)
HIDDEN = "***"


def without_password(text: str, *, instead: str = HIDDEN) -> str:
    """A URL, or any other word of a command line, without the password that it may hold.

    Args:
        text: one word; what is no URL stays as it is.
        instead: what stands in its place; `""` takes it out, for a URL that is to be used again.
    """
    if "://" not in text:
        return text
    text = _USER.sub(rf"\g<1>:{instead}@" if instead else r"\g<1>@", text)
    return _OPTION.sub(rf"\g<1>{instead}", text)
