package guest

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func writeClock(now time.Time) error {
	to := unix.NsecToTimespec(now.UnixNano())
	return os.NewSyscallError("clock_settime", unix.ClockSettime(unix.CLOCK_REALTIME, &to))
}
