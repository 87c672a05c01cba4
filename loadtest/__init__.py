"""Load tests: what the gateway costs, as ratios against what else is on the machine, in one run."""
