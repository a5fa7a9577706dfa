"""A user's own folder of images and labels: read, checked, split, repaired, drawn, and a config that trains on it."""
