"""What screens are made of: it draws what it is given."""
