"""`imager inspect`: look into an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from imager.cli.declare import argument, option
from imager.cli.options import Registries, Results


def inspect(
    source: Annotated[
        str,
        argument(
            "SOURCE",
            "Path or https:// URL of an ISO, disk, UKI, initramfs or OCI layout, or a reference.",
        ),
    ],
    html: Annotated[Path | None, option("FILE", "Also write a page with everything.")] = None,
    svg: Annotated[Path | None, option("FILE", "Also write a picture of the layout.")] = None,
    *,
    registries: Registries,
    display: Results,
) -> None:
    """Show what is in an image: layout, boot entries, kernel, signatures, extensions, cache.

    Images of any maker are read. What is damaged is listed as a finding, what is not known as
    unknown; neither is an error.
    """
    from imager.app.inspect import inspect_image
    from imager.cli.inspect_html import inspection_html
    from imager.cli.inspect_svg import inspection_svg
    from imager.cli.inspect_text import inspection_json, inspection_text
    from imager.support.atomic import write_atomic

    # A file needs no network, and loading what it takes would double the time.
    settings = None if Path(source).exists() else registries.settings()
    found = inspect_image(source, settings)
    for path, draw in ((html, inspection_html), (svg, inspection_svg)):
        if path is not None:
            write_atomic(path, draw(found).encode())
    display.answer(inspection_text, inspection_json, found)
