"""Bytes over the network: TCP, TLS, WebSocket. This folder knows nothing of rooms, codes or files.

It may import only the modules in the package root that import nothing themselves: errors, units and the like.

    out: link -> codec -> monitored -> tls -> tcp
    in:  tcp -> tls -> monitored -> reader -> websocket -> codec -> reader -> link

`endpoints` makes links: from an `address` by `dial`, or from a stream that was accepted.
"""
