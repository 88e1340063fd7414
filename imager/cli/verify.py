"""`imager verify`: check everything of an image that can be checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from imager.cli.declare import argument, option
from imager.cli.files import SOURCE_HELP
from imager.cli.options import Registries, Results

if TYPE_CHECKING:
    from imager.image.inspect.verify import Verified


def verify(
    source: Annotated[str, argument("SOURCE", SOURCE_HELP)],
    against: Annotated[
        Path | None,
        option(
            "FILE",
            "Also check the whole file: SHA256SUMS, or an in-toto statement; or what it was built "
            "from: a lock.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        option("FILE", "Public key in PEM that the statement of --against must be signed with."),
    ] = None,
    *,
    registries: Registries,
    display: Results,
) -> None:
    """Check an image: tables, file systems, compressed files, digests of blobs, signatures.

    Signatures are compared with the bytes that they are of, not with certificates to trust; see
    `imager secureboot verify`. The exit code is 2 if anything is damaged.
    """
    from imager.app.verify import verify_image
    from imager.cli.commands import raise_problems

    settings = None if Path(source).exists() else registries.settings()
    found = verify_image(source, against, settings, display.reporter(), key=key)
    if display.json_output or not found.problems:
        display.summary(_text, _json, found)
    problems = [f"{each.place}: {each.problem}" for each in found.problems]
    raise_problems(source, problems, hint="copy it again, or build it again")


def _text(found: Verified) -> Iterator[str]:
    from imager.support.units import count

    for each in found.unknown:
        yield f"not checked: {each.place}: {each.reason}"
    parts = [
        count(number, what)
        for number, what in (
            (found.files, "file"),
            (found.streams, "compressed file"),
            (found.blobs, "blob"),
            (found.signatures, "signature"),
        )
        if number
    ]
    if found.sha256:
        parts.append(f"SHA-256 {found.sha256}")
    yield f"verified {', '.join(parts) or 'metadata only'}"


def _json(found: Verified) -> Any:
    from imager.cli.tables import json_object

    return {"ok": not found.problems, **json_object(found)}
