"""One file for each chart: its data, and how the data are drawn."""
