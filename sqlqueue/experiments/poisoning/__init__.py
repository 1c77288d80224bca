"""The built-in experiment `poisoning`: image classification under data poisoning, federated.

Importing this package loads nothing heavy: `declaration` is for whoever plans a sweep,
`training` (which brings torch) for the child that runs a cell.
"""
