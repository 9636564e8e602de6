"""Networks, training, baselines, evaluation and drawing."""
