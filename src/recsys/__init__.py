"""The domain of the movie recommender's release pipeline; imports neither Airflow nor Keras."""
