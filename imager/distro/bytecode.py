"""Compile Python modules ahead of time, for a machine that cannot write .pyc files.

Specification: PEP 552; an unchecked hash-based .pyc does not need its source.
"""

from __future__ import annotations

import marshal
import warnings
from importlib.util import MAGIC_NUMBER, source_hash

# Of Python 3.11, which the node runs: Lib/importlib/_bootstrap_external.py, "magic numbers".
_NODE_MAGIC = (3495).to_bytes(2, "little") + b"\r\n"
_HASH_BASED = (1).to_bytes(4, "little")
# The output of later marshal versions depends on reference counts.
_MARSHAL_VERSION = 2


def compiled(name: str, source: bytes) -> tuple[str, bytes]:
    """Return name and contents of the module file `name`, compiled if this is Python 3.11.

    With another Python, or for source that does not compile, returns the source.
    """
    if MAGIC_NUMBER != _NODE_MAGIC or not name.endswith(".py"):
        return name, source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(source, f"/{name}", "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError):
        return name, source
    header = MAGIC_NUMBER + _HASH_BASED + source_hash(source)
    return f"{name}c", header + marshal.dumps(code, _MARSHAL_VERSION)
