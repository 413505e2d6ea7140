"""Chat models: which one, with which key, by which method of typed output; one connection pool per plane."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import httpx
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.structured_output import ProviderStrategy, StructuredOutputError, ToolStrategy
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_openai import ChatOpenAI
from langgraph.errors import GraphBubbleUp
from pydantic import BaseModel, SecretStr

from interlock import errors
from interlock.settings import Settings

__all__ = ["DEFAULT", "Fallback", "Models", "OutputMethod", "reachable", "strategy"]

OutputMethod = Literal["json_schema", "function_calling", "json_mode"]

DEFAULT = "default"
_KEYS = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "google_genai": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    "mistralai": ("MISTRAL_API_KEY",),
    "groq": ("GROQ_API_KEY",),
}
_KEYLESS = frozenset({"ollama", "llamacpp"})


def reachable(name: str, settings: Settings) -> bool:
    """Whether there is an endpoint and a key for a model name; no network is touched."""
    if name == DEFAULT:
        return settings.model is not None and reachable(settings.model, settings)
    provider = _provider(name)
    if provider == "openai" and (settings.base_url or settings.api_key):
        return True
    return provider in _KEYLESS or any(os.environ.get(key) for key in _KEYS.get(provider, ()))


def _provider(name: str) -> str:
    provider, separator, _ = name.partition(":")
    return provider if separator else "openai"


class OpenAIChat(ChatOpenAI):
    """`create_agent` binds an empty list of tools to typed output, which the original endpoint refuses."""

    def bind_tools(self, tools: Sequence[Any], **options: Any) -> Runnable[LanguageModelInput, AIMessage]:
        bound = super().bind_tools(tools, **options)
        if tools or not isinstance(bound, RunnableBinding):
            return bound
        return self.bind(**{name: value for name, value in bound.kwargs.items() if name != "tools"})


class Models:
    """Builds chat models from the settings and keeps them; close it with its plane."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._http = httpx.AsyncClient(timeout=settings.model_timeout_s)
        self._built: dict[tuple[str, bool], BaseChatModel] = {}

    async def close(self) -> None:
        await self._http.aclose()

    def chain(
        self, model: str | BaseChatModel, fallbacks: Sequence[str] = (), json_mode: bool = False
    ) -> list[BaseChatModel]:
        """The model and those to try after it, in order. Raises ConfigurationError on a name that cannot be built."""
        first = self.chat(model, json_mode)
        names = [name for name in fallbacks or self.settings.fallback_models if reachable(name, self.settings)]
        return [first, *(other for name in names if (other := self.chat(name, json_mode)) is not first)]

    def chat(self, model: str | BaseChatModel, json_mode: bool = False) -> BaseChatModel:
        """One chat model by name (`openai:gpt-5-mini`, or `default`); a built one is taken as it is."""
        if isinstance(model, BaseChatModel):
            return model
        name = self._named(model)
        if (name, json_mode) not in self._built:
            self._built[name, json_mode] = self._build(name, json_mode)
        return self._built[name, json_mode]

    def _named(self, name: str) -> str:
        if name != DEFAULT:
            return name
        if self.settings.model is None:
            raise errors.ConfigurationError("no default model is set", "set INTERLOCK_MODEL, as openai:gpt-5-mini")
        return self.settings.model

    def _build(self, name: str, json_mode: bool) -> BaseChatModel:
        options: dict[str, Any] = {"timeout": self.settings.model_timeout_s, "max_retries": self.settings.model_retries}
        provider = _provider(name)
        model = name.removeprefix(f"{provider}:")
        try:
            if provider == "openai":
                return OpenAIChat(model=model, **options, **self._openai(json_mode))
            built: BaseChatModel = init_chat_model(model, model_provider=provider, **options)
        except (ImportError, ValueError) as exc:
            raise errors.ConfigurationError(f"model {name!r} cannot be used: {exc}", "write provider:model") from exc
        return built

    def _openai(self, json_mode: bool) -> dict[str, Any]:
        settings = self.settings
        options: dict[str, Any] = {"http_async_client": self._http, "stream_usage": True, "api_key": self._key()}
        if settings.base_url:
            options |= {"base_url": settings.base_url, "use_responses_api": False}
        if json_mode:  # past the client, which would insist on strict tools beside a response format
            options["extra_body"] = {"response_format": {"type": "json_object"}}
        return options

    def _key(self) -> SecretStr:
        """Endpoints without keys still want the header, so any word will do for them."""
        return self.settings.api_key or SecretStr(os.environ.get("OPENAI_API_KEY") or "none")


def strategy(output: type[BaseModel] | None, method: OutputMethod) -> ProviderStrategy[Any] | ToolStrategy[Any] | None:
    """How a model is asked for typed output; None when the text is parsed by us."""
    if output is None or method == "json_mode":
        return None
    if method == "json_schema":
        return ProviderStrategy(output)
    return ToolStrategy(output, handle_errors=False)


class Fallback(AgentMiddleware[Any, Any, Any]):
    """Tries other models when one fails: not on an answer of the wrong shape, and not on a rule of ours."""

    def __init__(self, models: Sequence[BaseChatModel]) -> None:
        super().__init__()
        self._models = list(models)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        failure: Exception | None = None
        for model in (request.model, *self._models):
            try:
                return await handler(request.override(model=model))
            except (StructuredOutputError, errors.InterlockError, GraphBubbleUp):
                raise
            except Exception as exc:
                failure = failure or exc
        assert failure is not None, "there is at least one model"
        raise failure
