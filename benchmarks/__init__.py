"""Measurements of sqlqueue as it is used: real processes, real sockets, real syncs.

`make bench` runs all of it and writes `docs/PERFORMANCE.md`; see `README.md` here.
"""
