"""What a sender reads: the walk through the trees, the files, and the digests that are remembered of them.

May import `state` and the modules directly in `files`, and not `target`.
"""
