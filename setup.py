"""Builds the native core of the scanner. Without a compiler the package is built without it, and scans in
Python; everything else is in pyproject.toml."""

import platform
import sysconfig

from setuptools import Extension, setup

core = Extension(
    "bucketboard.events._scan",
    ["src/bucketboard/events/scanmodule.c"],
    depends=["src/bucketboard/events/scan.h"],
    define_macros=[("Py_LIMITED_API", "0x030A0000")],
    extra_compile_args=["-O3"],
    py_limited_api=True,
    optional=True,
)
# A free-threaded Python has no limited API.
if platform.python_implementation() == "CPython" and not sysconfig.get_config_var("Py_GIL_DISABLED"):
    setup(ext_modules=[core], options={"bdist_wheel": {"py_limited_api": "cp310"}})
else:
    setup()
