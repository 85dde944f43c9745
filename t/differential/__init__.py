"""The pure and the compiled build, side by side: the same value or the same error, or it fails.

    python -m t.differential --count 1000000 --seed 7

`build` makes two copies of the package under names of their own, one of which it compiles. A
`Target` invents cases for one module and runs them on both; `run` compares. To add a module:
write a subclass of `Target` in a file like `tables.py` here, and list it in `TARGETS` of
`__main__.py`.
"""
