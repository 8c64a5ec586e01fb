"""Example DAGs of another team; the tests run them."""
