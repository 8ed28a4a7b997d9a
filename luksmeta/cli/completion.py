"""``completion``: the shell's script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from luksmeta.cli import output


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(*, shell: str) -> None:
    """Print the completion script of SHELL.

    For bash: luksmeta completion bash > ~/.local/share/bash-completion/completions/luksmeta
    """
    from luksmeta.cli.root import root

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    output.say_styled(kind(root, {}, "luksmeta", "_LUKSMETA_COMPLETE").source())
