"""Code of others in processes of its own, and its answers looked at before they are used."""
