# C types for utils.py, and no logic.

cdef Py_ssize_t _forks

cpdef Py_ssize_t fork_generation()
