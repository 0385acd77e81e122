"""The suites that come with the package, one YAML file each; ``foad-bench list`` shows them."""
