"""A report that is served on this machine and follows its runs: what goes on, the newest images, new scores."""
