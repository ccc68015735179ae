"""Bytes over the network: TCP, TLS, WebSocket. This folder knows nothing of rooms, codes or files.

It may import only the modules in the package root that import nothing themselves: errors, units and the like.

    out: link -> codec -> link_io -> tls -> tcp
    in:  tcp -> tls -> link_io -> websocket -> codec -> link_io -> link

`dial` makes a client's link to an `address`, `endpoints` one of a stream that was accepted.
"""
