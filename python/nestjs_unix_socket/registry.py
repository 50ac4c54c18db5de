"""Which function handles which type."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Handler = Callable[..., Any]
"""`handler(data)` or `handler(data, context)`: a function, a coroutine function or an async generator function."""
_Handler = TypeVar("_Handler", bound=Handler)
_MARK = "__nestjs_unix_socket_type__"


def request(message_type: str) -> Callable[[_Handler], _Handler]:
    """Marks a method as the handler of `message_type`, for `register_handlers_from_instance`."""

    def mark(handler: _Handler) -> _Handler:
        setattr(handler, _MARK, message_type)
        return handler

    return mark


class RequestHandlerRegistry:
    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}
        self._with_context: set[str] = set()

    def register(self, message_type: str) -> Callable[[_Handler], _Handler]:
        def register(handler: _Handler) -> _Handler:
            self.add(message_type, handler)
            return handler

        return register

    def add(self, message_type: str, handler: Handler) -> None:
        """The last one wins."""
        self._handlers[message_type] = handler
        self._with_context.discard(message_type)
        if _takes_context(handler):
            self._with_context.add(message_type)

    def add_from_instance(self, instance: object) -> None:
        """Every method marked with `request`, inherited ones too. Properties are not touched."""
        for name in dir(type(instance)):
            message_type = getattr(inspect.getattr_static(type(instance), name), _MARK, None)
            if isinstance(message_type, str):
                self.add(message_type, getattr(instance, name))

    def get_handler(self, message_type: str) -> Handler | None:
        return self._handlers.get(message_type)

    def wants_context(self, message_type: str) -> bool:
        return message_type in self._with_context

    def has_handler(self, message_type: str) -> bool:
        return message_type in self._handlers

    def remove_handler(self, message_type: str) -> bool:
        return self._handlers.pop(message_type, None) is not None

    def list_handlers(self) -> list[str]:
        return list(self._handlers)


def _takes_context(handler: Handler) -> bool:
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and parameter.default is parameter.empty
    ]
    return len(required) >= 2
