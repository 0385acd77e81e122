"""Many runs: who does what, where, and what is left to do."""
