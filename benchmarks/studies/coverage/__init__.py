"""Which networks can be pruned, tried one by one."""
