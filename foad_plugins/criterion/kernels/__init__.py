"""How the sums of similarities are computed fast."""
