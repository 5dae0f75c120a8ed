"""One module per subject; each function does one command and returns its answer."""
