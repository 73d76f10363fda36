"""Compiled kernels; everything else is in pyproject.toml.

Portable flags only: the counting kernel is compiled once for each vector width
and chosen when it is first used (``neuromorph/kernels/vcount_select.c``).
``NEUROMORPH_CHECKED=1`` builds with bounds checks and the address and
undefined-behaviour sanitizers, for the test suite (CONTRIBUTING.md says how).
"""

import glob
import os

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

KERNELS = "neuromorph/kernels"
CHECKED = os.environ.get("NEUROMORPH_CHECKED") == "1"
# the kernels clear a few vectors at a time: a call of memset costs more
FLAGS = ["-O3", "-g0", "-fno-tree-loop-distribute-patterns"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
if CHECKED:
    FLAGS = ["-O1", "-g", "-fno-omit-frame-pointer", *SANITIZERS]
WIDTHS = ("select", "u64", "v128", "avx2", "avx512vl", "avx512")

extensions = [
    Extension(
        "neuromorph.kernels._vcount",
        [f"{KERNELS}/_vcount.pyx", *(f"{KERNELS}/vcount_{width}.c" for width in WIDTHS)],
        depends=sorted(glob.glob(f"{KERNELS}/vcount*.h")),
        extra_compile_args=FLAGS,
        extra_link_args=SANITIZERS if CHECKED else [],
    ),
    Extension(
        "neuromorph.kernels._packets",
        [f"{KERNELS}/_packets.pyx"],
        extra_compile_args=FLAGS,
        extra_link_args=SANITIZERS if CHECKED else [],
    ),
    Extension(
        "neuromorph.kernels._timed",
        [f"{KERNELS}/_timed.pyx", f"{KERNELS}/timed_wheel.c", f"{KERNELS}/timed_heap.c"],
        depends=[f"{KERNELS}/agenda.h", *sorted(glob.glob(f"{KERNELS}/timed*.h"))],
        extra_compile_args=FLAGS,
        extra_link_args=SANITIZERS if CHECKED else [],
    ),
    Extension(
        "neuromorph.kernels._recording",
        [f"{KERNELS}/_recording.pyx", f"{KERNELS}/recording_deflate.c"],
        depends=[f"{KERNELS}/recording_deflate.h"],
        extra_compile_args=FLAGS,
        extra_link_args=SANITIZERS if CHECKED else [],
    ),
    Extension(
        "neuromorph.kernels._learning",
        [f"{KERNELS}/_learning.pyx", f"{KERNELS}/learning.c"],
        depends=[f"{KERNELS}/learning.h"],
        extra_compile_args=FLAGS,
        extra_link_args=SANITIZERS if CHECKED else [],
    ),
]

setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    packages=[*find_packages(include=["neuromorph", "neuromorph.*"]), "neuromorph.networks"],
    ext_modules=cythonize(
        [e for e in extensions if os.path.exists(e.sources[0])],
        compiler_directives={
            "language_level": 3,
            "boundscheck": CHECKED,
            "wraparound": False,
            "initializedcheck": CHECKED,
            "cdivision": True,
        },
    ),
)
