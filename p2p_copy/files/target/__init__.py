"""What a receiver writes: nothing outside the output directory, and no incomplete file under its own name.

`target` is the way in. May import `files` (but not `source` or `receipts`), `protocol` and the root's leaves.
"""
