"""FLOPs, parameters, latency."""
