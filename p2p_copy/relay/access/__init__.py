"""Which clients the relay admits: how many, how fast and how much.

`gatekeeper` puts the others together; they do not import it. `throttle` and `deadline` lie here because they limit the
processor time and the time of one connection, as `admission` limits how many there are. May import `log`, and the
relay's `config`, `limits`, `system_limits` and `file_thread`.
"""
