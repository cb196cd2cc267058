package transport

// ConnectHybrid asks a VMM for a port, over a connection to it.
var ConnectHybrid = connectHybrid
