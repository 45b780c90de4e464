"""An experiment in one file, and its numbers computed again from that file alone."""
