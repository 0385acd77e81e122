"""How long a calibration takes, on a CPU and on a GPU."""
