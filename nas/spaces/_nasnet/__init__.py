"""What spaces of a normal and a reduction cell share."""
