"""Streams, transfers of unknown length: standard input or one file, sent once, to standard output or into a file.

May import what `transfer` may, and of `transfer` all but `send`, `receive` and `tree`.
"""
