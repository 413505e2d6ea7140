"""Which model, with which key, at which endpoint; nothing is reached unless it is used."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from langchain_core.language_models import GenericFakeChatModel

from interlock import errors
from interlock.agents.agent import Agent
from interlock.agents.models import Models, reachable
from interlock.agents.runtime import Contract, perform
from interlock.settings import Settings
from tests.agents.conftest import Events, MakeCall, MakeModels
from tests.loopback_openai import LoopbackOpenAI, error, serve, text

KEYS = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY"]


def settings(server: LoopbackOpenAI, **more: Any) -> Settings:
    return Settings(**{"base_url": server.url, "model": "openai:m", **more})


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*KEYS, "INTERLOCK_MODEL", "INTERLOCK_API_KEY", "INTERLOCK_BASE_URL", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "given", "env", "there"),
    [
        ("openai:gpt-5-mini", {}, {}, False),
        ("gpt-5-mini", {}, {}, False),
        ("openai:gpt-5-mini", {}, {"OPENAI_API_KEY": "k"}, True),
        ("gpt-5-mini", {}, {"OPENAI_API_KEY": "k"}, True),
        ("openai:gpt-5-mini", {}, {"OPENAI_API_KEY": ""}, False),
        ("openai:gpt-5-mini", {"base_url": "http://localhost:1"}, {}, True),
        ("openai:gpt-5-mini", {"api_key": "k"}, {}, True),
        ("anthropic:claude", {"base_url": "http://localhost:1", "api_key": "k"}, {}, False),
        ("anthropic:claude", {}, {"ANTHROPIC_API_KEY": "k"}, True),
        ("anthropic:claude", {}, {"OPENAI_API_KEY": "k"}, False),
        ("google_genai:gemini", {}, {"GEMINI_API_KEY": "k"}, True),
        ("ollama:llama", {}, {}, True),
        ("nobody:model", {}, {"OPENAI_API_KEY": "k"}, False),
        ("default", {}, {"OPENAI_API_KEY": "k"}, False),
        ("default", {"model": "openai:m"}, {}, False),
        ("default", {"model": "openai:m"}, {"OPENAI_API_KEY": "k"}, True),
    ],
)
def test_reachable(
    monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, Any], env: dict[str, str], there: bool
) -> None:
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    made = Settings(**given)
    assert reachable(name, made) is there
    assert Agent("a", model=name).available(made) is there


def test_which_agents_are_available_without_a_model() -> None:
    async def run(state: Any, call: Any) -> None: ...

    assert Agent("a", run=run).available(Settings.load())
    assert Agent("a", model=GenericFakeChatModel(messages=iter(()))).available(Settings.load())
    assert not Agent("a").available(Settings.load()), "an external agent gets no tasks"


async def test_the_key_of_the_settings_goes_to_the_endpoint_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-environment")
    with serve(api_key="of-the-settings") as server:
        models = Models(settings(server, api_key="of-the-settings"))
        server.script(text("in"))
        assert (await models.chat("default").ainvoke("hello")).text == "in"
        assert "of-the-settings" not in repr(models.chat("default"))
        assert "of-the-settings" not in repr(models.settings)
        await models.close()


async def test_the_key_of_the_environment_is_read_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-environment")
    with serve(api_key="of-the-environment") as server:
        models = Models(settings(server))
        server.script(text("in"))
        assert (await models.chat("openai:m").ainvoke("hello")).text == "in"
        await models.close()


async def test_a_wrong_key_is_the_agents_failure_without_the_key(server: LoopbackOpenAI, make_call: MakeCall) -> None:
    server.api_key = "right"
    with pytest.raises(errors.AgentFailed, match="401") as failed:
        await perform(Agent("a", model="default"), Contract("t"), {}, make_call(api_key="wr0ng-key"))
    assert "wr0ng-key" not in str(failed.value)


async def test_an_endpoint_that_is_away(make_call: MakeCall) -> None:
    with serve() as gone:
        url = gone.url
    with pytest.raises(errors.AgentFailed, match=r"[Cc]onnection"):
        await perform(Agent("a", model="default"), Contract("t"), {}, make_call(base_url=url, model_retries=0))


async def test_models_are_built_once_and_share_their_connections(make_models: MakeModels) -> None:
    models = make_models()
    assert models.chat("openai:small") is models.chat("default")
    assert models.chat("openai:small", json_mode=True) is not models.chat("openai:small")
    own = GenericFakeChatModel(messages=iter(()))
    assert models.chat(own) is own


async def test_chains(monkeypatch: pytest.MonkeyPatch, make_models: MakeModels) -> None:
    def names(*fallbacks: str, **more: Any) -> list[str]:
        models = make_models(**more)
        return [str(getattr(model, "model_name", "")) for model in models.chain("openai:small", fallbacks)]

    assert names() == ["small"]
    assert names("openai:big", "openai:small") == ["small", "big"]
    assert names("anthropic:claude") == ["small"], "no key, so it is not tried"
    assert names(fallback_models=["openai:spare"]) == ["small", "spare"]
    assert names("openai:big", fallback_models=["openai:spare"]) == ["small", "big"], "the agent's own come first"


@pytest.mark.parametrize("name", ["nobody:model", "ollama:llama"])
async def test_models_that_cannot_be_built(make_models: MakeModels, name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="cannot be used"):
        make_models().chat(name)


async def test_no_default_model() -> None:
    models = Models(Settings.load())
    with pytest.raises(errors.ConfigurationError, match="INTERLOCK_MODEL"):
        models.chat("default")
    await models.close()


async def test_closing_closes_the_connections(server: LoopbackOpenAI) -> None:
    models = Models(settings(server, model_retries=0))
    server.script(text("in"))
    await models.chat("default").ainvoke("hello")
    await models.close()
    with pytest.raises(Exception, match=r"[Cc]losed|[Cc]onnection"):
        await models.chat("default").ainvoke("hello")
    assert isinstance(models._http, httpx.AsyncClient)
    assert models._http.is_closed


async def test_every_model_of_a_chain_failing_gives_the_first_reason(
    server: LoopbackOpenAI, make_call: MakeCall, events: Events
) -> None:
    server.script(error(500), error(503), error(404))
    agent = Agent("a", model="openai:small", fallbacks=["openai:b", "openai:c"])
    with pytest.raises(errors.AgentFailed, match="500"):
        await perform(agent, Contract("t"), {}, make_call(model_retries=0))
    assert [row["model"] for row in events.of("model.called")] == ["openai:small", "openai:b", "openai:c"]
    assert {row["status"] for row in events.of("model.called")} == {"failed"}


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_retries_are_a_setting(server: LoopbackOpenAI, make_call: MakeCall, status: int) -> None:
    server.script(error(status), text("in"))
    agent, contract = Agent("a", model="default"), Contract("t", into="note")
    assert (await perform(agent, contract, {}, make_call(model_retries=1))).update == {"note": "in"}
    server.script(error(status), text("never"))
    with pytest.raises(errors.AgentFailed, match=str(status)):
        await perform(agent, contract, {}, make_call(model_retries=0))
