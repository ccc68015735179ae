"""The output directory: made if it is missing, opened, and found to be writable before anybody is called."""

from __future__ import annotations

import os
import time

from p2p_copy.errors import OutputNotWritable
from p2p_copy.files.directory import Directory
from p2p_copy.files.target.errors import fail_for_good
from p2p_copy.files.target.part import temporary_name


def open_output(out: str, tag: str, allowed: int) -> tuple[Directory, float]:
    """Open the directory under which everything is put, and gets none but the `allowed` permission bits.

    The `tag` is for the name of what is put there to try it out. Returned is also by how many seconds the clock of its
    file system, which may be a server's, is ahead of ours.

    Raises:
        OutputNotWritable: nothing can be written there.
        NoSpace: not even an empty file has room there.

    """
    try:
        os.makedirs(out, exist_ok=True)
        top = Directory.top(out, allowed)
    except (FileExistsError, NotADirectoryError):
        raise OutputNotWritable(
            "The path of the output directory here leads to something that is no directory."
        ) from None
    except PermissionError:
        raise OutputNotWritable("You may not create or enter the output directory here.") from None
    except (OSError, ValueError) as error:
        fail_for_good(error)
    try:
        now = time.time()
        ahead = max(0.0, top.try_out(temporary_name(tag)).st_ctime - now)
    except PermissionError:
        top.close()
        raise OutputNotWritable("You may not write into the output directory here.") from None
    except OSError as error:
        top.close()
        fail_for_good(error)
    return top, ahead
