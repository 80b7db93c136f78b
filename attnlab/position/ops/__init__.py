"""What several positions share. Nothing here is registered."""
