"""The CEL environment of disk selectors, as Talos declares it, with Google's CEL library.

Language: https://github.com/google/cel-spec/blob/master/doc/langdef.md. Variables, constants and
functions: Talos's pkg/machinery/cel/celenv, DiskLocator. `disk` is a protobuf message, so unknown
fields and wrong types are detected before evaluation. The libraries are imported on first use.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from fnmatch import fnmatchcase
from typing import Any

from imager.support.errors import InputError
from imager.talos.config.disk import FIELDS_SINCE, Disk
from imager.talos.version import TalosVersion

LONGEST = 100_000  # characters, the limit of cel-go
_PACKAGE = "talos.resource.definitions.block"
_MESSAGE = f"{_PACKAGE}.DiskSpec"
_UNITS = {
    **{f"{prefix}iB": 1 << (10 * n) for n, prefix in enumerate("KMGTPE", start=1)},
    **{f"{prefix}B": 10 ** (3 * n) for n, prefix in enumerate("kMGTPE", start=1)},
}
_ISSUE = re.compile(r"ERROR: <input>:(-?[0-9]+):(-?[0-9]+): (.*)")
_UNKNOWN_FIELD = re.compile(r"undefined field '(\w*)' not found in struct .*")
_UNKNOWN_NAME = re.compile(r"undeclared reference to '([^']*)'.*")
_NO_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_TOO_DEEP = re.compile(r"(?:Expression|Exceeded max) recursion .*")
_EXPECTED = re.compile(r" expecting (\{.*)?$")
_STATUS = re.compile(r"^[A-Z_]+: | ?\[[A-Z_]+\]$")


class ExpressionError(InputError):
    """An invalid expression or a failed evaluation.

    `line` and `column` are the place in the expression, from 1; 0 where the place is unknown.
    """

    def __init__(self, message: str, *, line: int = 0, column: int = 0) -> None:
        self.line = line
        self.column = column
        super().__init__(message)

    def offset_in(self, text: str) -> int:
        """Return the place as an offset in the expression `text`."""
        before = text.split("\n")[: max(self.line - 1, 0)]
        return sum(len(line) + 1 for line in before) + max(self.column - 1, 0)


def compiled(text: str, version: TalosVersion | None = None) -> Any:
    """Compile the expression `text`, whose value must be a bool.

    A field that `version` (None: any) does not have is unknown. Raises ExpressionError.
    """
    from cel_expr_python import cel

    if len(text) > LONGEST:
        raise ExpressionError(f"is longer than {LONGEST} characters")
    pool, _ = _messages(version)
    texts = [cel.Type.STRING, cel.Type.STRING]
    overload = cel.Overload(
        "glob_string_string", return_type=cel.Type.BOOL, parameters=texts, impl=glob
    )
    environment = cel.NewEnv(
        pool,
        variables={
            "disk": cel.Type(_MESSAGE),
            "system_disk": cel.Type.BOOL,
            **dict.fromkeys(_UNITS, cel.Type.UINT),
        },
        functions=[cel.FunctionDecl("glob", [overload])],
    )
    try:
        expression = environment.compile(text)
    except (RuntimeError, ValueError) as error:
        raise _invalid(str(error), version) from error
    kind = expression.return_type().name()
    if kind != "BOOL":
        raise ExpressionError(f"is of type {_type_name(kind)}, not bool", line=1, column=1)
    return expression


def evaluate(text: str, disks: Sequence[Disk], *, system_disk: str) -> list[bool]:
    """Return for each disk whether the expression `text` is true for it.

    `system_disk` is the path of the system disk, or empty. Raises ExpressionError if the
    expression is invalid, or fails (division by zero, index out of range). Time and memory are
    not limited.
    """
    expression = compiled(text)
    _, message = _messages(None)
    return [
        _value(expression, message(**asdict(disk)), is_system=disk.dev_path == system_disk)
        for disk in disks
    ]


def _value(expression: Any, disk: Any, *, is_system: bool) -> bool:
    data = {"disk": disk, "system_disk": is_system, **_UNITS}
    try:
        value = expression.eval(data=data).value()
    except RuntimeError as error:
        value = str(error)
    if not isinstance(value, bool):
        raise ExpressionError(f"evaluation failed: {_STATUS.sub('', str(value))}")
    return value


def _messages(version: TalosVersion | None) -> tuple[Any, Any]:
    """Return the descriptor pool with the disk message, and the message's class."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass

    types = {
        "str": Field.TYPE_STRING,
        "int": Field.TYPE_UINT64,
        "bool": Field.TYPE_BOOL,
        "tuple[str, ...]": Field.TYPE_STRING,
    }
    file = FileDescriptorProto(name="block.proto", package=_PACKAGE, syntax="proto3")
    message = file.message_type.add(name="DiskSpec")
    for number, each in enumerate(fields(Disk), start=1):
        if each.name in _fields(version):
            is_list = str(each.type).startswith("tuple")
            message.field.add(
                name=each.name,
                number=number,
                type=types[str(each.type)],
                label=Field.LABEL_REPEATED if is_list else Field.LABEL_OPTIONAL,
            )
    pool = DescriptorPool()
    pool.Add(file)
    return pool, GetMessageClass(pool.FindMessageTypeByName(_MESSAGE))


def _fields(version: TalosVersion | None) -> list[str]:
    names = [each.name for each in fields(Disk)]
    if version is None:
        return names
    return [name for name in names if version.at_least(*FIELDS_SINCE.get(name, (0, 0)))]


def _invalid(said: str, version: TalosVersion | None) -> ExpressionError:
    """Return the first problem that the library reports, reworded."""
    found = _ISSUE.search(said)
    line, column = (int(found[1]), int(found[2])) if found else (0, 0)
    problem = _STATUS.sub("", found[3] if found else said.partition("\n")[0])
    # The library reports an unknown field at the dot before it.
    after = 1 if _UNKNOWN_FIELD.fullmatch(problem) else 0
    return ExpressionError(
        _EXPECTED.sub("", _explained(problem, version)),
        line=max(line, 0),
        column=max(column + after, 0),
    )


def _explained(problem: str, version: TalosVersion | None) -> str:
    if match := _UNKNOWN_FIELD.fullmatch(problem):
        return _unknown_field(match[1], version)
    if match := _UNKNOWN_NAME.fullmatch(problem):
        return f"unknown name {match[1][:40]!r} (known: disk, system_disk, GiB, glob, ...)"
    if _TOO_DEEP.fullmatch(problem):
        return "nests deeper than 32 levels"
    if match := _NO_OVERLOAD.fullmatch(problem):
        operator = match[1].replace("_", "").replace("@", "")
        types = match[2].replace(_MESSAGE, "disk")
        hint = ": sizes are uint, write 10u * GiB" if {"int", "uint"} <= _words(types) else ""
        return f"`{operator}` does not take {types}{hint}"
    return problem


def _unknown_field(name: str, version: TalosVersion | None) -> str:
    known = _fields(version)
    if name in _fields(None) and version:
        return version.lacks(f"disk.{name}", FIELDS_SINCE[name])
    close = difflib.get_close_matches(name[:40], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
    return f"a disk has no field {name[:40]!r} ({hint})"


def _words(types: str) -> set[str]:
    return set(re.findall(r"\w+", types))


def _type_name(kind: str) -> str:
    return kind.lower() if kind.isupper() else kind.rpartition(".")[2]


def glob(pattern: str, text: str) -> bool:
    """Whether `text` matches `pattern`: only `*` is special, as in github.com/ryanuber/go-glob."""
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))
