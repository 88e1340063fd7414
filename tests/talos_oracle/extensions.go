package main

import (
	"github.com/blang/semver/v4"
	"github.com/siderolabs/talos/pkg/machinery/extensions"
)

// extension loads the unpacked system extension in a folder, as for a Talos version.
func extension(asked question) (any, error) {
	loaded, err := extensions.Load(asked.Path)
	if err != nil {
		return nil, err
	}

	version, err := semver.ParseTolerant(asked.Version)
	if err != nil {
		return nil, err
	}

	err = loaded.Validate(extensions.WithValidateConstraints(), extensions.WithTalosVersion(&version))

	return loaded.Manifest.Metadata, err
}

// layers reads an extensions.yaml, as a machine does.
func layers(asked question) (any, error) {
	var config extensions.Config

	err := config.Read(asked.Path)

	return config.Layers, err
}
