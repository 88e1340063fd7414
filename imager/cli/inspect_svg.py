"""Draw the layout of an image as SVG: one bar, how full its parts are, and a legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from imager.image.inspect.model import Inspection, Region
from imager.support.screen import printable
from imager.support.units import format_size

_WIDTH, _MARGIN, _BAR_TOP, _BAR_HEIGHT, _ROW = 960, 20, 52, 64, 22
# A part is at least so wide, so that a table of some KiB beside a disk of GiB is visible.
_LEAST = 6.0
_MOST_PARTS = 60
_COLORS = {
    "table": "#6b7280",
    "boot-code": "#9ca3af",
    "free": "#f3f4f6",
}
_PALETTE = ("#2563eb", "#059669", "#d97706", "#7c3aed", "#dc2626", "#0891b2", "#65a30d", "#db2777")
_FONT = "font-family='system-ui, sans-serif'"
# Characters of a wide font that fit beside what is on their right.
_LONGEST_TITLE, _LONGEST_NAME = 72, 42
# Attributes are for viewers without CSS; these rules win over them.
_STYLE = (
    "@media (prefers-color-scheme: dark) { .page { fill: #1f2937 } .ink { fill: #f3f4f6 } "
    ".free { fill: #4b5563 } .line { stroke: #9ca3af } }"
)


def inspection_svg(found: Inspection) -> str:
    """Return the picture of an image's layout; one part if it has no layout."""
    regions = found.regions[:_MOST_PARTS] or (Region(0, found.size, found.kind, "partition"),)
    height = _BAR_TOP + _BAR_HEIGHT + 24 + _ROW * len(regions) + _MARGIN
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' "
        f"width='{_WIDTH}' height='{height}' {_FONT}>",
        f"<title>{text(found.source.name)}</title>",
        f"<style>{_STYLE}</style>",
        f"<rect class='page' width='{_WIDTH}' height='{height}' fill='#ffffff'/>",
        f"<text class='ink' x='{_MARGIN}' y='32' font-size='18' font-weight='600' fill='#111827'>"
        f"{text(shortened(found.source.name, _LONGEST_TITLE))}, {format_size(found.size)}</text>",
        *_bar(regions),
        *_legend(regions),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def text(value: str) -> str:
    """Return text of an image for XML and HTML."""
    return escape(printable(value).replace("\n", " "))


def shortened(value: str, most: int) -> str:
    """Return text of at most `most` characters: of a longer one its beginning and its end."""
    if len(value) <= most:
        return value
    end = most // 2
    return f"{value[: most - end - 1]}\u2026{value[-end:]}"


def color(number: int, region: Region) -> str:
    """Return the colour of a region."""
    return _COLORS.get(region.kind) or _PALETTE[number % len(_PALETTE)]


def _class(region: Region) -> str:
    return "free line" if region.kind == "free" else "line"


def widths(regions: Sequence[Region], total: float) -> list[float]:
    """Return the widths of regions in a bar: in proportion, but small ones are visible."""
    size = sum(region.size for region in regions) or 1
    least = min(_LEAST, total / len(regions))
    shares = [max(region.size / size * total, least) for region in regions]
    wide = sum(share for share in shares if share > least)
    excess = sum(shares) - total
    return [share - excess * share / wide if share > least and wide else share for share in shares]


def _bar(regions: Sequence[Region]) -> Iterator[str]:
    left = float(_MARGIN)
    parts = widths(regions, _WIDTH - 2 * _MARGIN)
    for number, (region, width) in enumerate(zip(regions, parts, strict=True)):
        fill = color(number, region)
        share = region.used / region.size if region.used is not None and region.size else None
        opacity = "1" if share is None else "0.25"
        label = f"{region.name}: {format_size(region.size)}"
        if region.used is not None and region.kind != "free":
            label += f", {format_size(region.used)} used"
        yield f"<g><title>{text(label)}</title>"
        outline = f"class='{_class(region)}' fill-opacity='{opacity}' stroke='#374151'"
        yield _box(left, width, fill, outline)
        if share:
            yield _box(left, max(width * min(share, 1.0), 1.0), fill, "")
        yield "</g>"
        left += width


def _box(left: float, width: float, fill: str, more: str) -> str:
    return (
        f"<rect x='{left:.2f}' y='{_BAR_TOP}' width='{width:.2f}' height='{_BAR_HEIGHT}' "
        f"fill='{fill}' {more}/>"
    )


def _legend(regions: Sequence[Region]) -> Iterator[str]:
    top = _BAR_TOP + _BAR_HEIGHT + 24
    for number, region in enumerate(regions):
        y = top + number * _ROW
        used = "" if region.used is None or region.kind == "free" else format_size(region.used)
        yield (
            f"<rect class='{_class(region)}' x='{_MARGIN}' y='{y}' width='12' height='12' "
            f"fill='{color(number, region)}' stroke='#374151'/>"
        )
        for x, value, anchor in (
            (_MARGIN + 22, region.name, "start"),
            (560, f"byte {region.offset}", "end"),
            (720, format_size(region.size), "end"),
            (_WIDTH - _MARGIN, f"{used} used" if used else "", "end"),
        ):
            yield (
                f"<text class='ink' x='{x}' y='{y + 11}' font-size='13' fill='#111827' "
                f"text-anchor='{anchor}'>{text(shortened(value, _LONGEST_NAME))}</text>"
            )
