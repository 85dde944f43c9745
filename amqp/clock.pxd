# C declarations of clock.pyx, for the modules that use it.

cpdef double monotonic() noexcept
