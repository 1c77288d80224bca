"""`doctor`: what is unsafe about a home, its filesystems, its manager and this machine.

Promises: changes nothing (the hidden folder in which filesystems are tried is gone when it
ends); whatever does not answer is a finding and holds up nothing else; no secret is shown.
Each module knows one thing that can be ill, and declares its findings at its top.
"""
