"""The way to the other side and back to it: meeting in a relay's room, channels of one or more links, reconnecting.

May import `protocol`, `transport` and the root's leaves. Knows nothing of files and of what is transferred.
"""
