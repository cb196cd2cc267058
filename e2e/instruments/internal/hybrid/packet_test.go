package hybrid_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/hybrid"
)

// A packet is struct virtio_vsock_hdr of virtio 1.2, section 5.10.6, which
// encoding/binary lays out as the specification does.
type packet struct {
	SrcCID, DstCID   uint64
	SrcPort, DstPort uint32
	Len              uint32
	Type, Op         uint16
	Flags            uint32
	BufAlloc, FwdCnt uint32
}

const (
	packetSize = 44

	opRequest, opResponse, opReset, opShutdown = 1, 2, 3, 4
	opData, opCreditUpdate, opCreditRequest    = 5, 6, 7
)

func (p packet) encode() []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, p) // fails for no packet
	return b.Bytes()
}

func TestHeaderHasTheSpecificationsLayout(t *testing.T) {
	p := packet{
		SrcCID: 0x0102030405060708, DstCID: 2, SrcPort: 0x11121314, DstPort: 1024, Len: 7,
		Type: 1, Op: opShutdown, Flags: 3, BufAlloc: 0x31323334, FwdCnt: 0xfffffffe,
	}
	in := [packetSize]byte(p.encode())
	out, text := hybrid.Reencode(in)
	if out != in {
		t.Errorf("Reencode(%x) = %x", in, out)
	}
	const want = "SHUTDOWN 72623859790382856:286397204->2:1024 len=7 flags=3 buf=825373492 fwd=4294967294"
	if text != want {
		t.Errorf("String() = %q, want %q", text, want)
	}
}

func TestHeaderOfAnUnknownOperation(t *testing.T) {
	if _, text := hybrid.Reencode([packetSize]byte(packet{Op: 999}.encode())); text != "999 0:0->0:0 len=0 flags=0 buf=0 fwd=0" {
		t.Errorf("String() = %q", text)
	}
}
