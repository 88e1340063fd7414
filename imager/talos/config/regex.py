"""Regular expressions in the syntax of RE2 and Go, as Talos uses them.

Google's CEL library searches with RE2, in time linear in the text, which may be hostile.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from imager.support.errors import InputError


def search(pattern: str, text: str) -> bool:
    """Whether the regular expression `pattern` matches anywhere in `text`.

    Raises InputError for an invalid pattern.
    """
    try:
        value = _matcher().eval(data={"text": text, "pattern": pattern}).value()
    except RuntimeError as error:
        value = str(error)
    if isinstance(value, bool):
        return value
    raise InputError(f"is not a regular expression: {str(value).rpartition('expression: ')[2]}")


@cache
def _matcher() -> Any:
    from cel_expr_python import cel
    from google.protobuf.descriptor_pool import DescriptorPool

    names = dict.fromkeys(("text", "pattern"), cel.Type.STRING)
    return cel.NewEnv(DescriptorPool(), variables=names).compile("text.matches(pattern)")
