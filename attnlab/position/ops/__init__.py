"""Functions that several positions share. Nothing here is registered."""
