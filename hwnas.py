"""The command line and the five-line API of hwnas."""


def main() -> None:
    """Run the command."""
