"""Draws the pictures of the documentation: `python -m docs.figures`, or `nox -s figures`.

    diagrams  charts    docs/figures/*.svg, from the table of docs/performance.md and the transfers that were recorded
                        in resumed.json and seen.json
    screens             docs/screens/*.svg, what real commands show at a real terminal
    directives          how a page shows them

Each picture is two files, for light and for dark pages. Drawing again changes no file unless the program has changed.
"""
