"""Draws the pictures: `python -m docs.figures`, or only some: `python -m docs.figures screens`.

`python -m docs.figures measure` first runs the transfers again that the figures show; half a minute.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from docs.figures import charts, diagrams, resumed, seen
from docs.figures.theme import THEMES, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from docs.figures.theme import Theme


def draw_screens() -> None:
    """Run all commands whose screens are kept, as pictures and as text."""
    from tests.cli.screens.__main__ import main as write_screens

    write_screens([])


FIGURES: Final[dict[str, Callable[[Theme], str]]] = {
    "way": diagrams.way,
    "relay-view": diagrams.relay_view,
    "performance": charts.performance,
    "resumed": charts.resumed,
}


def draw_figures() -> None:
    """Draw the diagrams and charts."""
    for name, draw in FIGURES.items():
        for theme in THEMES:
            written("figures", name, theme).write_text(draw(theme), "utf-8")


KINDS: Final[dict[str, Callable[[], None]]] = {"figures": draw_figures, "screens": draw_screens}
MEASURE: Final = "measure"


def main(wanted: list[str]) -> None:
    """Draw these kinds of pictures, or all; measure the transfers anew if that is wanted."""
    if MEASURE in wanted:
        resumed.measure()
        seen.measure()
        wanted = ["figures"]
    if unknown := set(wanted) - set(KINDS):
        sys.exit(f"There is no {', '.join(sorted(unknown))}, but {', '.join(KINDS)}.")
    for kind in wanted or KINDS:
        KINDS[kind]()


if __name__ == "__main__":
    main(sys.argv[1:])
