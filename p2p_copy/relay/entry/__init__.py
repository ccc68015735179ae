"""From a listening socket to a WebSocket request: listeners, certificates, TLS, HTTP.

May import `log`, the relay's `config`, `limits` and `file_thread`, and `acme.interface`: what a relay and the keeper of
its certificate tell each other.
"""
