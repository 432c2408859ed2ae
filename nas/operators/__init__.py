"""What strategies are made of: the protocol, what was seen and told, populations, selection and variation."""
