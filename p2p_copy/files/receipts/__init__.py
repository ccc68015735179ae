"""Receipts of what a transfer has brought: written, read again, and compared with a directory.

May import `files` (but not `source`, except how attributes are read, nor `state`), `protocol` and the root's leaves.
"""
