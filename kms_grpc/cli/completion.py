"""`kms-grpc completion`: the script with which a shell completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(short_help="Make your shell complete commands and options.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script with which a shell completes commands and options.

    \b
    bash:  eval "$(kms-grpc completion bash)"         in ~/.bashrc
    zsh:   eval "$(kms-grpc completion zsh)"          in ~/.zshrc
    fish:  kms-grpc completion fish | source          in ~/.config/fish/config.fish
    """
    script = get_completion_class(shell)
    assert script is not None
    root = context.find_root()
    click.echo(script(root.command, {}, str(root.info_name), "_KMS_GRPC_COMPLETE").source())
