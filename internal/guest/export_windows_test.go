package guest

// ReadBootID reads it again.
var ReadBootID = readBootID
