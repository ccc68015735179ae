"""The relay: it pairs one sender and one receiver and passes on what it cannot read.

May import `transport`, of `protocol` only `rendezvous`, `limits` and `escape`, and the root's leaves. So it knows no
key, record, message or file, and that is a fact of imports.
"""
