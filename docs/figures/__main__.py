"""Draws the pictures: `python -m docs.figures`, or only some: `python -m docs.figures screens`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from docs.figures import screens
from docs.figures.theme import DOCS, THEMES, written

if TYPE_CHECKING:
    from collections.abc import Callable


def draw_screens() -> None:
    """Run all stories, draw what the terminals show, and remove the screens of stories that are gone."""
    drawn: dict[Path, str] = {}
    for story in screens.STORIES:
        with tempfile.TemporaryDirectory() as home:
            for screen in screens.told(story, Path(home)):
                drawn |= {written("screens", screen.name, theme): screen.svg(theme) for theme in THEMES}
    for old in set((DOCS / "screens").glob("*.svg")) - set(drawn):
        old.unlink()
    for path, svg in drawn.items():
        path.write_text(svg, "utf-8")


KINDS: Final[dict[str, Callable[[], None]]] = {"screens": draw_screens}


def main(wanted: list[str]) -> None:
    """Draw these kinds of pictures, or all."""
    if unknown := set(wanted) - set(KINDS):
        sys.exit(f"There is no {', '.join(sorted(unknown))}, but {', '.join(KINDS)}.")
    for kind in wanted or KINDS:
        KINDS[kind]()


if __name__ == "__main__":
    main(sys.argv[1:])
