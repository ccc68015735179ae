"""Receipts of transfers: writing them, reading them, and comparing them with a directory.

May import `files` (but not `source`, except how attributes are read, nor `state`), `protocol` and the root's leaves.
"""
