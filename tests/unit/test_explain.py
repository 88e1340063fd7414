"""Kinds of errors: their ids, and what explains them."""

from __future__ import annotations

import errno
import json
import re

import pytest

from imager.app.explain import error_kinds, find_kind
from imager.cache.errors import DamagedCacheError
from imager.cli.markdown import reference_pages
from imager.support.errors import (
    HostError,
    ImagerError,
    InputError,
    OutputError,
    PermissionDeniedError,
    exit_code_of,
    kind_of,
    no_room,
)
from tests.lib.tools.cli import run

# People search for them, and programs compare them: none may change or go.
IDS = """
access-denied already-exists changed-since-lock damaged-cache damaged-volume dependency-failed
disk-too-small host-problem impossible-bootloader impossible-name incomplete-cache internal-error
invalid-artifact
invalid-efi-binary invalid-extensions invalid-image invalid-image-list invalid-input invalid-key
invalid-lock invalid-machine-config invalid-manifests invalid-meta invalid-profile invalid-reference
invalid-registry-settings invalid-version missing-program mount-failed no-space not-an-image-cache
not-found overlay-failed permission-denied program-failed read-or-write-failed registry-failed
registry-unreachable signer-failed unsafe-address unsuitable-device unsupported
untrusted-certificate unusable-boot-asset unusable-disk unusable-package unverified-image
volume-too-small wrong-bytes
"""


def test_ids_stay() -> None:
    assert [kind.id for kind in error_kinds()] == IDS.split()


def test_every_kind_has_a_cause_and_a_remedy() -> None:
    for kind in error_kinds():
        assert kind.cause.endswith(".") and kind.remedy.endswith(".")
        assert len(kind.cause) < 110


def test_a_kind_is_found_by_its_id() -> None:
    assert find_kind("damaged-cache").exit_code == DamagedCacheError.exit_code == 2
    with pytest.raises(InputError, match="unknown error id 'none'"):
        find_kind("none")


def test_an_error_has_the_id_of_the_nearest_kind() -> None:
    class OwnError(DamagedCacheError):
        """A class without a remedy of its own."""

    assert kind_of(OwnError("x")).id == "damaged-cache"
    assert kind_of(ImagerError("x")).id == "internal-error"
    full = no_room(OSError(errno.ENOSPC, "full"), "/place")
    assert full is not None
    assert kind_of(full).id == "no-space"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, PermissionDeniedError),
        (errno.ENAMETOOLONG, InputError),
        (errno.EIO, OutputError),
    ],
)
def test_an_error_of_the_system_has_the_kind_of_its_exit_code(
    number: int, kind: type[ImagerError]
) -> None:
    error = OSError(number, "x")
    assert (kind_of(error), exit_code_of(error)) == (kind, kind.exit_code)
    try:
        raise DamagedCacheError("x") from OSError(errno.EACCES, "x")
    except DamagedCacheError as denied:
        assert (kind_of(denied).id, exit_code_of(denied)) == (
            "permission-denied",
            HostError.exit_code,
        )


def test_an_error_names_its_kind_and_explain_explains_it() -> None:
    failed = run("images", "cache-info", "/nonexistent", "--json")
    assert json.loads(failed.stdout)["error"] == {
        "id": "not-an-image-cache",
        "message": "image cache /nonexistent does not exist",
        "hint": failed.stderr.splitlines()[1].removeprefix("hint: "),
        "exitCode": 2,
    }
    assert failed.stderr.splitlines()[2] == "more: imager explain not-an-image-cache"
    explained = run("explain", "not-an-image-cache").stdout
    assert "cache-create" in explained
    (listed,) = (
        kind for kind in json.loads(run("explain", "--json").stdout) if "not-an-image" in kind["id"]
    )
    assert listed["cause"] in explained


def test_all_kinds_are_in_the_documentation() -> None:
    page = reference_pages()["errors.md"]
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == IDS.split()
    assert DamagedCacheError.remedy in page
