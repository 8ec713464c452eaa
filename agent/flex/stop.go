package flex

// IsStop knows a stop by its kind, by a status word that withdraws it, and by
// a power of zero that was asked for on purpose.
func (in Instruction) IsStop() bool {
	return in.Kind == KindStop || in.Withdrawn() || in.Capacity == 0 && len(in.Problems) == 0
}

// Withdrawn knows the words by which markets call an instruction back.
func (in Instruction) Withdrawn() bool { return ClassOfWord(in.Status) == WordStop }
