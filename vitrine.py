"""The front door: one command starts everything, others start a part, explain a photograph, or look what is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from backend.contract.logs import configure_logging
from backend.contract.problems import ProblemError
from backend.contract.settings import LogLevel, SettingsError, read_settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backend.contract.schemas import PictureRecord
    from backend.settings import WebSettings
    from workers.asking import Question
    from workers.doctor import Verdict
    from workers.local import LocalRuns

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Vitrine: a glass case for vision models. Put a picture and some models in, and look how each sees it.",
)
screen = Console()
errors = Console(stderr=True)

PORTS_TRIED = 20
WORKER_LEAVES_S = 15.0

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on.", min=1, max=65535)]


class RefusalError(Exception):
    """What was asked for is not done; the message says why and what helps."""


@app.command()
def up(host: Host = None, port: Port = None) -> None:
    """Starts Redis, the workers and the page on this machine; Ctrl-C stops everything."""
    from backend.devredis import development_redis
    from backend.settings import WebSettings

    settings = read_settings(WebSettings, **_given(host=host, port=port))
    configure_logging(settings)
    with ExitStack() as stack:
        stack.enter_context(_leaving_quietly())
        if not settings.has_own_queue_url:
            url = stack.enter_context(development_redis(settings.data_dir / "redis"))
            settings = read_settings(WebSettings, **_given(host=host, port=port), queue_redis_url=url)
        supervisor = stack.enter_context(_supervisor(settings.queue_redis_url))
        _serve(settings, explicit_port=port is not None, supervisor=supervisor)


@app.command()
def web(host: Host = None, port: Port = None) -> None:
    """Serves the page and the API; Redis and workers run elsewhere."""
    from backend.settings import WebSettings

    settings = read_settings(WebSettings, **_given(host=host, port=port))
    configure_logging(settings)
    with _leaving_quietly():
        _serve(settings, explicit_port=port is not None)


@app.command()
def worker() -> None:
    """Computes: one worker process for each GPU, or one on the CPU; restarts them when they die."""
    from workers import supervisor

    raise typer.Exit(supervisor.main([]))


@app.command()
def explain(
    photos: Annotated[list[Path], typer.Argument(help="Picture files.", exists=True, dir_okay=False)],
    model: Annotated[list[str], typer.Option(help="Model, by name; several with commas or by repeating.")],
    method: Annotated[list[str], typer.Option(help="Method, by name; several with commas or by repeating.")],
    out: Annotated[Path, typer.Option(help="Folder for the evidence, one folder in it for each model and method.")],
    param: Annotated[list[str] | None, typer.Option(help="Setting as name=value, or method.name=value.")] = None,
    preset: Annotated[str | None, typer.Option(help="Named settings, such as fast, where a method has them.")] = None,
    target: Annotated[str | None, typer.Option(help="Class to explain, as number or name.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.", min=0)] = 0,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the folder.")] = False,
) -> None:
    """Explains photographs without browser or Redis and writes the evidence into a folder.

    Several photographs are explained one by one, each into a folder of its own; methods that take several pictures
    explain them together with --param joint=true.
    """
    from backend.evidence_folder import FolderTakenError, check_folder
    from backend.uploads import read_picture
    from workers.asking import is_joint, plan_questions, read_settings_of
    from workers.local import open_local_runs
    from workers.settings import WorkerSettings

    runs = open_local_runs(read_settings(WorkerSettings, **_given(device=device)))
    settings = read_settings_of(_split(method), runs.methods, given=param or [], preset=preset)
    joint = {name for name in settings if is_joint(runs.methods[name], settings[name])}
    asked = plan_questions(photos, models=_split(model), methods=_split(method), joint=joint, out=out)
    try:
        for question in asked:
            check_folder(question.folder, force=force)
    except FolderTakenError as error:
        raise RefusalError(str(error)) from error
    read = [read_picture(photo.read_bytes(), max_pixels=50_000_000, name=photo.name) for photo in photos]
    exhibit = Exhibit([Photo(*one) for one in read], target=target, seed=seed, force=force)
    failed = [question for question in asked if not _answer(runs, question, exhibit, settings[question.method])]
    raise typer.Exit(1 if failed else 0)


@app.command()
def train(
    kind: Annotated[str, typer.Argument(help="What to train; an unknown name tells what there is.")],
    model: Annotated[str, typer.Option(help="Model to train an explainer for, by name.")],
    data: Annotated[str, typer.Option(help="Folder with one sub-folder for each class, or birds or birds:<number>.")],
    preset: Annotated[
        str | None, typer.Option(help="Named settings, such as demo; by default what suits here.")
    ] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="Setting as name=value.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of explainers; by default VITRINE_EXPLAINERS_DIR.")] = None,
    title: Annotated[str, typer.Option(help="Name of the explainer, for people.")] = "",
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:<number>.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew instead of going on from a checkpoint.")
    ] = False,
) -> None:
    """Trains an explainer for a model, without browser or Redis.

    Ctrl-C stops with a checkpoint kept; the same command goes on from there.
    """
    from workers.settings import WorkerSettings
    from workers.training_terminal import Order, train_here

    settings = read_settings(WorkerSettings, **_given(device=device))
    configure_logging(settings.model_copy(update={"log_level": LogLevel.WARNING}))  # the bar says the rest
    order = Order(kind, model, data, preset, setting or (), out, title, restart)
    raise typer.Exit(train_here(order, settings, screen))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
def evaluate(context: typer.Context) -> None:
    """Measures a finished explainer again, also on classes that it never saw; --help tells how."""
    from workers import evaluation_terminal

    evaluation_terminal.run(context.args)


@app.command()
def doctor() -> None:
    """Looks at everything that Vitrine needs and says what to do about what is missing."""
    from backend.devredis import find_server
    from workers.doctor import Verdict, examine
    from workers.settings import WorkerSettings

    table = Table("", "What", "Found", "What to do")
    worst: Verdict = Verdict.GOOD
    for finding in examine(read_settings(WorkerSettings), own_server=lambda: find_server().name):
        sign = {Verdict.GOOD: "[green]ok[/]", Verdict.NOTE: "[yellow]note[/]", Verdict.BAD: "[red]bad[/]"}
        table.add_row(sign[finding.verdict], finding.subject, escape(finding.found), escape(finding.remedy))
        worst = Verdict.BAD if finding.verdict is Verdict.BAD else worst
    screen.print(table)
    raise typer.Exit(1 if worst is Verdict.BAD else 0)


def main() -> None:
    """Runs the command line; wrong settings, problems and refusals are told in words, not with a traceback."""
    from backend.devredis import RedisMissingError

    try:
        app()
    except ProblemError as error:
        _complain(error.to_problem().title, error.message)
        sys.exit(1)
    except (SettingsError, RedisMissingError, RefusalError) as error:
        errors.print(escape(str(error)), soft_wrap=True)
        sys.exit(2)


# explain ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Photo:
    """One photograph as it is explained."""

    record: PictureRecord
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Exhibit:
    """The photographs and what is the same for every question about them."""

    photos: Sequence[Photo]
    target: str | None
    seed: int
    force: bool


def _answer(runs: LocalRuns, question: Question, exhibit: Exhibit, params: dict[str, Any]) -> bool:
    """Computes and writes one answer; returns whether it worked."""
    from backend.evidence_folder import write_evidence
    from workers.asking import find_target

    title = f"{runs.methods[question.method].title} · {question.model}{question.words}"
    first, *others = [exhibit.photos[place] for place in question.places]
    try:
        with _passes_bar(title) as emit:
            answer = runs.explain(
                first.pixels,
                model=question.model,
                method=question.method,
                params=params,
                target=find_target(exhibit.target, runs.methods[question.method], runs.loader, question.model),
                seed=exhibit.seed,
                further=[photo.pixels for photo in others],
                record=first.record,
                emit=emit,
            )
    except ProblemError as error:
        _complain(f"{title}: {error.to_problem().title}", error.message)
        return False
    write_evidence(
        question.folder,
        answer.manifest,
        answer.blobs.__getitem__,
        picture_png=answer.picture_png,
        further_pngs=answer.further_pngs,
        force=exhibit.force,
    )
    passes = f"{answer.manifest.passes:,} {'pass' if answer.manifest.passes == 1 else 'passes'}"
    screen.print(f"[bold]{escape(title)}[/]  {answer.manifest.seconds:.1f} s, {passes}")
    if answer.manifest.texts.reading:
        screen.print(escape(answer.manifest.texts.reading), soft_wrap=True)
    screen.print(escape(str(question.folder)), style="dim", soft_wrap=True)
    return True


@contextmanager
def _passes_bar(title: str) -> Iterator[Any]:
    from backend.contract.schemas import Progress as Passes

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} passes {task.fields[stage]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(title, total=1, stage="")

        def emit(update: object) -> None:
            if isinstance(update, Passes):
                bar.update(task, completed=update.done, total=update.total, stage=update.stage)

        yield emit


def _split(values: Sequence[str]) -> list[str]:
    """Returns the names of a list given with commas or by repeating, each once."""
    return list(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))


# up and web ---------------------------------------------------------------------------------------------------------


def _serve(settings: WebSettings, *, explicit_port: bool, supervisor: subprocess.Popen[bytes] | None = None) -> None:
    """Serves until told to stop."""
    import uvicorn

    from backend.serving import uvicorn_options
    from frontend.server import create_server

    explicit_port = explicit_port or "port" in settings.model_fields_set
    with _listen(settings.host, settings.port, fall_back=not explicit_port) as listener:
        port = listener.getsockname()[1]
        settings = settings.model_copy(update={"port": port})
        server = _announcing(uvicorn.Server)(uvicorn.Config(create_server(settings), **uvicorn_options(settings)))
        server.address = f"http://{'127.0.0.1' if settings.host == '0.0.0.0' else settings.host}:{port}"
        if supervisor is not None:
            threading.Thread(target=_stop_with, args=(supervisor, server), daemon=True).start()
        server.run(sockets=[listener])


def _announcing(base: Any) -> Any:
    class Announcing(base):  # type: ignore[misc]
        """Says where the page is as soon as it can be opened."""

        address = ""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                screen.print(f"Vitrine is at {self.address}", highlight=False)

    return Announcing


def _stop_with(supervisor: subprocess.Popen[bytes], server: Any) -> None:
    status = supervisor.wait()
    if not server.should_exit:
        errors.print(f"The workers stopped (status {status}), so everything stops.")
        server.should_exit = True


def _listen(host: str, port: int, *, fall_back: bool) -> socket.socket:
    """Returns a listening socket on the port, or on one of the next when that is taken.

    Raises:
        RefusalError: If none can be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, port + (PORTS_TRIED if fall_back else 1)):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
            listener.listen(2048)
        except OSError:
            listener.close()
            continue
        return listener
    raise RefusalError(f"{host}:{port} cannot be used, perhaps because something else listens there. Try --port.")


@contextmanager
def _supervisor(queue_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs the workers' supervisor beside this process; it leaves with us, however we end."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.supervisor", "--lifeline-fd", str(reading)],
        env={**os.environ, "VITRINE_QUEUE_REDIS_URL": queue_url},
        stdin=subprocess.DEVNULL,
        pass_fds=(reading,),
        start_new_session=True,
    )
    os.close(reading)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(WORKER_LEAVES_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(writing)


@contextmanager
def _leaving_quietly() -> Iterator[None]:
    """Makes Ctrl-C and SIGTERM end the block in order, so that everything it opened is closed."""

    def leave(*_: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


def _given(**options: Any) -> dict[str, Any]:
    """Returns the options that were given on the command line; the others come from the environment."""
    return {name: value for name, value in options.items() if value is not None}


def _complain(title: str, message: str) -> None:
    errors.print(f"[bold red]{escape(title)}.[/] {escape(message)}", soft_wrap=True)


if __name__ == "__main__":
    main()
