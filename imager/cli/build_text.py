"""Plans and results of builds: text for a person, JSON for a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from imager.cli.tables import exact_size, json_object, mebibytes, table
from imager.image.plan import Region, RegionKind
from imager.support.fields import setting
from imager.support.folders import free_space
from imager.support.units import count

if TYPE_CHECKING:
    from imager.app.build import Planned
    from imager.bootassets.identity import AssetIdentity
    from imager.cache.cache import ImageCache
    from imager.cli.naming import Naming
    from imager.image.destination import Replaced
    from imager.image.write import Written
    from imager.support.blockdevices import BlockDevice

TRIAL = "trial default of `imager assets fetch`, not Talos"
_MOST_FILES = 10


def plan_text(planned: Planned, naming: Naming) -> list[str]:
    """Format the plan: partitions, the largest files, and the requirements."""
    return [*_partition_table(planned), *_largest_files(planned), "", *_summary(planned, naming)]


def files_text(planned: Planned, naming: Naming) -> list[str]:
    """Format the plan with the offset and size in bytes of every part of the output."""
    rows = [("OFFSET", "LENGTH", "KIND", "NAME")]
    rows += [
        (str(region.offset), str(region.length), region.kind.value, _region_name(region))
        for region in planned.plan.regions
    ]
    return [*table(rows, numbers=2), "", *_summary(planned, naming)]


def _partition_table(planned: Planned) -> Iterator[str]:
    partitions = [each for each in planned.plan.regions if each.kind is RegionKind.PARTITION]
    if partitions:
        rows = [("OFFSET", "SIZE", "PARTITION")]
        rows += [
            (mebibytes(each.offset), mebibytes(each.length), _region_name(each))
            for each in partitions
        ]
        yield from table(rows, numbers=2)
        yield ""


def _largest_files(planned: Planned) -> Iterator[str]:
    files = [each for each in planned.plan.regions if each.kind is RegionKind.FILE]
    files.sort(key=lambda each: each.length, reverse=True)
    shown = files[:_MOST_FILES] if len(files) > _MOST_FILES + 1 else files
    rows = [("SIZE", "FILE"), *((mebibytes(each.length), _region_name(each)) for each in shown)]
    yield from table(rows, numbers=1)
    rest = files[len(shown) :]
    if rest:
        size = sum(each.length for each in rest)
        yield f"and {count(len(rest), 'smaller file')} of {mebibytes(size)} in all: see --files"


def _region_name(region: Region) -> str:
    return f"{region.name} ({region.detail})" if region.detail else region.name


def _summary(planned: Planned, naming: Naming) -> Iterator[str]:
    assets = _identity(planned)
    rows = {
        "output": f"{planned.place} ({planned.out_format.value})",
        "disk": planned.device and planned.device.described,
        "replaces": planned.replaced and _replaced_text(planned.replaced),
        "talos": f"{planned.build.version.text}, {planned.build.assets.arch.name}",
        "boot assets": _assets_place(planned),
        "": _assets_line(assets),
        "image cache": _cache_line(planned.cache),
        "total size": mebibytes(planned.plan.content.size),
        "space needed": planned.folder and mebibytes(planned.space_needed),
        "space free": planned.folder
        and f"{mebibytes(free_space(planned.folder))} in {planned.folder}",
        "smallest disk": _smallest_disk(planned, naming),
    }
    for name, value in rows.items():
        if value:
            yield f"{name:<17}{value}"
    for note in planned.plan.notes:
        yield f"{'note':<17}{note}"


def _smallest_disk(planned: Planned, naming: Naming) -> str:
    smallest = planned.plan.minimum_disk_size
    if smallest is None:
        return ""
    return naming.text(setting("output.imageOptions.diskSize", f"{smallest >> 20}MiB")).strip("`")


def _identity(planned: Planned) -> AssetIdentity:
    """Return the versions of the boot assets, which are read only to be printed."""
    from imager.bootassets.identity import identify

    return identify(planned.build.assets)


def _assets_place(planned: Planned) -> str:
    assets = planned.build.assets
    return str(assets.folder or ("given individually" if assets.given else "none"))


def _assets_line(assets: AssetIdentity) -> str:
    kind = TRIAL if assets.trial else f"Talos {assets.talos}" if assets.talos else ""
    versions = {
        "kernel": assets.kernel,
        "systemd-boot": assets.sd_boot,
        "systemd-stub": assets.sd_stub,
    }
    components = [f"{name} {version}" for name, version in versions.items() if version]
    return ": ".join(filter(None, [kind, ", ".join(components)]))


def _replaced_text(replaced: Replaced) -> str:
    sectors = f", with sectors of {replaced.sector_size} bytes" if replaced.sector_size else ""
    written = f"{replaced.modified:%Y-%m-%d %H:%M} UTC"
    return f"a file of {mebibytes(replaced.size)}{sectors}, written {written}"


def plan_json(planned: Planned, _naming: Naming) -> dict[str, Any]:
    """Return the plan as a JSON object; sizes and offsets in bytes."""
    plan = planned.plan
    return {
        **_common(planned),
        "size": plan.content.size,
        "spaceNeeded": planned.space_needed if planned.folder else 0,
        "spaceFree": free_space(planned.folder) if planned.folder else None,
        "device": planned.device and _device_json(planned.device),
        "minimumDiskSize": plan.minimum_disk_size,
        "regions": [*map(json_object, plan.regions)],
    }


def _device_json(device: BlockDevice) -> dict[str, Any]:
    return {
        "path": str(device.path),
        "size": device.size,
        "sectorSize": device.sector_size,
        "model": device.model,
    }


def result_text(planned: Planned, written: Written, seconds: float) -> Iterator[str]:
    """Format the summary of a build."""
    talos = f"{planned.build.version.text}, {planned.build.assets.arch.name}"
    yield f"{written.path}: {exact_size(written.size)} in {seconds:.1f} s"
    yield f"  talos {talos}; image cache: {_cache_line(planned.cache)}"
    if assets := _assets_line(_identity(planned)):
        yield f"  boot assets: {assets}"
    if planned.replaced:
        yield f"  replaced {_replaced_text(planned.replaced)}"
    if written.sha256:
        yield f"  sha256 {written.sha256}"
    for note in planned.plan.notes:
        yield f"  {note}"


def result_json(planned: Planned, written: Written, seconds: float) -> dict[str, Any]:
    """Return the summary of a build for JSON."""
    return {
        **_common(planned),
        "size": written.size,
        "sha256": written.sha256,
        "seconds": round(seconds, 3),
    }


def _common(planned: Planned) -> dict[str, Any]:
    cache = planned.cache
    return {
        "output": str(planned.path),
        "format": planned.out_format.value,
        "version": planned.build.version.text,
        "arch": planned.build.assets.arch.name,
        "bootAssets": _assets_json(_identity(planned)),
        "replaced": planned.replaced and json_object(planned.replaced),
        "imageCache": cache
        and {
            "source": cache.source,
            "size": cache.size,
            "blobs": len(cache.blobs),
            "images": [str(reference) for reference in cache.images],
            "platforms": [str(platform) for platform in cache.platforms],
        },
        "notes": list(planned.plan.notes),
    }


def _cache_line(cache: ImageCache | None) -> str:
    if cache is None:
        return "none"
    platforms = ", ".join(str(platform) for platform in cache.platforms)
    return (
        f"{count(len(cache.images), 'image')}{f' for {platforms}' if platforms else ''}, "
        f"{count(len(cache.blobs), 'blob')}, "
        f"{mebibytes(cache.size)}"
    )


def _assets_json(assets: AssetIdentity) -> dict[str, Any]:
    return {
        "folder": str(assets.folder) if assets.folder else None,
        "trialDefault": assets.trial,
        "talosVersion": assets.talos or None,
        "kernel": assets.kernel or None,
        "systemdBoot": assets.sd_boot or None,
        "systemdStub": assets.sd_stub or None,
    }
