"""The colours of the pictures, and where each one is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Theme:
    """The colours of a light or a dark page, those of its theme where it has them.

    Attributes:
        name: `light` or `dark`, also the end of the file's name.
        page: behind everything.
        panel: behind a box, and the inside of a terminal.
        line: borders and grids.
        text: what is read first.
        faint: what is read second.
        accent: our own bar or curve, and what is sealed.
        good: the prompt of a terminal, and what is safe.
        warn: what was cut.

    """

    name: str
    page: str
    panel: str
    line: str
    text: str
    faint: str
    accent: str
    good: str
    warn: str


LIGHT: Final = Theme(
    "light", "#ffffff", "#f6f7f9", "#c3c8d0", "#1d2129", "#5a6270", "#0a56c2", "#1a7f37", "#b3261e"
)
DARK: Final = Theme(
    "dark", "#131416", "#1e2126", "#454b55", "#e2e5ea", "#9da5b2", "#6ea8fe", "#5fcf80", "#ff8f80"
)
THEMES: Final = (LIGHT, DARK)


def written(folder: str, name: str, theme: Theme, kind: str = "svg") -> Path:
    """Return the file of this picture for this theme."""
    return DOCS / folder / f"{name}-{theme.name}.{kind}"
