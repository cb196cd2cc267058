package guest

import (
	"crypto/rand"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Windows draws no random number at boot, so the agent does. A volatile key of the registry
// keeps it: such a key lives in the kernel's memory. So it is gone after the next boot, and
// a clone of a snapshot has its original's.
const (
	bootKey   = `SOFTWARE\cocoon-agent\boot`
	bootValue = "id"
)

var (
	advapi32        = windows.NewLazySystemDLL("advapi32.dll")
	regCreateKeyExW = advapi32.NewProc("RegCreateKeyExW")
)

func readBootID() string {
	key, err := openVolatile(bootKey)
	if err != nil {
		return ""
	}
	defer key.Close()
	if id, _, err := key.GetStringValue(bootValue); err == nil && id != "" {
		return id
	}
	id := randomUUID()
	if key.SetStringValue(bootValue, id) != nil {
		return "" // another one would be drawn the next time
	}
	return id
}

// openVolatile opens a key of this machine's registry, which it makes if there is none. The
// keys above it are ordinary ones.
func openVolatile(path string) (registry.Key, error) {
	const optionVolatile = 1 // REG_OPTION_VOLATILE
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	var key windows.Handle
	status, _, _ := regCreateKeyExW.Call(
		uintptr(windows.HKEY_LOCAL_MACHINE), uintptr(unsafe.Pointer(name)), 0, 0, optionVolatile,
		uintptr(registry.QUERY_VALUE|registry.SET_VALUE), 0, uintptr(unsafe.Pointer(&key)), 0,
	)
	if status != 0 {
		return 0, fmt.Errorf("registry key %s: %w", path, windows.Errno(status))
	}
	return registry.Key(key), nil
}

// randomUUID returns one of version 4 (RFC 9562).
func randomUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
