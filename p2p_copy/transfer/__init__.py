"""One transfer, as sender and receiver carry it out: what they say to each other and what they do.

`send` and `receive` show a transfer from beginning to end, `conversation` sends and receives messages and moves
records. The contents are in `tree/` and `stream/`. May import `peer`, `files`, `transport`, `protocol` and the root's
leaves.
"""
