"""Speed against PyTorch on the same machine, and against what the machine can do at most."""
