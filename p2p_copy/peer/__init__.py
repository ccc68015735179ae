"""The way to the other side and back to it: a relay's room, the key exchange, and coming back after a loss.

May import `protocol`, `transport` and the root's leaves.
"""
