"""Runs one command, and writes what it used: `python -I -S usage.py REPORT COMMAND…`.

REPORT gets one line: exit code, start and end on the monotonic clock, processor seconds, those of them in the kernel,
and peak memory in KiB, with the command's own children. This is a program of its own, and a small one, because Linux
counts the memory of the process that starts a program as that program's peak.
"""

import os
import signal
import sys
import time


def main() -> None:
    report, *command = sys.argv[1:]
    began = time.monotonic()
    process = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        setsigdef=[signal.SIGPIPE],  # Python ignores it, and a child would inherit that
    )
    _, status, used = os.wait4(process, 0)
    ended = time.monotonic()
    processor = used.ru_utime + used.ru_stime
    with open(report, "w", encoding="ascii") as file:
        file.write(
            f"{os.waitstatus_to_exitcode(status)} {began} {ended} {processor} {used.ru_stime} {used.ru_maxrss}\n"
        )


if __name__ == "__main__":
    main()
