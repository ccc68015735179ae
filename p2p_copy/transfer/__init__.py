"""What the two sides say and do: the stories of `send` and `receive`.

May import `peer`, `files`, `transport`, `protocol` and the root's leaves.
"""
