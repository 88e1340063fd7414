"""Breaks of the pages that are made of the code."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SITE = "tests/unit/test_docs_site.py"

MUTANTS = (
    Mutant(
        "text of the help is taken for Markdown",
        "imager/cli/markdown.py",
        '    parts[::2] = [re.sub(r"([\\\\*<\\[\\]])", r"\\\\\\1", part) for part in parts[::2]]\n',
        "",
        f"{_SITE}::test_text_keeps_its_characters",
    ),
    Mutant(
        "pages of commands that are gone stay",
        "imager/cli/markdown.py",
        "            path.unlink()\n",
        "            pass\n",
        f"{_SITE}::test_pages_of_commands_that_are_gone_are_removed",
    ),
)
