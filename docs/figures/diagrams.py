"""Diagrams: the way of the data, and what the relay sees of it."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING, Final

from docs.figures import seen
from docs.figures.canvas import Canvas

if TYPE_CHECKING:
    from docs.figures.theme import Theme

WIDTH: Final = 740

STEPS: Final = (
    (("files on the disk",), ("files on the disk", "a name only when verified")),
    (("read, hash",), ("hash, write",)),
    (("messages, compressed",), ("decompress, check",)),
    (("seal", "AES-256-GCM"), ("open: only if unchanged", "and in order")),
    (("a connection",), ("a connection",)),
)
"""What each side does, from the disk to the network."""


def way(theme: Theme) -> str:
    """Draw the way of the data, from disk to disk."""
    canvas = Canvas(WIDTH, 486, theme)
    left, middle, right, wide = 24, 280, 496, 220
    tops = [52 + 72 * number for number in range(len(STEPS))]
    canvas.text(left, 32, "the sender's machine", bold=True)
    canvas.text(right, 32, "the receiver's machine", bold=True)
    canvas.text(WIDTH / 2, 254, "the relay", bold=True, anchor="middle")
    canvas.area(8, tops[3] - 10, WIDTH - 16, 150, line=theme.accent, dashed=True)
    for number, (top, (sends, receives)) in enumerate(zip(tops, STEPS, strict=True)):
        canvas.box(left, top, wide, 48, *sends, accent=number == 3)
        canvas.box(right, top, wide, 48, *receives, accent=number == 3)
        if number:
            canvas.arrow((left + wide / 2, top - 24), (left + wide / 2, top))
            canvas.arrow((right + wide / 2, top), (right + wide / 2, top - 24))
    bottom = tops[-1] + 24
    canvas.box(middle, tops[3], 180, 48 + 72, "passes records on,", "has no key,", "stores nothing")
    canvas.arrow((left + wide, bottom), (middle, bottom))
    canvas.arrow((middle + 180, bottom), (right, bottom))
    for x in ((left + wide + middle) / 2, (middle + 180 + right) / 2):
        canvas.text(x, bottom - 8, "TLS", anchor="middle", colour=theme.faint)
    canvas.text(
        WIDTH / 2,
        430,
        "Inside the dashed line everything is sealed with a key that only the two sides have.",
        anchor="middle",
        colour=theme.accent,
    )
    canvas.text(
        WIDTH / 2,
        456,
        "They agree on it by the code's secret part, which is never sent.",
        "Progress, questions and the receipt go back the same way, sealed as well.",
        anchor="middle",
        colour=theme.faint,
    )
    return canvas.svg()


BARS: Final = 96
"""Height of the largest message's bar."""


def relay_view(theme: Theme) -> str:
    """Draw what the relay sees of one transfer: a real one, as it was recorded."""
    canvas = Canvas(WIDTH, 476, theme)
    view = seen.load()
    canvas.area(8, 8, WIDTH - 16, 356, fill=theme.panel, line=theme.line)
    canvas.text(28, 36, "The relay sees", bold=True)
    canvas.text(
        28,
        62,
        f"the room {view.room[:8]}…{view.room[-4:]}, a hash of the code's first part",
        "both network addresses, who sends and who receives, the program's version",
        "when they connect, how it ends, and the size and time of every sealed message:",
    )
    axis, first, last = 240, 246, WIDTH - 40
    end = max(second for second, _ in view.sent + view.answered)
    canvas.text(28, axis - 40, "from the sender", f"{_sum(view.sent)}")
    canvas.text(28, axis + 62, "from the receiver", f"{_sum(view.answered)}")
    largest = log10(max(size for _, size in view.sent))
    for messages, base, colour in ((view.sent, axis, theme.accent), (view.answered, axis + 88, theme.good)):
        canvas.area(first - 8, base, last - first + 20, 0.5, line=theme.line)
        for second, size in messages:
            canvas.bar(first + (last - first) * second / end, base, 4, BARS * log10(size) / largest, colour)
    canvas.text(first, axis + 110, "0 s", colour=theme.faint)
    canvas.text(last + 8, axis + 110, f"{end:.1f} s", anchor="end", colour=theme.faint)
    canvas.text(
        (first + last) / 2,
        axis + 110,
        "height: bytes, on a logarithmic scale",
        anchor="middle",
        colour=theme.faint,
    )
    canvas.area(8, 376, WIDTH - 16, 92, line=theme.accent, dashed=True)
    canvas.text(28, 404, "The relay does not see", bold=True, colour=theme.accent)
    canvas.text(
        28,
        430,
        "the secret part of the code, and so no key",
        "names, contents, modes and times of files, nor what a message holds",
    )
    return canvas.svg()


def _sum(messages: list[tuple[float, int]]) -> str:
    return f"{len(messages)} messages, {sum(size for _, size in messages):,} B"
