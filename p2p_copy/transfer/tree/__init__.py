"""Trees of files: which messages a sender makes of a walk, and what a receiver does with them.

`producer` puts together what `page_producer` and `file_producer` make; `consumer` puts into effect what
`page_planner` decides of each page, and what comes after it. Both block on the disk and know no event loop: they
run in a worker thread. The modules import `files`, `protocol` and the numbers of `transfer`.
"""
