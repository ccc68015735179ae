"""What a sender reads: it walks through the trees, reads the files, and remembers their digests.

May import `state` and the modules directly in `files`, and not `target`.
"""
