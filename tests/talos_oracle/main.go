// Command talos_oracle answers questions with Talos's own Go modules.
//
// It reads one JSON object a line from standard input and writes one a line to standard output:
// {"ask": NAME, ...} is answered by {"result": ...} or {"error": "..."}.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

type question struct {
	Ask        string          `json:"ask"`
	Text       string          `json:"text"`
	Patch      string          `json:"patch"`
	Version    string          `json:"version"`
	Path       string          `json:"path"`
	SectorSize uint            `json:"sector_size"`
	Disk       json.RawMessage `json:"disk"`
	SystemDisk bool            `json:"system_disk"`
}

type answer struct {
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

var answers = map[string]func(question) (any, error){
	"generate":  generated,
	"validate":  validated,
	"patch":     patched,
	"kind":      knownKind,
	"size":      size,
	"limit":     limit,
	"selector":  selected,
	"quirks":    quirksOf,
	"constants": constantsOf,
	"probe":     probed,
	"extension": extension,
	"layers":    layers,
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)

	out := json.NewEncoder(os.Stdout)

	for lines.Scan() {
		if err := out.Encode(answered(lines.Bytes())); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func answered(line []byte) (said answer) {
	defer func() {
		if problem := recover(); problem != nil {
			said = answer{Error: fmt.Sprintf("panic: %v", problem)}
		}
	}()

	var asked question
	if err := json.Unmarshal(line, &asked); err != nil {
		return answer{Error: err.Error()}
	}

	answering, ok := answers[asked.Ask]
	if !ok {
		return answer{Error: fmt.Sprintf("no answer to %q", asked.Ask)}
	}

	result, err := answering(asked)
	if err != nil {
		return answer{Error: err.Error()}
	}

	return answer{Result: result}
}
