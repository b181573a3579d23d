"""A page on this machine on which a trained run is played with: `launch.py explore`."""
