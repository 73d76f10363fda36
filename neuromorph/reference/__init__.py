"""The readable twin of the kernels: plain NumPy and loops, next to the equations."""
