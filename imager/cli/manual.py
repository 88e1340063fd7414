"""`python -m imager.cli.manual FOLDER`: the manual pages, made of the same as the help.

One page a command, imager-images-cache-create(1) for `imager images cache-create`, in the macros
of man(7).
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

# Columns of the source, escapes not counted.
_LINE = 66


def manual_pages() -> dict[str, str]:
    """Return the pages by the names of their files; the date in them is SOURCE_DATE_EPOCH."""
    pages = list(help_pages(typer.main.get_command(app), "imager"))
    names = [_name(page) for page in pages]
    return {
        f"{name}.1": "\n".join([*_page(page, names), ""])
        for name, page in zip(names, pages, strict=True)
    }


def _name(page: HelpPage) -> str:
    # The profile of standard input is called -.
    return page.path.replace(" -", " stdin").replace(" ", "-")


def _page(page: HelpPage, names: Sequence[str]) -> Iterator[str]:
    name = _name(page)
    date = datetime.datetime.fromtimestamp(source_date_epoch(), datetime.UTC)
    yield f'.TH "{_escaped(name.upper())}" 1 {date:%Y-%m-%d} "imager {__version__}"'
    yield ".SH NAME"
    yield from _text(f"{name} - {_first_sentence(page.summary)}")
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
    yield " ,\n".join(f".BR {_escaped(each)} (1)" for each in _related(name, names))


def _section(section: Section) -> Iterator[str]:
    yield f".SH {_escaped(section.title.upper())}"
    for item in section.items:
        yield from (".TP", f".B {_escaped(item.name)}")
        yield from _text(item.text)


def _related(name: str, names: Sequence[str]) -> Iterator[str]:
    """Yield the pages of the commands above `name` and below it."""
    for each in names:
        if each != name and (name.startswith(f"{each}-") or each.startswith(f"{name}-")):
            yield each


def _first_sentence(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split()).partition(". ")[0].rstrip(".")


def _text(text: str) -> Iterator[str]:
    """Yield running text in lines that man(7) fills."""
    lines = textwrap.wrap(text, _LINE, break_on_hyphens=False, break_long_words=False)
    return map(_escaped, lines)


def _escaped(text: str) -> str:
    """Return text that man(7) takes for text."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main() -> None:
    """Write the pages into the folder that is given."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in manual_pages().items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
