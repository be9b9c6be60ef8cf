"""The command line: verbs, their arguments, and where each is done (`module:function` of this package)."""

import argparse
from collections.abc import Callable, Sequence

from reconciler import __version__

_Add = Callable[[argparse.ArgumentParser], object]
SUPPRESS = argparse.SUPPRESS


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was typed; its `does` names the verb's function. Exits with 2 and usage where it is wrong."""
    return _parser().parse_args(arguments)


def _parser() -> argparse.ArgumentParser:
    places = argparse.ArgumentParser(add_help=False)
    group = places.add_argument_group("where")
    group.add_argument("--fleet", metavar="DIR", default=SUPPRESS, help="the fleet's directory (HOLDFAST_FLEET)")
    group.add_argument("--state", metavar="DIR", default=SUPPRESS, help="the state directory (HOLDFAST_STATE)")
    group.add_argument("--socket", metavar="PATH", default=SUPPRESS, help="the daemon's socket (HOLDFAST_SOCKET)")
    group.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=SUPPRESS,
        help="how much the daemon tells of itself (default: info)",
    )
    parser = argparse.ArgumentParser(
        prog="holdfast",
        description="Keeps the models you declared in git running on the GPUs you have.",
        epilog="`holdfast VERB --help` tells more of each.",
        parents=[places],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, title="verbs")
    for name, does, tells, add in _VERBS:
        verb = verbs.add_parser(name, help=tells, description=tells, parents=[places], allow_abbrev=False)
        verb.set_defaults(does=does, verb=name)
        add(verb)
    return parser


def _seconds(text: str) -> float:
    from reconciler.model.quantity import parse_duration

    try:
        return parse_duration(float(text) if text.replace(".", "", 1).isdigit() else text).total_seconds()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"cannot be {text!r}; {error}") from None


def _run_number(text: str) -> int | str:
    if text in ("first", "first-failure"):
        return "first-failure"
    if text.isdigit() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"cannot be {text!r}; write a run's number, or first for the first failure")


def _replicas(text: str) -> int | None:
    if text == "auto":
        return None
    if text.isdigit() and int(text) <= 1000:
        return int(text)
    raise argparse.ArgumentTypeError(f"cannot be {text!r}; choose 0-1000, or auto for what the file says")


def _count(text: str) -> int:
    if text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"cannot be {text!r}; write a number")


def _directory(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("directory", metavar="DIR", nargs="?", help="the fleet's directory")


def _name(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", help="a model or service")


def _slot(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME[/INDEX]", help="a model or service, or one of its instances")


def _json(verb: argparse.ArgumentParser, what: str = "as JSON") -> None:
    verb.add_argument("--json", action="store_true", help=what)


def _up(verb: argparse.ArgumentParser) -> None:
    _directory(verb)
    verb.add_argument("--detach", action="store_true", help="leave the daemon in the background once all is ready")
    verb.add_argument("--wait", metavar="TIME", type=_seconds, default=120.0, help="how long --detach waits (120s)")
    verb.add_argument("--inventory", metavar="FILE", help="simulate this machine's GPUs by an inventory file")


def _down(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--engines", action="store_true", help="stop every engine too")


def _run(verb: argparse.ArgumentParser) -> None:
    _directory(verb)
    verb.add_argument("--group", metavar="NAME", help="let members of this group use the socket too")
    verb.add_argument("--inventory", metavar="FILE", help="simulate this machine's GPUs by an inventory file")


def _validate(verb: argparse.ArgumentParser) -> None:
    _directory(verb)
    _json(verb)


def _plan(verb: argparse.ArgumentParser) -> None:
    _directory(verb)
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, as schemas/plan.schema.json describes it")
    # no default: argparse would not notice that it was typed beside --json
    form.add_argument("--format", choices=("text", "markdown"), help="markdown: to paste into a pull request (text)")
    verb.add_argument(
        "--inventory",
        metavar="FILE",
        action="append",
        default=[],
        help="plan for the machine in this file, empty; again for one more beside it",
    )
    verb.add_argument("--against", metavar="REV", help="what changes on a machine that runs this git revision")
    verb.add_argument("--detailed-exitcode", action="store_true", help="0 nothing to do, 2 changes, 1 error")
    verb.add_argument("--steps", action="store_true", help="every pass too, in the planner's words")


def _apply(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--prune", action="store_true", help="consent to the removals that are held")
    verb.add_argument(
        "--wait", metavar="TIMEOUT", type=_seconds, nargs="?", const=300.0, help="until converged (at most 300s)"
    )


def _status(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", nargs="?", help="only this model or service, in detail")
    _json(verb)
    verb.add_argument("--watch", action="store_true", help="go on until interrupted")


def _logs(verb: argparse.ArgumentParser) -> None:
    _slot(verb)
    verb.add_argument("-f", "--follow", action="store_true", help="go on with what it will write")
    verb.add_argument("--run", metavar="N", type=_run_number, help="a run by number, or first for the first failure")
    verb.add_argument("--lines", metavar="N", type=_count, default=200, help="so many of the last lines (200)")
    verb.add_argument("--raw", action="store_true", help="as it was written, control sequences included")


def _events(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", nargs="?", help="only of this model, service, instance, or daemon")
    verb.add_argument("-f", "--follow", action="store_true", help="go on with what will happen")
    verb.add_argument("--since", metavar="SEQ", type=_count, help="all after this number; else the newest 50")
    _json(verb, "one JSON object a line")


def _scale(verb: argparse.ArgumentParser) -> None:
    _name(verb)
    verb.add_argument("replicas", metavar="N|auto", type=_replicas, help="so many; auto: what its file says")


def _chat(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", help="a model's name or alias")
    verb.add_argument("message", metavar="MESSAGE", nargs="*", help="one question; without it, a conversation")


def _schema(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--check", action="store_true", help="only say whether they are current")
    verb.add_argument("--into", metavar="DIR", default="schemas", help="where they are written (schemas)")


def _install(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _uninstall(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
    verb.add_argument("--purge", action="store_true", help="the fleet's files, secrets and the state too")


def _nothing(_: argparse.ArgumentParser) -> None:
    return None


_VERBS: tuple[tuple[str, str, str, _Add], ...] = (
    ("up", "lifecycle:up", "start the daemon and show how the fleet comes up", _up),
    ("down", "lifecycle:down", "stop the daemon; engines go on unless --engines", _down),
    ("run", "lifecycle:run", "the daemon in the foreground, for systemd", _run),
    ("validate", "offline:validate", "check the files, without a daemon", _validate),
    ("plan", "plan:plan", "what would happen, and why", _plan),
    ("apply", "ask:apply", "look again now; consent to what is held", _apply),
    ("status", "look:status", "how every model does", _status),
    ("logs", "look:logs", "what an instance has written", _logs),
    ("events", "look:events", "what happened", _events),
    ("restart", "ask:restart", "replace its instances, or one of them", _slot),
    ("stop", "ask:stop", "stop it until it is resumed", _name),
    ("pause", "ask:pause", "do nothing to it until it is resumed", _name),
    ("resume", "ask:resume", "undo stop and pause", _name),
    ("scale", "ask:scale", "run so many instances, whatever its file says", _scale),
    ("chat", "chat:chat", "talk to a model", _chat),
    ("install", "install:install", "make the daemon a service of this machine (systemd)", _install),
    ("uninstall", "install:uninstall", "take the service away; the fleet and its state stay", _uninstall),
    ("inventory", "offline:inventory", "this machine's GPUs, as a file for plan --inventory", _nothing),
    ("doctor", "doctor:doctor", "what is missing or unsafe here, and the command that mends it", _nothing),
    ("schema", "offline:schema", "write the JSON Schema of the files and the description of the API", _schema),
)
