"""Rich's console, of which `cnn.__main__` hears that nobody reads it any more."""

import rich.console


class Console(rich.console.Console):
    """Raises `BrokenPipeError` where whoever read its output, such as `head`, has left; Rich's own ends the process."""

    def on_broken_pipe(self) -> None:
        """Raises the error that is being handled."""
        raise
