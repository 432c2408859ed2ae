"""`hwnas completion`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers


@answers("completion")
def completion(
    context: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
    as_json: Json = False,
) -> Answer:
    """Print a script by which a shell completes hwnas.

    It knows commands, options, and names of spaces, strategies, predictors and targets, as they are now.

    Examples:

        hwnas completion bash > ~/.local/share/bash-completion/completions/hwnas

        hwnas completion zsh > ~/.zfunc/_hwnas

        hwnas completion fish > ~/.config/fish/completions/hwnas.fish
    """
    import device_profiles
    import nas
    from device_profiles.errors import UnknownName
    from hwnas_cli.completing import SHELLS, script, words_of
    from predictors import registry

    if shell not in SHELLS:
        raise UnknownName("shell", shell, SHELLS)
    values = {
        "--space": nas.spaces.names(),
        "--strategy": (*nas.strategies.names(), *nas.gradient.names()),
        "--then": nas.strategies.names(),
        "--predictor": registry.names(),
        "--target": device_profiles.names(),
    }
    text = script(shell, words_of(context.find_root().command, values))
    return Answer({"shell": shell, "script": text}, text)
