"""Examples to start from; none of them is part of a release."""
