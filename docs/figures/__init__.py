"""Draws the pictures of the documentation: `python -m docs.figures`, or `nox -s figures`.

Each picture is two files, for light and for dark pages. Drawing again changes no file unless the program has changed.
"""
