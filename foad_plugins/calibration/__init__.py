"""Run a model over data and collect statistics, leaving no trace."""
