"""sqlqueue: overlapping experiment sweeps; each cell runs once, its row lands everywhere.

The package is used through its command line and its protocol; nothing is imported here, so
that every part starts as light as it is.
"""
