"""What a program calls: clients and relays that work under Trio, under asyncio and without an event loop.

Everything below this folder runs under Trio. `bridge` runs it for programs that do not. This folder may import all
others but the command line, which is one of its users. It prints nothing, sets up no logging and handles no signals.
"""
