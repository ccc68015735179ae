"""How Sphinx builds the documentation. Run it with `nox -s docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for docs.figures

project = "p2p-copy"
author = "p2p-copy maintainers"
extensions = ["myst_parser", "sphinx_copybutton", "docs.figures.directives"]
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
html_title = "p2p-copy"
html_static_path = ["_static"]
html_css_files = ["p2p-copy.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
myst_heading_anchors = 3
nitpicky = True
smartquotes = False  # a page is searched for, and copied from, as it is written: -- is no dash
linkcheck_ignore = [
    r"https://relay\.example.*",
    r"http://127\.0\.0\.1.*",
]  # examples, no pages

# The button copies what to type: of a block with prompts only the lines behind them, of others everything.
copybutton_prompt_text = "$ "

LONGEST_WORD = 30
"""Characters of code that fit into a line of a telephone's screen; a longer word may be broken anywhere."""


def mark_long_words(app: Sphinx, doctree: nodes.document) -> None:
    """Tell the style sheet which pieces of code in a sentence have words too long to be kept whole."""
    for code in doctree.findall(nodes.literal):
        if any(len(word) > LONGEST_WORD for word in code.astext().split()):
            code["classes"].append("long")


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect("doctree-read", mark_long_words)
