"""The reference site: how a web app answers with releases, and changes over between them."""
