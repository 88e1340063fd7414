"""Breaks of what is taken of images: platforms, artifacts, foreign layers, archives."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_GATHER = "tests/unit/test_imagecache_gather.py"
_OCI_MANIFEST = "tests/unit/test_oci_manifest.py"
_JUDGED = "tests/oracle/test_odd_images.py"
_FORMS = "tests/unit/test_oci_local_forms.py"
_ASSETS_ARTIFACT = "tests/unit/test_assets_artifact.py"

MUTANTS = (
    Mutant(
        "an entry without a platform is for none",
        "imager/cache/selection.py",
        "platform = None if entry in told else find(entry)",
        "platform = None",
        f"{_GATHER}::test_entries_without_a_platform",
    ),
    Mutant(
        "an image without a platform is for none",
        "imager/oci/config.py",
        'told or Platform("linux", "amd64")',
        "told",
        f"{_GATHER}::test_entries_without_a_platform",
    ),
    Mutant(
        "artifacts stand for images of linux/amd64",
        "imager/oci/config.py",
        "return None if manifest.is_artifact else",
        "return",
        f"{_GATHER}::test_artifacts_go_with_any_platform_where_there_is_nothing_else",
    ),
    Mutant(
        "all platforms are all but attestations",
        "imager/cache/selection.py",
        "return Choice(index.manifests, frozenset(by_platform))",
        "return Choice(index.images, frozenset(by_platform))",
        f"{_GATHER}::test_all_is_everything_that_the_index_names",
    ),
    Mutant(
        "an image is cached for none of the platforms",
        "imager/cache/selection.py",
        "if lacking and not (found and",
        "if lacking and not (",
        f"{_GATHER}::test_several_platforms_of_which_one_is_missing",
    ),
    Mutant(
        "an image of another platform makes the cache one for it",
        "imager/cache/resolve.py",
        "frozenset({platform} if own else ())",
        "frozenset({platform})",
        f"{_GATHER}::test_an_image_for_another_platform_alone_is_cached_with_a_warning",
    ),
    Mutant(
        "only one platform of referrers is cached",
        "imager/cache/resolve.py",
        "if signed_digest(name.tag) not in (None, root.digest):",
        "if not name:",
        f"{_GATHER}::test_a_tag_of_referrers_is_cached_whole",
    ),
    Mutant(
        "entries of unknown media types are read",
        "imager/oci/manifest.py",
        'if entry.text("mediaType") in (*ACCEPTED_TYPES, ""):',
        "if entry:",
        f"{_OCI_MANIFEST}::test_an_index_without_attestations_and_unknown_media_types",
    ),
    Mutant(
        "a foreign layer that is nowhere fails the run",
        "imager/cache/readimage.py",
        "    except NotFoundError:\n        return False\n",
        "    except OSError:\n        return False\n",
        f"{_GATHER}::test_foreign_layers_that_cannot_be_had_are_left_out",
    ),
    Mutant(
        "a foreign layer is not looked for at its URLs",
        "imager/oci/remote.py",
        "if blob.is_foreign else ()",
        "if blob.size < 0 else ()",
        "tests/unit/test_oci_referrers.py::test_a_foreign_layer_at_a_url",
    ),
    Mutant(
        "a cache lacks the foreign layers that were left out",
        "imager/cache/cache.py",
        "if not blob.is_foreign:",
        "if blob:",
        f"{_JUDGED}::test_the_cache_is_sound",
    ),
    Mutant(
        "a cache is not for the platform of an artifact's reader",
        "imager/cache/contents.py",
        "return self.platforms or set(self.wanted)",
        "return self.platforms",
        f"{_JUDGED}::test_an_artifact_alone_is_for_the_platform_that_was_asked_for",
    ),
    Mutant(
        "the layout in a Docker archive is not used",
        "imager/oci/docker_archive.py",
        "return self._in_layout(entry) or self.made_image(entry)",
        "return self.made_image(entry)",
        f"{_FORMS}::test_the_layout_in_a_docker_archive_keeps_the_digest",
    ),
    Mutant(
        "a layout's image is found by its name alone",
        "imager/oci/docker_archive.py",
        "next(itertools.chain(named, same), None)",
        "next(itertools.chain(named), None)",
        f"{_FORMS}::test_the_layout_in_a_docker_archive_keeps_the_digest",
    ),
    Mutant(
        "one name of an archive's images is enough",
        "imager/oci/local.py",
        "else own[:1] if self.selector else own",
        "else own[:1]",
        f"{_FORMS}::test_all_images_of_an_archive",
    ),
    Mutant(
        "files of an artifact may lie anywhere",
        "imager/oci/artifact.py",
        "return bool(_PATH.fullmatch(text)) and",
        "return",
        f"{_ASSETS_ARTIFACT}::test_paths_that_lead_elsewhere",
    ),
    Mutant(
        "boot assets of another architecture are pulled",
        "imager/bootassets/artifact.py",
        "if its_arch != arch.name:",
        "if not its_arch:",
        f"{_ASSETS_ARTIFACT}::test_other_artifacts",
    ),
    Mutant(
        "pulled boot assets replace files of others",
        "imager/app/assets.py",
        "    fetch.check_replaceable(target)\n",
        "",
        "tests/oracle/test_assets_registry.py::test_files_of_others_are_not_replaced",
    ),
    Mutant(
        "images without a name are left out in silence",
        "imager/oci/local.py",
        "unnamed += [] if names else [what]",
        "unnamed += []",
        f"{_FORMS}::test_all_images_of_an_archive",
    ),
)
