package main

import (
	"github.com/siderolabs/go-blockdevice/v2/blkid"

	"github.com/siderolabs/talos/pkg/machinery/constants"
	"github.com/siderolabs/talos/pkg/machinery/imager/quirks"
	"github.com/siderolabs/talos/pkg/machinery/meta"
)

// quirksOf returns what depends on the release.
func quirksOf(asked question) (any, error) {
	of := quirks.New(asked.Version)
	sizes := of.PartitionSizes()

	return map[string]any{
		"reset_entry":          of.SupportsResetGRUBOption(),
		"uki":                  of.SupportsUKI(),
		"compressed_meta":      of.SupportsCompressedEncodedMETA(),
		"zstd":                 of.UseZSTDCompression(),
		"iso_label":            of.SupportsISOLabel(),
		"console_ttys0":        of.SupportsMetalPlatformConsoleTTYS0(),
		"halt_if_installed":    of.SupportsHaltIfInstalled(),
		"skip_data_partitions": of.SkipDataPartitions(),
		"selinux":              of.SupportsSELinux(),
		"sd_boot_only":         of.UseSDBootForUEFI(),
		"uki_profiles":         of.SupportsUKIProfiles(),
		"ima":                  of.SupportsIMA(),
		"embedded_config":      of.SupportsEmbeddedConfig(),
		"iso_bootloader":       of.ISOSupportsSettingBootloader(),
		"module_signatures":    of.SupportsDisablingModuleSignatureVerification(),
		"proc_mem":             of.ProcMemOverrideNever(),
		"grub_efi_size":        sizes.GrubEFISize(),
		"bios_size":            sizes.GrubBIOSSize(),
		"boot_size":            sizes.GrubBootSize(),
		"uki_efi_size":         sizes.UKIEFISize(),
		"meta_size":            sizes.METASize(),
		"state_size":           sizes.StateSize(),
	}, nil
}

func constantsOf(question) (any, error) {
	return map[string]any{
		"efi":                   constants.EFIPartitionLabel,
		"bios":                  constants.BIOSGrubPartitionLabel,
		"boot":                  constants.BootPartitionLabel,
		"meta":                  constants.MetaPartitionLabel,
		"state":                 constants.StatePartitionLabel,
		"ephemeral":             constants.EphemeralPartitionLabel,
		"image_cache":           constants.ImageCachePartitionLabel,
		"disk_image_bootloader": meta.DiskImageBootloader,
		"kubernetes":            constants.DefaultKubernetesVersion,
		"etcd":                  constants.DefaultEtcdVersion,
		"coredns":               constants.DefaultCoreDNSVersion,
		"flannel":               constants.FlannelVersion,
		"network_policies":      constants.KubeNetworkPoliciesVersion,
	}, nil
}

type volume struct {
	Name           string   `json:"name"`
	Label          string   `json:"label"`
	UUID           string   `json:"uuid"`
	Size           uint64   `json:"size"`
	PartitionUUID  string   `json:"partition_uuid"`
	PartitionType  string   `json:"partition_type"`
	PartitionLabel string   `json:"partition_label"`
	Offset         uint64   `json:"offset"`
	Parts          []volume `json:"parts"`
}

// probed returns the file system or partition table of a file, and those of its partitions.
func probed(asked question) (any, error) {
	info, err := blkid.ProbePath(
		asked.Path, blkid.WithSkipLocking(true), blkid.WithSectorSize(asked.SectorSize),
	)
	if err != nil {
		return nil, err
	}

	found := volumeOf(info.ProbeResult)
	found.Size = info.Size
	found.Parts = partsOf(info.Parts)

	return found, nil
}

func volumeOf(result blkid.ProbeResult) volume {
	found := volume{Name: result.Name}
	if result.Label != nil {
		found.Label = *result.Label
	}

	if result.UUID != nil {
		found.UUID = result.UUID.String()
	}

	return found
}

func partsOf(results []blkid.NestedProbeResult) []volume {
	parts := make([]volume, 0, len(results))

	for _, result := range results {
		found := volumeOf(result.ProbeResult)
		found.Size, found.Offset = result.PartitionSize, result.PartitionOffset
		found.Parts = partsOf(result.Parts)

		if result.PartitionUUID != nil {
			found.PartitionUUID = result.PartitionUUID.String()
		}

		if result.PartitionType != nil {
			found.PartitionType = result.PartitionType.String()
		}

		if result.PartitionLabel != nil {
			found.PartitionLabel = *result.PartitionLabel
		}

		parts = append(parts, found)
	}

	return parts
}
