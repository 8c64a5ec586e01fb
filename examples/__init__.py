"""What a newcomer may start from; none of it is part of a release."""
