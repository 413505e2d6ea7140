"""Settings: one typed object, read from `INTERLOCK_*` environment variables and `<home>/settings.yaml`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)
from yaml import YAMLError

from interlock import errors

__all__ = ["Price", "Settings"]


class Price(BaseModel):
    """What a model charges, in minor units of `currency` per million tokens."""

    input: float = Field(ge=0, description="Per million input tokens, in minor units (cents).")
    output: float = Field(ge=0, description="Per million output tokens, in minor units (cents).")
    currency: str = "USD"


class Settings(BaseSettings):
    """Every setting of a plane. Environment variables win over the file."""

    model_config = SettingsConfigDict(env_prefix="INTERLOCK_", env_nested_delimiter="__", extra="forbid")

    concurrency: int = Field(default=32, ge=1, le=1024, description="How many cases one engine drives at once.")
    tenant_concurrency: int | None = Field(default=None, ge=1, description="How many of them may belong to one tenant.")
    model: str | None = Field(default=None, description="Default chat model of LLM agents, as openai:gpt-5-mini.")
    fallback_models: list[str] = Field(default=[], description="Models tried in order when the first one fails.")
    base_url: str | None = Field(
        default=None, description="Any OpenAI-compatible endpoint; None means the provider's own."
    )
    api_key: SecretStr | None = Field(default=None, description="Key of that endpoint; OPENAI_API_KEY is read as well.")
    model_timeout_s: float = Field(default=60.0, gt=0, description="Seconds one model call may take.")
    model_retries: int = Field(default=2, ge=0, description="Retries of a model call on 429, 5xx and time-outs.")
    output_method: Literal["json_schema", "function_calling", "json_mode"] = Field(
        default="json_schema", description="How typed output is asked of a model; endpoints differ."
    )
    embeddings: str = Field(default="minilm", description="minilm (offline), or openai:<model> at the endpoint.")
    embedding_threads: int = Field(default=1, ge=1, description="Threads of the offline embedding model.")
    sentence_vectors: bool = Field(
        default=False, description="Also embed the best sentence: slower, for small corpora."
    )
    prices: dict[str, Price] = Field(default={}, description="Price per model, for the cost of model calls.")
    tool_timeout_s: float = Field(default=30.0, gt=0, description="Seconds a tool may take unless it says otherwise.")
    lease_patience_s: float | None = Field(
        default=None, ge=0, description="Seconds a call stays for an object of another case; None: as it may take."
    )
    when_held: Literal["wait", "refuse"] = Field(
        default="wait", description="What follows in a case: it waits until the object is free, or is refused."
    )
    tool_retries: int = Field(default=2, ge=0, description="Retries of reads and idempotent tools.")
    breaker_failures: int = Field(
        default=5, ge=1, description="Failures in a row that open a system's circuit breaker."
    )
    breaker_seconds: float = Field(default=30.0, gt=0, description="Seconds an open breaker refuses calls.")
    policies: Path | None = Field(default=None, description="File or folder of policies; None takes the shipped set.")
    shadow: Path | None = Field(default=None, description="File or folder of policies asked beside those that decide.")
    seal_events: int = Field(default=5000, ge=1, description="Events after which the ledger is sealed.")
    seal_seconds: float = Field(default=60.0, gt=0, description="Seconds after which new events are sealed.")
    seal_key_file: Path | None = Field(
        default=None, description="Ed25519 key in PEM, mode 0600; None makes seal.pem in the home."
    )
    anchor_file: Path | None = Field(
        default=None, description="Where seals go besides the database; None: anchor.jsonl in the home."
    )
    seal_command: list[str] = Field(default=[], description="Program and arguments that get each seal on stdin.")
    seal_command_s: float = Field(default=10.0, gt=0, description="Seconds that this program may take.")
    archive_folder: Path | None = Field(
        default=None, description="Folder of this home's archives alone; None: archives in the home."
    )
    retention_days: int = Field(
        default=183, ge=0, description="Days that events stay in the database; younger ones are not archived."
    )
    legal_holds: list[str] = Field(default=[], description="Cases whose data must not be erased, by their ids.")
    credentials_file: Path | None = Field(
        default=None, description="YAML of credentials by system; must have mode 0600."
    )
    credentials_keyring: bool = Field(
        default=False, description="Also look in the keyring of the operating system, service `interlock`."
    )
    credentials_command: list[str] = Field(
        default=[], description="Program that prints a credential; {system}, {tool} and {case} are filled in."
    )
    credentials_command_s: float = Field(default=10.0, gt=0, description="Seconds that this program may take.")
    aes_key: SecretStr | None = Field(default=None, description="Encrypts checkpoints at rest; 16, 24 or 32 bytes.")
    otlp_endpoint: str | None = Field(default=None, description="Where OpenTelemetry spans go; None sends nothing.")
    langsmith: bool = Field(default=False, description="Tag runs for LangSmith, which has settings of its own.")
    drain_s: float = Field(default=30.0, gt=0, description="Seconds that running steps may take when the plane closes.")
    project: str = Field(
        default="interlock.examples.enterprise.plant:setup", description="module:function that fills a plane."
    )
    guest: str = Field(
        default="interlock.guest:open_guest", description="module:function that opens the plane of guest mode."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, home: Path | None = None) -> Settings:
        """Settings of a home folder: its `settings.yaml`, if there, under the environment.

        Raises ConfigurationError that names the setting, and never quotes its value.
        """
        file = home / "settings.yaml" if home is not None and (home / "settings.yaml").exists() else None
        where = f"{file}, or the environment" if file else "the environment"
        config = SettingsConfigDict(**{**cls.model_config, "yaml_file": file})
        try:
            return type("HomeSettings", (cls,), {"model_config": config, "__module__": __name__})()  # type: ignore[no-any-return]  # made at run time
        except ValidationError as exc:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors(include_input=False))
            raise errors.ConfigurationError(f"wrong settings in {where}: {wrong}", "see docs/settings.md") from None
        except (SettingsError, YAMLError, OSError, ValueError) as exc:
            raise errors.ConfigurationError(f"unreadable settings in {where}: {exc}", "write `name: value`") from None

    def resolve(self, name: str) -> Any:
        """What a setting of the form module:function names. Raises ConfigurationError when it is not there."""
        module, _, function = str(getattr(self, name)).partition(":")
        try:
            return getattr(import_module(module), function)
        except (ImportError, AttributeError, ValueError) as exc:
            hint = f"set `{name}` to module:function, and install what it imports"
            raise errors.ConfigurationError(f"{name} {getattr(self, name)!r} cannot be loaded: {exc}", hint) from exc
