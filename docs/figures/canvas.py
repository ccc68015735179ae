"""A few shapes as SVG: boxes with text, arrows and bars."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from docs.figures.theme import Theme

SIZE: Final = 14
FONTS: Final = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
LINE: Final = 19
"""From one line of text to the next."""


class Canvas:
    """A picture to draw on, from back to front; x grows to the right, y downward."""

    def __init__(self, width: float, height: float, theme: Theme) -> None:
        """Start with the colour of the page."""
        self._theme = theme
        self._parts = [
            f"""<svg xmlns="http://www.w3.org/2000/svg" class="only-{theme.name}" width="{width:g}" height="{height:g}"
 viewBox="0 0 {width:g} {height:g}" font-family="{FONTS}" font-size="{SIZE}" fill="{theme.text}">
<rect width="{width:g}" height="{height:g}" fill="{theme.page}"/>"""
        ]

    def text(
        self, x: float, y: float, *lines: str, colour: str = "", bold: bool = False, anchor: str = "start"
    ) -> None:
        """Write lines of text, the first one's base at `y`."""
        kind = f' fill="{colour}"' if colour else ""
        kind += ' font-weight="600"' if bold else ""
        for number, line in enumerate(lines):
            place = f'x="{x:g}" y="{y + number * LINE:g}" text-anchor="{anchor}"'
            self._parts.append(f"<text {place}{kind}>{escape(line, quote=False)}</text>")

    def area(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = "none",
        line: str = "none",
        dashed: bool = False,
    ) -> None:
        """Draw a rectangle with round corners."""
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
        self._parts.append(f'<rect {place} rx="6" fill="{fill}" stroke="{line}"{dashes}/>')

    def box(self, x: float, y: float, width: float, height: float, *lines: str, accent: bool = False) -> None:
        """Draw a box with lines of text in its middle."""
        line = self._theme.accent if accent else self._theme.line
        self.area(x, y, width, height, fill=self._theme.panel, line=line)
        first = y + height / 2 + 5 - (len(lines) - 1) * LINE / 2
        self.text(x + width / 2, first, *lines, anchor="middle", colour=self._theme.accent if accent else "")

    def arrow(self, *points: tuple[float, float], colour: str = "", dashed: bool = False) -> None:
        """Draw a line through these points with a head at the last one."""
        colour = colour or self._theme.faint
        (before, (x, y)) = points[-2:]
        dx, dy = (x > before[0]) - (x < before[0]), (y > before[1]) - (y < before[1])  # along an axis
        end = (x - 6 * dx, y - 6 * dy)
        path = " ".join(f"{a:g},{b:g}" for a, b in (*points[:-1], end))
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>'
        )
        head = [
            (x, y),
            (x - 9 * dx + 4 * dy, y - 9 * dy + 4 * dx),
            (x - 9 * dx - 4 * dy, y - 9 * dy - 4 * dx),
        ]
        self._parts.append(f'<polygon points="{" ".join(f"{a:g},{b:g}" for a, b in head)}" fill="{colour}"/>')

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Draw a bar that stands on `y`."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y - height:.1f}" width="{width:g}" height="{height:.1f}" fill="{colour}"/>'
        )

    def svg(self) -> str:
        """Return the picture."""
        return "\n".join([*self._parts, "</svg>", ""])
