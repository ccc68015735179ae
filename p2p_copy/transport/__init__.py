"""Bytes over the network: TCP, TLS, WebSocket. It knows nothing of rooms, codes or files.

May import the root's leaves only.
"""
