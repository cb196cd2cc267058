package wire

import "slices"

// A Verb describes one type of message. All that is to be known of a type before
// its fields is in the table of verbs.
type Verb struct {
	Type Type

	// Policy is the name that an operator uses to allow or deny it. Empty: it
	// is not a request, or cannot be denied.
	Policy string

	Since   int    // the protocol version that has it
	Feature string // of the agent's [Hello], without which a host does not send it; empty: every agent knows it

	make func() Message
}

var verbs = []Verb{
	{TypeHello, "", 2, "", func() Message { return new(Hello) }},

	{TypeExec, "exec", 2, "", func() Message { return new(Exec) }},
	{TypeSignal, "signal", 2, "", func() Message { return new(Signal) }},
	{TypeResize, "resize", 2, "", func() Message { return new(Resize) }},
	{TypeKill, "kill", 2, "", func() Message { return new(Kill) }},
	{TypeInfo, "info", 2, "", func() Message { return new(Info) }},
	{TypeReseed, "reseed", 2, "", func() Message { return new(Reseed) }},
	{TypeForward, "forward", 2, "", func() Message { return new(Forward) }},
	{TypeExecs, "execs", 2, FeatureExecs, func() Message { return new(Execs) }},
	{TypeAttach, "attach", 2, FeatureDetach, func() Message { return new(Attach) }},
	{TypeRelease, "attach", 2, FeatureDetach, func() Message { return new(Release) }},
	{TypeLeave, "attach", 2, FeatureDetach, func() Message { return new(Leave) }},
	{TypeAcked, "", 2, FeatureDetach, func() Message { return new(Acked) }},
	{TypeListen, "listen", 2, FeatureListen, func() Message { return new(Listen) }},
	{TypeAccept, "listen", 2, FeatureListen, func() Message { return new(Accept) }},
	{TypeFiles, "files", 2, FeatureFiles, func() Message { return new(Files) }},
	{TypeQuiesce, "quiesce", 2, FeatureQuiesce, func() Message { return new(Quiesce) }},
	{TypeThaw, "quiesce", 2, FeatureQuiesce, func() Message { return new(Thaw) }},
	{TypePing, "", 2, "", func() Message { return new(Ping) }},

	{TypeStarted, "", 2, "", func() Message { return new(Started) }},
	{TypeExited, "", 2, "", func() Message { return new(Exited) }},
	{TypeDone, "", 2, "", func() Message { return new(Done) }},
	{TypeError, "", 2, "", func() Message { return new(Error) }},
}

var verbsByType = func() map[Type]*Verb {
	byType := make(map[Type]*Verb, len(verbs))
	for i := range verbs {
		byType[verbs[i].Type] = &verbs[i]
	}
	return byType
}()

// Verbs returns the table of verbs.
func Verbs() []Verb { return slices.Clone(verbs) }

// PolicyOf returns the name that an operator uses to allow or deny a type, or "".
func PolicyOf(t Type) string {
	if v := verbsByType[t]; v != nil {
		return v.Policy
	}
	return ""
}

// newMessage returns an empty message of type t, or nil if t is not known.
func newMessage(t Type) Message {
	if v := verbsByType[t]; v != nil {
		return v.make()
	}
	return nil
}
