# C declarations of polling.pyx, for the modules that use it.

cpdef int wait_for(int descriptor, int events, object timeout, int other=*) except -1
