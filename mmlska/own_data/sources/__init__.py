"""The formats of labels that a user's folder may have, one file each."""
