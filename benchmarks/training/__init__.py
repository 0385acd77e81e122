"""One network, one recipe."""
