"""The public functions and classes, for programs under Trio, under asyncio and without an event loop.

All of them are names of `p2p_copy`. Transfers run under Trio: in the caller's tasks if these are Trio's, else in a
thread of their own (`callers`). May import all folders but `cli`, which shall use this one and none below it.
"""
