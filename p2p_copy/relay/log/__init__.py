"""The relay's log: its events, its counts of abuse, few lines in a flood, nothing that identifies a client.

`abuse` lies here because each of its kinds is an event with a count. May import the relay's `limits`.
"""
