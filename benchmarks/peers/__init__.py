"""What a user would take instead of sqlqueue, each as its package is meant to be used.

`programs.py` says which they are, what each is durable against, and runs them; every other file is
a program of one peer, run by the interpreter of `.venv-peers` and never imported from here.
"""
