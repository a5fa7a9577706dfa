"""What models cost, see and get wrong; functions that return data, and their figures."""
