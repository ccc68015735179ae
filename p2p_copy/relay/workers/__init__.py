"""A relay of several processes: one port, each room in one worker.

The first process (the supervisor) listens, and keeps what holds for the whole relay: the counts of the gatekeeper,
tokens, quotas and shared rates. It reads nothing of a connection but a PROXY header, looks at the ClientHello or the
request, and passes the descriptor to the worker that has the room. Each worker is a whole `server.Relay` but for its
listener and its gatekeeper, which ask the supervisor. So no byte of a transfer passes the supervisor.

    supervisor   listens, admits, passes connections on, gives orders, adds the counts up
    worker_process  one worker as the supervisor sees it, from its start to its end
    hints        whose room: from the first bytes of a connection, without taking them
    channel      messages and descriptors between two processes
    worker       the worker process
    remote_gate  the gatekeeper of a worker, which asks the supervisor's

May import all of `relay`; only `server`'s callers import it. Only where descriptors can be passed (Linux, macOS).
"""
