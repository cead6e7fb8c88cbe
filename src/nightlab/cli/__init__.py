"""The `nightlab` command: one file per command, loaded only when that command is called.

Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 finished but needs you, 4 not set up. Nothing heavy is imported here.
"""

from __future__ import annotations

from pathlib import Path

import click

from nightlab.cli.lazy import Command, LazyGroup
from nightlab.cli.session import Session

COMMANDS = {
    "init": Command("nightlab.cli.init:init", "Make a new lab, or complete a folder to one."),
    "demo": Command("nightlab.cli.demo:demo", "Watch a whole night in a minute: no key, no GPU."),
    "rehearse": Command("nightlab.cli.rehearse:rehearse", "Play a plan through with practice models first."),
    "run": Command("nightlab.cli.run:run", "Run a night, or go on with one that was cut off."),
    "brief": Command("nightlab.cli.brief:brief", "Say what the last night did and what it needs."),
    "status": Command("nightlab.cli.status:status", "Say whether a night is alive and what it does."),
    "tail": Command("nightlab.cli.tail:tail", "Print what happened, one line per event."),
    "say": Command("nightlab.cli.say:say", "Tell the running night something."),
    "pause": Command("nightlab.cli.pause:pause", "Let the running night take no further turn."),
    "resume": Command("nightlab.cli.resume:resume", "Let a paused night go on."),
    "budget": Command("nightlab.cli.budget:budget", "Show or change the limits of the running night."),
    "stop": Command("nightlab.cli.stop:stop", "Let the running night wrap up and end."),
    "inbox": Command("nightlab.cli.inbox:inbox", "List the open questions to you."),
    "reply": Command("nightlab.cli.reply:reply", "Answer a question; the diary keeps it."),
    "accept": Command("nightlab.cli.accept:accept", "List what agents proposed, or accept one of it."),
    "config": Command("nightlab.cli.config:config", "Show every setting and where it comes from."),
    "where": Command("nightlab.cli.where:where", "Say which file of two layers is used."),
    "doctor": Command("nightlab.cli.doctor:doctor", "Check what a night needs, and how to fix it."),
    "plan": Command("nightlab.cli.plan:plan", "Check that a plan can run, and decide its question."),
    "condition": Command("nightlab.cli.condition:condition", "Look at the conditions of an experiment."),
    "sweep": Command("nightlab.cli.sweep:sweep", "Ask the missing cells of an experiment."),
    "progress": Command("nightlab.cli.progress:progress", "Say how far an experiment is, and what lacks."),
    "import": Command("nightlab.cli.import_:import_", "Take over an existing folder of samples and judgments."),
    "judge": Command("nightlab.cli.judge:judge", "Score the samples of an experiment, blind."),
    "report": Command("nightlab.cli.report:report", "Compile an experiment's tables and report."),
    "invalidate": Command("nightlab.cli.invalidate:invalidate", "Take wrong rows out, and strike what rested on them."),
    "reproduce": Command("nightlab.cli.reproduce:reproduce", "Rebuild tables and figures from the rows."),
    "train": Command("nightlab.cli.train:train", "Train a LoRA adapter on chats, here; resumable."),
    "diagnose": Command("nightlab.cli.diagnose:diagnose", "Say why a model server failed, from its log."),
    "audit": Command("nightlab.cli.audit:audit", "Hold reports and data against each other."),
    "servers": Command("nightlab.cli.servers:servers", "List the model servers, or stop them."),
    "models": Command("nightlab.cli.models:models", "List models and adapters; probe what a plan needs."),
    "prefetch": Command("nightlab.cli.prefetch:prefetch", "Fetch the models of a plan where there is a network."),
    "serve": Command("nightlab.cli.serve:serve", "Serve a model here, until interrupted."),
    "practice": Command("nightlab.cli.practice:practice", "Look at the practice set, or rebuild it."),
}


@click.group(
    cls=LazyGroup, lazy=COMMANDS, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--lab", "folder", type=click.Path(path_type=Path), metavar="DIR", help="The lab; else the one you are in."
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="nightlab", message="nightlab %(version)s")
@click.pass_context
def cli(context: click.Context, folder: Path | None, debug: bool) -> None:
    """An autonomous research harness that never loses the night and never lies in the morning.

    Inside a lab, `nightlab` alone prints the brief.
    """
    context.obj = Session(folder, debug)
    if context.invoked_subcommand is None:
        _alone(context)


def _alone(context: click.Context) -> None:
    """Without a command: the brief of the lab we stand in, else the help."""
    from nightlab.errors import LabError

    session: Session = context.obj
    try:
        session.lab()
    except LabError:
        if session.folder is not None:
            raise
        click.echo(context.get_help())
        return
    command = cli.get_command(context, "brief")
    assert command is not None
    context.invoke(command)


def main() -> None:
    """The entry point of the `nightlab` command."""
    cli.main(prog_name="nightlab")
