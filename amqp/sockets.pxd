# Compiled as it stands: it has no C types.
