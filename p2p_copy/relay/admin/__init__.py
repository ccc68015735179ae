"""The operator's side: status, orders, metrics, and the service manager.

May import `entry`, `log`, and the relay's `config` and `limits`; `server` for types only, for a relay is handed in.
"""
