"""What holds expected costs within bounds. Each is one file that defines `BOUNDS`."""
