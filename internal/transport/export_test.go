package transport

// ConnectHybrid asks a VMM for a port, over a connection to it.
var ConnectHybrid = connectHybrid

// SocketPath returns the path that a target means on this system.
var SocketPath = socketPath
