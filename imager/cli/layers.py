"""Open the profile that a command names, with its options as a layer over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imager.cli.build_options import Inputs, SecureBoot, Shape, profile_layer
from imager.support.inputs import input_name

if TYPE_CHECKING:
    from imager.app.build_options import BuildOptions
    from imager.app.opened_profile import OpenedProfile
    from imager.cli.naming import Naming
    from imager.support.reporter import Reporter


@contextmanager
def opened_layers(
    source: str,
    groups: Sequence[Inputs | Shape | SecureBoot],
    options: BuildOptions,
    reporter: Reporter,
) -> Iterator[tuple[OpenedProfile, Naming]]:
    """Yield the profile `source` with the options of all `groups`, and the names of its fields.

    Errors in the block name the fields as the user set them. Raises as `opened_profile`.
    """
    from imager.app.container_images import Pulling
    from imager.app.opened_profile import opened_profile
    from imager.app.profiles import is_name, read_layer
    from imager.cli.naming import Naming

    given = profile_layer(*groups)
    written = read_layer(source)
    naming = Naming({} if is_name(source) else written, given)
    pulling = Pulling(options.registries, options.layer_cache, reporter)
    with (
        naming.errors(),
        opened_profile(
            (written, given), pulling, source=input_name(source), name=naming.of
        ) as opened,
    ):
        yield opened, naming
