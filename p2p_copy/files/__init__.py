"""The only code that touches paths: reading a tree that may change, writing a tree for a sender that is not trusted.

May import `protocol` and the root's leaves.
"""
