"""Format the results of `imager publish` and `imager fetch` as text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imager.app.fetch import Fetched
from imager.app.publish import Published
from imager.cli.push import pushed_json
from imager.cli.tables import blob_json
from imager.oci.artifact import ArtifactFile
from imager.support.units import format_size


def published_text(published: Published) -> list[str]:
    """Return the published reference with its digest."""
    return [str(published.pushed.reference)]


def summary_text(published: Published) -> Iterator[str]:
    """Return the files, what is attached to them, and what was sent."""
    for word, files in (("file", published.files), ("attached", published.attached)):
        for each in files:
            yield f"{word} {each.title} ({format_size(each.content.size)}, {each.media_type})"
    yield published.pushed.summary()


def published_json(published: Published) -> dict[str, Any]:
    """Return the result of publishing for JSON; sizes in bytes."""
    return {
        **pushed_json(published.pushed),
        "files": [*map(_file_json, published.files)],
        "attached": [*map(_file_json, published.attached)],
    }


def fetched_text(fetched: Fetched) -> Iterator[str]:
    """Return the paths of the fetched files."""
    for each in fetched.files:
        yield str(each.path)


def fetched_json(fetched: Fetched) -> dict[str, Any]:
    """Return the fetched artifact and its files for JSON; sizes in bytes."""
    return {
        "reference": str(fetched.reference),
        "digest": str(fetched.reference.digest),
        "files": [
            {
                "path": str(each.path),
                **blob_json(each.layer.digest, each.layer.size),
                "mediaType": each.layer.media_type,
                "outcome": "already present" if each.kept else "fetched",
            }
            for each in fetched.files
        ],
    }


def _file_json(file: ArtifactFile) -> dict[str, Any]:
    return {
        "name": file.title,
        **blob_json(file.digest, file.content.size),
        "mediaType": file.media_type,
    }
