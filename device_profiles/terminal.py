"""Text of others on a terminal: what would move its cursor, change its colours or turn its lines is shown instead.

Names of models, nodes, files and devices come from files of others, and a terminal obeys what it is sent.
"""

from __future__ import annotations

import unicodedata

#: Kinds of characters that a terminal obeys or does not show: controls (ESC, C1), formats (turning of directions,
#: zero widths), halves of surrogates (of file names that are no UTF-8), and separators of lines.
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str, *, keep: str = "\n\t") -> str:
    r"""A text with what is no print as an escape, such as `\x1b`.

    Args:
        text: of anybody.
        keep: control characters that stay: none of them inside of a line of a table.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(one) if unicodedata.category(one) in _OBEYED and one not in keep else one for one in text)


def _escaped(one: str) -> str:
    code = ord(one)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
