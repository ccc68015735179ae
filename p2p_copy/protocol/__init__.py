"""What both sides and the relay send to each other: bytes in, values out.

Everything here is pure: no files, no network, no clock, no randomness. May import only `errors`, `options`,
`observer`, `units`, `version` and `pasted`. docs/protocol.md is the specification.
"""
