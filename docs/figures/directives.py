"""How a page shows a picture, light or dark as the reader's page is.

    ```{picture} resumed
    What it shows, for readers who cannot see it.
    ```

`screen` shows a terminal in the same way; its text can be selected. `phone` shows the page for browsers.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from docs.figures.theme import DOCS, THEMES, written

if TYPE_CHECKING:
    from pathlib import Path

    from sphinx.application import Sphinx


class Picture(SphinxDirective):
    """Shows a picture of docs/figures; the content is its alternative text."""

    required_arguments = 1
    has_content = True
    folder: ClassVar = "figures"
    kind: ClassVar = "svg"
    style: ClassVar = "picture"
    made_by: ClassVar = "python -m docs.figures"

    def run(self) -> list[nodes.Node]:
        """Return both files, of which the theme's style sheet shows one."""
        self.assert_has_content()
        files = [written(self.folder, self.arguments[0], theme, self.kind) for theme in THEMES]
        for file in files:
            if not file.exists():
                raise self.error(f"there is no {file.relative_to(DOCS)}: {self.made_by}")
            self.env.note_dependency(str(file))
        return [self.shown(files, " ".join(self.content))]

    def shown(self, files: list[Path], alternative: str) -> nodes.Node:
        """Return two images."""
        container = nodes.container(classes=[self.style])
        for file, theme in zip(files, THEMES, strict=True):
            uri = f"/{file.relative_to(DOCS).as_posix()}"
            container += nodes.image(uri=uri, alt=alternative, classes=[f"only-{theme.name}"])
        return container


class Phone(Picture):
    """Shows the page for browsers on a phone; several stand in a row."""

    folder = "screens"
    kind = "png"
    style = "phone"
    made_by = "python -m tests.web.screens"


class Screen(Picture):
    """Shows a terminal of docs/screens."""

    folder = "screens"

    def shown(self, files: list[Path], alternative: str) -> nodes.Node:
        """Return both pictures as parts of the page, so that their text can be selected."""
        pictures = "".join(file.read_text("utf-8") for file in files)
        label = escape(alternative)
        return nodes.raw(
            "", f'<div class="picture" role="figure" aria-label="{label}">{pictures}</div>', format="html"
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directives, and their style sheet."""
    app.add_directive("picture", Picture)
    app.add_directive("screen", Screen)
    app.add_directive("phone", Phone)
    app.add_css_file("pictures.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
