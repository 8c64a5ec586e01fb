"""The ranking model: training examples, towers, item-to-item transitions."""
