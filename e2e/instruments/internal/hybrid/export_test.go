package hybrid

// ReadConnect reads a client's first line.
var ReadConnect = readConnect

// Reencode decodes a header and encodes it again. text is what a log says of it.
func Reencode(b [headerSize]byte) (again [headerSize]byte, text string) {
	var h header
	h.decode(b)
	return h.encode(), h.String()
}
