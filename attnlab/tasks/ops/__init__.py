"""Code that several tasks share. Nothing here is registered."""
