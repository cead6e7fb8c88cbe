"""`nightlab prefetch`: fetch what a plan needs where there is a network, since servers never fetch anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nightlab.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nightlab.experiments.plan import Plan


@click.command()
@click.argument("experiment")
@click.option("--dry-run", is_flag=True, help="Only say what would be fetched.")
@click.pass_obj
def prefetch(session: Session, experiment: str, dry_run: bool) -> None:
    """Fetch the models and adapters of EXPERIMENT that are not on this machine into the Hugging Face cache.

    Run it on a machine with a network that shares the cache with the machines of the servers (a login node).
    """
    from nightlab.experiments.plan import Plan

    plan = Plan.load(session.lab().experiment(experiment))
    missing = list(dict.fromkeys(_missing(plan)))
    for repository, revision in missing:
        click.echo(f"{repository}{f' at {revision}' if revision else ''}")
        if not dry_run:
            click.echo(f"    {_fetch(repository, revision)}")
    if not missing:
        click.echo("Everything that this plan needs is on this machine.")


def _missing(plan: Plan) -> Iterator[tuple[str, str | None]]:
    """(repository, revision) of every model and adapter that is named by an id and is not here."""
    from nightlab.adapters import hub
    from nightlab.experiments.identity import adapter_folder, model_folder

    for model in plan.models:
        parts = None if model.path else hub.split_id(model.id)
        if parts and model_folder(plan, model) is None:
            yield parts[0], model.revision
        asked = [spec.id for c in plan.conditions if c.amplification for spec in c.amplification.adapters]
        for adapter in asked:
            reference = model.adapters.get(adapter) or model.adapters.get(adapter.removesuffix("/default")) or adapter
            if adapter_folder(plan, model, adapter) is None and (parts := hub.split_id(reference)):
                yield parts[0], None


def _fetch(repository: str, revision: str | None) -> str:
    """Fetch a repository's weights, configuration and tokenizer; the folder they are in. Raises NightlabError."""
    import importlib.util

    from nightlab.errors import NightlabError, NotSetUp

    if importlib.util.find_spec("huggingface_hub") is None:
        raise NotSetUp("huggingface_hub is not installed here", hint='pip install "nightlab[local]"')
    from huggingface_hub import snapshot_download

    kinds = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
    try:
        return str(snapshot_download(repository, revision=revision, allow_patterns=kinds))
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        hint = "a gated model needs its licence accepted and HF_TOKEN set; an offline machine needs a network"
        raise NightlabError(f"{repository} cannot be fetched: {type(error).__name__}: {said}", hint=hint) from error
