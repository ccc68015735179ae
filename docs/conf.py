"""How Sphinx builds the documentation. Run it with `nox -s docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for docs.figures

project = "p2p-copy"
author = "p2p-copy maintainers"
extensions = ["myst_parser", "docs.figures.directives"]
exclude_patterns = ["_build"]
html_static_path = ["_static"]
html_theme = "furo"
html_title = "p2p-copy"
myst_heading_anchors = 3
