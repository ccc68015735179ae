"""Trees of files: which messages a sender makes of a walk, and what a receiver does with them.

`producer` makes the records, with what `answers` keeps of the receiver's answers. `consumer` lets `page_planner` decide
which entries of a page to take, and then carries that out. All of them block on the disk and know no event loop: they
run in a worker thread. The modules import `files`, `protocol` and the numbers of `transfer`.
"""
