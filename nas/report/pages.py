"""Self-contained HTML pages of figures and tables: one style for all."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles import outputs

#: Colours that people with any colour vision tell apart (Okabe & Ito, 2008), one for each strategy.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
h1{font-size:1.6rem;margin-bottom:.2rem} h2{font-size:1.15rem;margin-top:2.2rem}
p.note{color:#555;margin-top:0} table{border-collapse:collapse;width:100%;font-size:.86rem}
th,td{padding:.35rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th{white-space:normal} th:first-child,td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere;
min-width:16rem;font-family:ui-monospace,monospace;font-size:.74rem}
.scroll{overflow-x:auto} h1,p,li,summary,code{overflow-wrap:anywhere}
p.warning{border-left:4px solid #D55E00;padding:.3rem .7rem;background:#fdf3ec}
ul.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;list-style:none;padding:0;font-size:.75rem}
ul.legend span{display:inline-block;width:.8em;height:.8em;margin-right:.4em}
details{font-weight:normal} @media(max-width:600px){th:first-child,td:first-child{min-width:11rem}}
"""

_CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d"]}


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: its head.
        note: below the head, for people.
        figures: of plotly.
        below: HTML behind them.
        above: HTML before them.
    """

    title: str
    note: str
    figures: tuple[Any, ...]
    below: str = ""
    above: str = ""


def write(path: str | Path, title: str, note: str, sections: Sequence[Section]) -> Path:
    """Write a page, whole or not at all; it needs no network.

    Args:
        path: of the HTML file.
        title: its head.
        note: below the head.
        sections: in order.

    Returns:
        The path.

    Raises:
        UsageError: there is something else than such a page, or there can be no file.
    """
    body = [f"<h1>{html.escape(title)}</h1><p class='note'>{html.escape(note)}</p>"]
    first = True
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2><p class='note'>{html.escape(section.note)}</p>")
        body.append(section.above)
        for figure in section.figures:
            body.append(figure.to_html(full_html=False, include_plotlyjs=first, config=_CONFIG))
            first = False
        body.append(section.below)
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'><title>hwnas: "
        f"{html.escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>"
    )
    outputs.write(path, page, outputs.PAGE)
    return Path(path)


def legend(colours: Mapping[str, str]) -> str:
    """A legend as HTML, which has as many lines as the window needs: names with their colours."""
    items = "".join(
        f"<li><span style='background:{colour}'></span>{html.escape(name)}</li>" for name, colour in colours.items()
    )
    return f"<ul class='legend'>{items}</ul>"


def layout(**margin: int) -> dict[str, Any]:
    """What all figures have in common; the legend stands above.

    Args:
        margin: pixels that differ: `l`, `r`, `t`, `b`.
    """
    return {
        "template": "simple_white",
        "margin": {"l": 60, "r": 20, "t": 20, "b": 60, **margin},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"align": "left"},
        "modebar": {"orientation": "v"},
    }
