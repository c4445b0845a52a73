"""What a user reads when the input is wrong."""

from __future__ import annotations


class InputError(ValueError):
    """The input is wrong, and the user can mend it: one line that says where, what is wrong and what would work.

    The command line prints it without a traceback and exits with status 2; Python code may catch it as a `ValueError`.

    Args:
        where: The file or argument in question.
        wrong: What is wrong with it, and what came.
        expected: What would work instead.

    Example:
        >>> print(InputError("a.png", "the file is empty", "a PNG, JPEG, WebP or TIFF picture"))
        a.png: the file is empty (expected: a PNG, JPEG, WebP or TIFF picture)
    """

    def __init__(self, where: object, wrong: str, expected: str = "") -> None:
        self.where, self.wrong, self.expected = str(where), wrong, expected
        super().__init__(self.where, wrong, expected)  # all three, so that the error survives a trip between processes

    def __str__(self) -> str:
        """One line, whatever the parts hold."""
        expected = f" (expected: {self.expected})" if self.expected else ""
        return " ".join(f"{self.where}: {self.wrong}{expected}".split())


class MissingExtra(InputError):
    """A package that only some systems need is not installed.

    Args:
        module: The module that could not be imported.
        extra: The extra of foveate that brings it.
    """

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(module, "is not installed", f"pip install 'foveate[{extra}]'")
        self.args = (module, extra)
