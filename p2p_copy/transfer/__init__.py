"""One transfer, as sender and receiver carry it out: what they say to each other and what they do.

`send` and `receive` tell the whole story, `conversation` is how it is told, and `pump` carries the records. What is
sent is in `tree/` and `stream/`. May import `peer`, `files`, `transport`, `protocol` and the root's leaves.
"""
