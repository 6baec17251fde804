"""Run by an interpreter to tell about itself: one JSON object on stdout. Standard library only, Python 3.8 or newer."""

import json
import os
import platform
import sys
import sysconfig

_CONFIG = ("INSTSONAME", "MULTIARCH", "PYTHONFRAMEWORK", "Py_ENABLE_SHARED", "SOABI", "WHEEL_PKG_DIR")

if __name__ == "__main__":
    version = "{}.{}".format(*sys.version_info[:2])
    usual = os.path.join(sys.base_prefix, "bin", "python" + version)  # noqa: PTH118
    facts = {
        "implementation": platform.python_implementation(),
        "version": platform.python_version(),
        "abiflags": getattr(sys, "abiflags", ""),
        "build": " ".join([*platform.python_build(), platform.python_compiler()]),
        "executable": usual if os.path.exists(usual) else os.path.realpath(sys.executable),  # noqa: PTH110
        "prefix": sys.base_prefix,
        "exec_prefix": sys.base_exec_prefix,
        "platlibdir": getattr(sys, "platlibdir", "lib"),
        "stdlib": os.path.dirname(os.__file__),  # noqa: PTH120
        "include": sysconfig.get_path("include", "posix_prefix"),
        "schemes": sysconfig.get_scheme_names(),
        "config": {name: sysconfig.get_config_var(name) for name in _CONFIG},
    }
    print(json.dumps(facts))
