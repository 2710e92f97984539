from setuptools import setup

setup(cffi_modules=["build.py:ffibuilder", "build.py:yardsticks"], options={"bdist_wheel": {"py_limited_api": "cp311"}})
