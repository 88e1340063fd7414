"""Breaks of what caches the signatures beside images, and tells them from images."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_READ = "tests/unit/test_cache_signatures.py"
_FETCHED = "tests/oracle/test_cosign_signatures.py"
_GATHERED = "tests/unit/test_imagecache_gather.py"
_OCI_REFERRERS = "tests/unit/test_oci_referrers.py"

MUTANTS = (
    Mutant(
        "signatures are taken for images",
        "imager/cache/cache.py",
        "if reference not in self.signatures",
        "if reference",
        f"{_READ}::test_signatures_are_no_images",
    ),
    Mutant(
        "an image that is tagged by its own digest is a signature",
        "imager/cache/cache.py",
        "and signed != manifest.digest",
        "and signed",
        f"{_READ}::test_an_image_may_be_tagged_by_its_own_digest",
    ),
    Mutant(
        "signatures of an image that goes stay",
        "imager/cache/images.py",
        "if (each.reference.name, cache.signatures[each.reference]) in signed",
        "if signed",
        f"{_READ}::test_signatures_go_with_their_image",
    ),
    Mutant(
        "old signatures stay beside new ones",
        "imager/cache/edit.py",
        "(each for each in kept if not _has_moved(each, fetched))",
        "(each for each in kept)",
        f"{_READ}::test_new_signatures_take_the_place_of_old_ones",
    ),
    Mutant(
        "signatures that may not be read keep an image from being cached",
        "imager/cache/signatures.py",
        "except (InputError, UnsupportedError) as error:",
        "except UnsupportedError as error:",
        f"{_FETCHED}::test_signatures_that_may_not_be_read_are_left_out",
    ),
    Mutant(
        "a registry out of reach is asked for what a mirror may have",
        "imager/cache/signatures.py",
        "root = image.find_at(host)",
        "root = image.find_at(host) or image.root()",
        f"{_FETCHED}::test_a_mirror_that_has_the_image_is_asked_alone",
    ),
    Mutant(
        "what a registry lists is not cached",
        "imager/cache/signatures.py",
        "return image.referrers(signed, host), None",
        "return (), None",
        f"{_GATHERED}::test_listed_referrers_are_cached_under_the_tag_that_clients_ask_for",
    ),
    Mutant(
        "what a registry lists takes the place of what has a tag",
        "imager/cache/signatures.py",
        "entries |= known",
        "known |= entries",
        f"{_GATHERED}::test_a_list_and_a_tag_are_joined",
    ),
    Mutant(
        "the type of an artifact is lost",
        "imager/oci/manifest.py",
        'value["artifactType"] = self.artifact_type',
        'value.pop("artifactType", None)',
        f"{_GATHERED}::test_listed_referrers_are_cached_under_the_tag_that_clients_ask_for",
    ),
    Mutant(
        "only the first page of a list is read",
        "imager/oci/referrers.py",
        "if not page.following:",
        "if page:",
        f"{_OCI_REFERRERS}::test_a_list_of_several_pages",
    ),
    Mutant(
        "hosts that may not list referrers are asked",
        "imager/oci/remote.py",
        "if Capability.REFERRERS not in host.config.capabilities:",
        "if not host.config.capabilities:",
        f"{_OCI_REFERRERS}::test_a_host_without_the_capability_is_not_asked",
    ),
)
