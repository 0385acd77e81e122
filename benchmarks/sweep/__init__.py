"""Many runs: which run is done where, and which are still to be done."""
