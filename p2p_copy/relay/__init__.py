"""The relay: it pairs one sender with one receiver and passes on their data, which it cannot read.

    entry/     from the listening socket to a WebSocket request
    access/    which clients are admitted: how many, how fast, how much
    log/       what the relay tells its operator in lines
    admin/     what the operator queries and orders while the relay runs
    workers/   a relay of several processes
    server     starts, drains, stops, reloads
    connection, seats, lobby, pairing, pairings    the life of one client, from accept to the end of its pairing
    budget, system_limits    the memory of all pairings; what the operating system allows
    file_thread    reads certificates, keys and tokens, for `entry` and `access`
    config, limits, tally, snapshot, refusal    what the operator may choose; numbers; counts; how a client is refused

May import `transport`, of `protocol` only `rendezvous`, `limits` and `escape`, and the root's leaves. So it knows no
key, record, message or file, and that is a fact of imports.
"""
