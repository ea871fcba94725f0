"""The built-in world: pictures of birds with known truth, and small models trained on them."""
