# C types for sockets.py, and no logic.
from .polling cimport wait_for
