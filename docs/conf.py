"""How Sphinx builds the documentation. Run it with `nox -s docs`."""

project = "p2p-copy"
author = "p2p-copy maintainers"
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "p2p-copy"
myst_heading_anchors = 3
