"""One module per outside system: its client and the tools that the plane offers on it."""
