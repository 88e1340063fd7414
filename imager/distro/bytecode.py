"""Python modules compiled ahead, for a machine on which nothing can be written beside them.

Specification: PEP 552; a hash-based .pyc that is not checked against its source needs none.
"""

from __future__ import annotations

import marshal
import warnings
from importlib.util import MAGIC_NUMBER, source_hash

# Of Python 3.11, the node's: Lib/importlib/_bootstrap_external.py, "magic numbers".
_NODE_MAGIC = (3495).to_bytes(2, "little") + b"\r\n"
_HASH_BASED = (1).to_bytes(4, "little")
# Later versions write what depends on how often an object is in use.
_MARSHAL_VERSION = 2


def compiled(name: str, source: bytes) -> tuple[str, bytes]:
    """Return name and contents of the module file `name`, compiled when this Python is a 3.11.

    Another Python cannot, and Python 2's leftovers cannot be: the source is kept then.
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
