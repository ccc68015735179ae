"""The operator's side: status, orders, metrics, and the service manager."""
