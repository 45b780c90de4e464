"""MVPTR on raw images and texts: regions by its detector, concepts by its parser, and what it says of them."""
