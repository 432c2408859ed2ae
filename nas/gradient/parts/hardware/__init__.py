"""How expected costs enter the loss. Each is one file that defines `HARDWARE`."""
