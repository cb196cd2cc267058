package wire_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// protocolTables returns the rows of the tables of docs/protocol.md.
func protocolTables(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "|") {
			rows.WriteString(line)
		}
	}
	return rows.String()
}

func TestProtocolHasEveryMessageAndField(t *testing.T) {
	rows := protocolTables(t)
	for _, v := range wire.Verbs() {
		if !strings.Contains(rows, "| `"+string(v.Type)+"` |") {
			t.Errorf("no table of docs/protocol.md has a row of the message %q", v.Type)
		}
	}
	for _, key := range wire.AllKeys() {
		if !strings.Contains(rows, "`"+key+"`") {
			t.Errorf("no table of docs/protocol.md has the field %q", key)
		}
	}
}

func TestProtocolHasEveryKindReasonAndFeature(t *testing.T) {
	rows := protocolTables(t)
	for _, word := range append(wire.Features(),
		string(wire.BadRequest), string(wire.NotFound), string(wire.PermissionDenied), string(wire.Unsupported),
		string(wire.Limit), string(wire.ShuttingDown), string(wire.Internal),
		string(wire.ReasonExit), string(wire.ReasonSignal), string(wire.ReasonTimeout), string(wire.ReasonKilled),
		string(wire.ReasonShutdown), string(wire.ReasonLimit), string(wire.ReasonLost),
	) {
		if !strings.Contains(rows, "| `"+word+"` |") {
			t.Errorf("no table of docs/protocol.md has a row of %q", word)
		}
	}
}

func TestFeaturesHasThoseOfAllVerbs(t *testing.T) {
	for _, v := range wire.Verbs() {
		if v.Feature != "" && !slices.Contains(wire.Features(), v.Feature) {
			t.Errorf("Features() lacks %q, of the verb %s", v.Feature, v.Type)
		}
	}
}
