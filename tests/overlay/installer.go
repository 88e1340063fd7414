// An overlay's installer as a board's makers write it, for tests: the options say what it does.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// value returns the scalar of a top-level key, or of one in extraOptions, in simple YAML.
func value(text, key string) string {
	for _, line := range strings.Split(text, "\n") {
		name, rest, found := strings.Cut(strings.TrimSpace(line), ":")
		if found && strings.Trim(name, `"`) == key {
			return strings.Trim(strings.TrimSpace(rest), `"`)
		}
	}
	return ""
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	input, err := io.ReadAll(os.Stdin)
	check(err)
	text := string(input)
	if value(text, "fails") == os.Args[1] {
		check(fmt.Errorf("the board is not known"))
	}
	if os.Args[1] == "get-options" {
		if said := value(text, "says"); said != "" {
			fmt.Println(said)
			return
		}
		fmt.Println("name: board\nkernelArgs: [console=ttyS2, board.model=" + value(text, "model") + "]")
		fmt.Println("partitionOptions: {offset: 20480}")
		return
	}
	interfaces, err := net.Interfaces()
	check(err)
	for _, each := range interfaces {
		if each.Flags&net.FlagLoopback == 0 && each.Flags&net.FlagUp != 0 {
			check(fmt.Errorf("there is a network: %v", each.Name))
		}
	}
	if _, err := os.Stat("/etc"); err == nil {
		check(fmt.Errorf("the machine's files can be seen"))
	}
	firmware, err := os.ReadFile(filepath.Join(value(text, "artifactsPath"), "firmware.bin"))
	check(err)
	esp := filepath.Join(value(text, "mountPrefix"), "boot/EFI")
	check(os.MkdirAll(filepath.Join(esp, "dtb"), 0o755))
	check(os.WriteFile(filepath.Join(esp, "dtb/board.dtb"), []byte("device tree"), 0o600))
	check(os.WriteFile(filepath.Join(esp, "config.txt"), []byte("model="+value(text, "model")+"\n"), 0o600))
	disk, err := os.OpenFile(value(text, "installDisk"), os.O_RDWR, 0)
	check(err)
	_, err = disk.WriteAt(firmware, 32768)
	check(err)
	check(disk.Close())
}
