"""From an accepted connection to a WebSocket request: listeners, certificates, TLS, HTTP, and the time for it."""
