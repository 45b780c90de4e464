"""Nothing of the report asks for a model."""
