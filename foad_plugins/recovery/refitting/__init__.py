"""The parts of a refit: networks in lockstep, rows of their layers, and the regression of each layer."""
