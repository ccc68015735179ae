"""Loads a relay that allows it, and measures what it does: many clients, real bytes, no files.

    coordinator  what the command runs: processes that make the load, and one connection that measures the round trip
    generator  one process' share of the load: clients that wait, and pairings that move bytes
    client     one client: connect, say hello, wait to be paired
    plan       how much load; what of it the relay's limits would refuse
    figures    what was measured, in one process and in all of them
    report     the same for people and programs

It may import transport and the rendezvous, as a relay does, and of `peer` how long a client waits before it comes back
and what the end of a link means. It knows no codes, keys or files.
"""
