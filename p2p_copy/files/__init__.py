"""The only code that touches paths: it reads a tree that may change, and writes a tree for an untrusted sender.

`source` reads, `target` writes, `receipts` records and verifies, `state` remembers. May import `protocol` and the
modules of the package root.
"""
