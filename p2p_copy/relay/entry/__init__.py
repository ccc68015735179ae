"""From a listening socket to a WebSocket request: listeners, certificates, TLS, HTTP.

May import `log`, and the relay's `config`, `limits` and `file_thread`.
"""
