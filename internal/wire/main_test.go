package wire_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// encode returns m as the body of a message.
func encode(tb testing.TB, m wire.Message) []byte {
	tb.Helper()
	return frame(tb, m)[frameHeader:]
}

// frame returns m as it goes over the wire.
func frame(tb testing.TB, m wire.Message) []byte {
	tb.Helper()
	b, err := wire.Append(nil, m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// frameHeader is how many bytes of length come before a body.
const frameHeader = 4
