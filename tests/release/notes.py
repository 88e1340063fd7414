"""Release notes: the part of the change log that a release is about."""

from __future__ import annotations

import re

_HEADING = re.compile(r"^## (?P<name>.+?)(?: - (?P<date>\d{4}-\d\d-\d\d))?\n", re.MULTILINE)
_UNRELEASED = "Unreleased"


def release_notes(changes: str, version: str) -> str:
    """Return the notes for `version` as Markdown, out of the text of the change log.

    They are the section of the version, else what is unreleased. Raises ValueError if there is no
    such section, or if it lists nothing.
    """
    sections = dict(_sections(changes))
    body = sections.get(version, sections.get(_UNRELEASED))
    if body is None:
        raise ValueError(f"the change log has no section for {version}, and none for what is next")
    if not re.search(r"^- ", body, re.MULTILINE):
        raise ValueError(f"the change log lists no change for {version}")
    return f"# imager {version}\n\n{body.strip()}\n"


def _sections(changes: str) -> list[tuple[str, str]]:
    """Return the name and the text of each section, `[1.0.0]` without its brackets."""
    found = [*_HEADING.finditer(changes)]
    starts = (each.start() for each in found[1:])
    return [(each["name"].strip("[]"), changes[each.end() : next(starts, None)]) for each in found]
