"""What several tasks share. Nothing here is registered."""
