package main

import (
	"encoding/json"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/siderolabs/talos/pkg/machinery/api/resource/definitions/block"
	"github.com/siderolabs/talos/pkg/machinery/cel"
	"github.com/siderolabs/talos/pkg/machinery/cel/celenv"
	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/encoder"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	volumes "github.com/siderolabs/talos/pkg/machinery/config/types/block"
	"github.com/siderolabs/talos/pkg/machinery/constants"
)

// metal is the mode of bare metal, in which a configuration is validated.
type metal struct{}

func (metal) String() string        { return "metal" }
func (metal) RequiresInstall() bool { return true }
func (metal) InContainer() bool     { return false }

// generated returns a control plane's configuration as `talosctl gen config` makes it.
func generated(asked question) (any, error) {
	contract, err := config.ParseContractFromVersion(asked.Version)
	if err != nil {
		return nil, err
	}

	bundle, err := secrets.NewBundle(secrets.NewFixedClock(time.Unix(1700000000, 0)), contract)
	if err != nil {
		return nil, err
	}

	input, err := generate.NewInput(
		"test", "https://10.0.0.1:6443", constants.DefaultKubernetesVersion,
		generate.WithVersionContract(contract), generate.WithSecretsBundle(bundle),
		generate.WithInstallDisk("/dev/sda"),
	)
	if err != nil {
		return nil, err
	}

	made, err := input.Config(machine.TypeControlPlane)
	if err != nil {
		return nil, err
	}

	text, err := made.EncodeBytes(encoder.WithComments(encoder.CommentsDisabled))

	return string(text), err
}

// validated returns the warnings of a configuration.
func validated(asked question) (any, error) {
	loaded, err := configloader.NewFromBytes([]byte(asked.Text))
	if err != nil {
		return nil, err
	}

	warnings, err := loaded.Validate(metal{})
	if err != nil {
		return nil, err
	}

	return append([]string{}, warnings...), nil
}

// patched returns the configuration with the patch applied.
func patched(asked question) (any, error) {
	patch, err := configpatcher.LoadPatch([]byte(asked.Patch))
	if err != nil {
		return nil, err
	}

	applied, err := configpatcher.Apply(
		configpatcher.WithBytes([]byte(asked.Text)), []configpatcher.Patch{patch},
	)
	if err != nil {
		return nil, err
	}

	text, err := applied.Bytes()

	return string(text), err
}

// knownKind decodes a document of the kind that has nothing else in it.
func knownKind(asked question) (any, error) {
	_, err := configloader.NewFromBytes([]byte("apiVersion: v1alpha1\nkind: " + asked.Text + "\n"))

	return err == nil, err
}

func size(asked question) (any, error) {
	var parsed volumes.ByteSize
	if err := parsed.UnmarshalText([]byte(asked.Text)); err != nil {
		return nil, err
	}

	return map[string]any{"value": parsed.Value(), "negative": parsed.IsNegative()}, nil
}

func limit(asked question) (any, error) {
	var parsed volumes.Size
	if err := parsed.UnmarshalText([]byte(asked.Text)); err != nil {
		return nil, err
	}

	percent, _ := parsed.RelativeValue()

	return map[string]any{
		"value": parsed.Value(), "percent": percent, "negative": parsed.IsNegative(),
	}, nil
}

// selected returns whether a disk selector is true for a disk, null without a disk.
func selected(asked question) (any, error) {
	parsed, err := cel.ParseBooleanExpression(asked.Text, celenv.DiskLocator())
	if err != nil {
		return nil, err
	}

	if len(asked.Disk) == 0 {
		return json.RawMessage("null"), nil
	}

	var disk block.DiskSpec
	if err = protojson.Unmarshal(asked.Disk, &disk); err != nil {
		return nil, err
	}

	return parsed.EvalBool(celenv.DiskLocator(), map[string]any{
		"disk": &disk, "system_disk": asked.SystemDisk,
	})
}
