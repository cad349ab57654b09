"""Options that several commands share and get as one argument, instead of a dozen each."""

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]


def gather(name: str, kind: type, *options: Decorator[Any]) -> Decorator[Any]:
    """A decorator that gives a command these options and passes what was given as one argument.

    Args:
        name: of the argument. kind: its dataclass; each option is named as one of its fields.
        options: made by `click.option`, in the order in which --help shows them.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def gathered(**arguments: Any) -> Any:
            given = {field.name: arguments.pop(field.name) for field in fields(kind)}
            return function(**{name: kind(**given)}, **arguments)

        for option in reversed(options):
            gathered = option(gathered)
        return gathered  # type: ignore[return-value]

    return decorate
