"""How Sphinx builds the documentation. Run it with `nox -s docs`."""

import sys
from pathlib import Path

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
linkcheck_ignore = [
    r"https://relay\.example.*",
    r"http://127\.0\.0\.1.*",
]  # examples, no pages

# The button copies what to type: of a block with prompts only the lines behind them, of others everything.
copybutton_prompt_text = "$ "
