"""An invented enterprise to try the plane on: outside systems of its own, a plant, and small sample data."""
