"""What a program calls: clients and relays that work under Trio, under asyncio and without an event loop.

All of them are names of `p2p_copy`. Everything below this folder runs under Trio; `callers` and `bridge` run it for
programs that do not. May import all folders but the command line, which is to be one of its users. It prints nothing,
sets up no logging and handles no signals.
"""
