"""What repairs accuracy after channels were removed."""
