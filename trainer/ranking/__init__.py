"""The ranking model: two towers plus an item-to-item transition model, exported as one pair."""
