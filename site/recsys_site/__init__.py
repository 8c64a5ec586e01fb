"""The reference site: a web app that serves recommendations and switches between releases."""
