"""A method that says the same of every image: inference needs no other to work."""
