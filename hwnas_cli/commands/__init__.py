"""Commands: one file each; `NAME`-less modules hold functions that `hwnas_cli.app` gives to typer."""
