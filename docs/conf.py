"""Settings of the documentation site; `make docs` builds it.

Nothing is fetched, when it is built or when it is read: no fonts, no scripts of other hosts. The
search works without a server.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from imager import __version__
from imager.cli.markdown import write_pages

project = "imager"
release = __version__
language = "en"

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
nitpicky = True
myst_heading_anchors = 4
# Keep the two hyphens of `--option`.
smartquotes = False
highlight_language = "none"

html_theme = "furo"
html_title = f"imager {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False


def setup(app: Sphinx) -> None:
    """Generate the pages of the reference before Sphinx looks for pages."""
    app.connect("builder-inited", _write_generated_pages)


def _write_generated_pages(app: Sphinx) -> None:
    write_pages(Path(app.srcdir) / "reference" / "generated")
