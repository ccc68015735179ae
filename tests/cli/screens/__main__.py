"""Writes all screens again: `python -m tests.cli.screens`, or those of some stories: `... stalled help_send`.

The texts go beside this file, and the pictures of the documentation into docs/screens. Half a minute; look at the
differences before you commit them.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from typing import TYPE_CHECKING

from docs.figures.screens import told
from docs.figures.terminal import COLUMNS
from docs.figures.theme import DOCS, THEMES, written
from tests.cli.screens import frames
from tests.cli.screens.stories import HERE, ONLY_TEXT, STORIES, WIDTHS, path_of

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE = 4
"""Stories at a time: most of them wait most of the time."""


def drawn(name: str, columns: int) -> dict[Path, str]:
    """Run a story; return the files to write."""
    files: dict[Path, str] = {}
    for screen in told(STORIES[name], columns):
        files[path_of(screen, columns)] = screen.text
        if columns == COLUMNS and name not in ONLY_TEXT:
            files |= {written("screens", screen.name, theme): screen.svg(theme) for theme in THEMES}
    return files


def main(wanted: list[str]) -> None:
    """Write the screens of these stories, or all, and remove those that no story has any more."""
    if unknown := set(wanted) - set(STORIES):
        sys.exit(f"There is no {', '.join(sorted(unknown))}, but {', '.join(STORIES)}.")
    files: dict[Path, str] = {}
    with ProcessPoolExecutor(AT_ONCE) as pool:
        for made in pool.map(drawn, *zip(*product(wanted or STORIES, WIDTHS), strict=True)):
            files |= made
    if not wanted:
        files |= {frames.path_of(kind): frames.text(kind) for kind in frames.KINDS}
        old = {*HERE.glob("*/*.txt"), *(DOCS / "screens").glob("*.svg")}
        for path in old - set(files):
            path.unlink()
    for path, text in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
