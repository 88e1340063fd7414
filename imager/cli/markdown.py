"""Generate the reference pages of the documentation in Markdown, for `docs/conf.py`.

There is one page per command, generated from the same model as `--help` and the manual pages. Other
pages list exit codes, environment variables and files, the kinds of errors, and the profile fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from imager.app.explain import error_kinds
from imager.cli.app import app
from imager.cli.help import HelpPage, Section, help_pages
from imager.cli.reference import ENVIRONMENT, EXIT_CODES, FILES
from imager.profile.reference import reference_table

_CODE = re.compile(r"(`[^`]*`)")


def reference_pages() -> dict[str, str]:
    """Return the pages by file path, relative to the folder of generated pages."""
    pages = list(help_pages(typer.main.get_command(app), "imager"))
    written = {f"{page.name}.md": _command_page(page) for page in pages}
    written["commands.md"] = _commands_page(pages)
    written["errors.md"] = _errors_page()
    written["general.md"] = _general_page()
    written["profile-fields.md"] = f"# Profile fields\n\n{reference_table()}"
    return written


def _commands_page(pages: Sequence[HelpPage]) -> str:
    firsts = [page.summary.partition("\n\n")[0] for page in pages]
    rows = [
        f"| [`{page.path}`]({page.name}.md) | {_cell(first)} |"
        for page, first in zip(pages, firsts, strict=True)
    ]
    tree = ["```{toctree}", ":hidden:", "", *(page.name for page in pages), "```"]
    return _joined("# Commands", "", *_table("command", "what it does"), *rows, "", *tree)


def _command_page(page: HelpPage) -> str:
    lines = [f"# {page.path}", "", _text(page.summary)]
    lines += ["", "```text", f"{page.path} {page.usage}", "```"]
    for section in page.sections:
        lines += ["", *_section(section)]
    if page.epilog:
        title, *commands = page.epilog.splitlines()
        lines += ["", f"## {title.rstrip(':')}", "", "```text"]
        lines += [*(command.strip() for command in commands), "```"]
    return _joined(*lines)


def _general_page() -> str:
    lines = ["# Exit status, environment, files"]
    for section in (EXIT_CODES, ENVIRONMENT, FILES):
        lines += ["", *_section(section)]
    return _joined(*lines)


def _errors_page() -> str:
    lines = [
        "# Errors",
        "",
        "The last line of an error message shows its id, and so does `--json`.",
    ]
    for kind in error_kinds():
        lines += ["", f"## {kind.id}", "", _text(kind.cause), "", _text(kind.remedy)]
        lines += ["", f"Exit code: {kind.exit_code}."]
    return _joined(*lines)


def _section(section: Section) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    yield from _table("name", "meaning")
    for name, text in section.items.items():
        yield f"| {_code(name)} | {_cell(text)} |"


def _table(*heads: str) -> tuple[str, str]:
    return f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"


def _code(name: str) -> str:
    escaped = name.replace("|", "\\|")
    return f"`{escaped}`"


def _cell(text: str) -> str:
    return _text(" ".join(text.split())).replace("|", "\\|")


def _text(text: str) -> str:
    """Escape the special characters of Markdown, except between backquotes."""
    parts = _CODE.split(text)
    parts[::2] = [re.sub(r"([\\*<\[\]])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _joined(*lines: str) -> str:
    return "\n".join([*lines, ""])


def write_pages(folder: Path) -> None:
    """Write the pages to `folder`, and remove other pages from it."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = reference_pages()
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, "utf-8")
