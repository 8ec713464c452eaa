package agent

// NewByClock builds an agent that goes by a test's clock.
var NewByClock = newAgent
