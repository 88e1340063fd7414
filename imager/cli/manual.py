"""`python -m imager.cli.manual FOLDER`: generate the manual pages from the help pages.

There is one page per command, such as imager-images-cache-create(1) for `imager images
cache-create`, in man(7) macros.
"""

from __future__ import annotations

import datetime
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from imager import __version__
from imager.cli.app import app
from imager.cli.help import HelpPage, Section, help_pages
from imager.cli.reference import ENVIRONMENT, EXIT_CODES, FILES
from imager.support.repro import source_date_epoch

# Columns of the source, without escapes.
_LINE = 66


def manual_pages() -> dict[str, str]:
    """Return the pages by file name, dated SOURCE_DATE_EPOCH."""
    pages = list(help_pages(typer.main.get_command(app), "imager"))
    names = [page.name for page in pages]
    return {f"{page.name}.1": "\n".join([*_page(page, names), ""]) for page in pages}


def _page(page: HelpPage, names: Sequence[str]) -> Iterator[str]:
    date = datetime.datetime.fromtimestamp(source_date_epoch(), datetime.UTC)
    yield f'.TH "{_escaped(page.name.upper())}" 1 {date:%Y-%m-%d} "imager {__version__}"'
    yield ".SH NAME"
    yield from _text(f"{page.name} - {_first_sentence(page.summary)}")
    yield from (".SH SYNOPSIS", f".B {_escaped(page.path)}", _escaped(page.usage))
    yield ".SH DESCRIPTION"
    for number, paragraph in enumerate(page.summary.split("\n\n")):
        yield from [".PP"] if number else []
        yield from _text(paragraph)
    general = (EXIT_CODES, ENVIRONMENT, FILES) if page.path == "imager" else ()
    for section in (*page.sections, *general):
        yield from _section(section)
    if page.epilog:
        title, *lines = page.epilog.splitlines()
        yield from (f".SH {_escaped(title.rstrip(':').upper())}", ".EX")
        yield from (_escaped(line.strip()) for line in lines)
        yield ".EE"
    yield ".SH SEE ALSO"
    yield " ,\n".join(f".BR {_escaped(each)} (1)" for each in _related(page.name, names))


def _section(section: Section) -> Iterator[str]:
    yield f".SH {_escaped(section.title.upper())}"
    for name, text in section.items.items():
        yield from (".TP", f".B {_escaped(name)}")
        yield from _text(text)


def _related(name: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the pages of the parent and child commands of `name`."""
    for each in names:
        if each != name and (name.startswith(f"{each}-") or each.startswith(f"{name}-")):
            yield each


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split()).partition(". ")[0].rstrip(".")


def _text(text: str) -> Iterator[str]:
    """Yield text in short source lines, which man(7) joins and wraps."""
    lines = textwrap.wrap(text, _LINE, break_on_hyphens=False, break_long_words=False)
    return map(_escaped, lines)


def _escaped(text: str) -> str:
    """Escape the characters that have a meaning in man(7)."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main() -> None:
    """Write the pages to the folder given as an argument."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in manual_pages().items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
