"""Fuzzing: what must hold for any bytes, and a coverage-guided search for what breaks it.

`properties.py` says what must hold, `mutate.py` makes inputs that get past the first check,
`__main__.py` searches.  `tests/test_fuzz.py` asks the same of what was found before and of
what hypothesis makes.  What is not here: a live manager (`tests/test_hostile.py`).
"""
