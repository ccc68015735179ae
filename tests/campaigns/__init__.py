"""Campaigns: a relay process under what a year brings, in minutes or hours. `nox` runs them by name only."""
