"""Public packages of attentions: their list, their environments, what is measured of each, and the table."""
