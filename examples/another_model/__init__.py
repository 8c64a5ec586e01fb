"""A different architecture behind the same contract; docs/data-scientist.md ships it."""
