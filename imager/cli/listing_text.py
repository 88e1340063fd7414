"""Format the results of `imager images list` as messages, text and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imager.discover.listing import Listing, Message, Place
    from imager.support.reporter import Reporter

_MOST_LINES = 100


def report(listing: Listing, reporter: Reporter, *, strict: bool) -> None:
    """Print the listing's messages; if `strict`, warnings are in the error instead."""
    for line in _lines(listing.remarks, what="notes"):
        reporter.step(f"note: {line}")
    if not strict:
        reporter.warn(*_lines(listing.warnings, what="warnings"))


def listing_text(listing: Listing) -> list[str]:
    """Return the references."""
    return [image.reference for image in listing.images]


def listing_json(listing: Listing) -> dict[str, Any]:
    """Return the images and messages for JSON, each with its file and line."""
    images = [
        {
            "reference": image.reference,
            "certain": image.is_certain,
            "places": [_place(each) for each in image.places],
        }
        for image in listing.images
    ]
    return {
        "images": images,
        "warnings": [_message(each) for each in listing.warnings],
        "notes": [_message(each) for each in listing.remarks],
    }


def _lines(messages: Sequence[Message], *, what: str) -> Iterator[str]:
    yield from map(str, messages[:_MOST_LINES])
    if len(messages) > _MOST_LINES:
        yield f"{len(messages) - _MOST_LINES} more {what}: --json prints them all"


def _message(message: Message) -> dict[str, object]:
    return {**_place(message.place), "image": message.image or None, "text": message.text}


def _place(place: Place) -> dict[str, object]:
    return {"file": place.file, "line": place.line or None, "where": place.where}
