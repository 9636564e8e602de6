"""Networks, one file each, one definition for all experiments."""
