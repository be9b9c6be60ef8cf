"""The command line: verbs, their arguments, and where each is done (`module:function` of this package)."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import NoReturn

from reconciler import __version__

_Add = Callable[[argparse.ArgumentParser], object]
SUPPRESS = argparse.SUPPRESS


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was typed; its `does` names the verb's function. Exits with 2 and usage where it is wrong."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser(typed[0] if typed else "")
    chosen, unknown = parser.parse_known_args(typed)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if "does" not in chosen:
        parser.error("the following arguments are required: VERB")
    return chosen


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A choice that is nearly one of many is told with that one, not with all."""
        typed = re.search(r"invalid choice: '(.+)' \(choose from (.*)\)$", message)
        near = get_close_matches(typed[1], re.findall(r"[^', ]+", typed[2]), n=1) if typed else []
        super().error(f"{message[: typed.end(1) + 1]}; did you mean {near[0]}?" if typed and near else message)


def _parser(verb: str = "") -> argparse.ArgumentParser:
    """Of that verb alone, where it is one: the others take as long as a short command."""
    places = _Parser(add_help=False)
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
    parser = _Parser(
        prog="holdfast",
        description="Keeps the models you declared in git running on the GPUs you have.",
        epilog="`holdfast VERB --help` tells more of each.",
        parents=[places],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", title="verbs")
    made: dict[str, _Parser] = {}
    groups = {"": verbs}
    for name, does, tells, add in [each for each in _VERBS if each[0].split()[0] == verb] or _VERBS:
        noun, _, act = name.rpartition(" ")
        if noun not in groups:
            groups[noun] = made[noun].add_subparsers(metavar="VERB", title="verbs")
        made[name] = groups[noun].add_parser(act, help=tells, description=tells, parents=[places], allow_abbrev=False)
        made[name].set_defaults(does=does, verb=name)
        add(made[name])
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


def _positive(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError(f"cannot be {text!r}; choose 1-1000000")


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(_positive, text.split(",")))


def _directory(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("directory", metavar="DIR", nargs="?", help="the fleet's directory")


def _name(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", help="a model or service")


def _anything(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", nargs="?", help="a model or service; the whole fleet when not given")


def _slot(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME[/INDEX]", help="a model or service, or one of its instances")


def _json(verb: argparse.ArgumentParser, what: str = "as JSON") -> None:
    verb.add_argument("--json", action="store_true", help=what)


def _up(verb: argparse.ArgumentParser) -> None:
    _directory(verb)
    verb.add_argument("--detach", action="store_true", help="leave the daemon in the background once all is ready")
    verb.add_argument("--plain", action="store_true", help="print how it comes up, instead of the dashboard")
    verb.add_argument("--wait", metavar="TIME", type=_seconds, default=120.0, help="how long --detach waits (120s)")
    verb.add_argument("--inventory", metavar="FILE", help="simulate this machine's GPUs by an inventory file")
    _look(verb)
    _shown_key(verb)


def _down(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--engines", action="store_true", help="stop the gateway and every engine too")


def _run(verb: argparse.ArgumentParser) -> None:
    _directory(verb)
    verb.add_argument("--group", metavar="NAME", help="let members of this group use the socket too")
    verb.add_argument("--gateways", metavar="NAME", help="let members of this group be gateways")
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
    verb.add_argument("--steps", action="store_true", help="every step too, in the planner's words")


def _apply(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--prune", action="store_true", help="consent to the removals that are held")
    verb.add_argument(
        "--wait", metavar="TIMEOUT", type=_seconds, nargs="?", const=300.0, help="until converged (at most 300s)"
    )


def _status(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", nargs="?", help="only this model or service, in detail")
    _json(verb)
    verb.add_argument("--watch", action="store_true", help="go on until interrupted")


def _metrics(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", nargs="?", help="only of this model")
    _json(verb, "as JSON, with histograms")


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


def _prune(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("sources", metavar="SOURCE", nargs="*", help="only these; else all that nobody needs")
    verb.add_argument("--older-than", metavar="TIME", type=_seconds, help="only what nobody needed or used for so long")
    verb.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    verb.add_argument("--yes", action="store_true", help="do not ask")


def _audit(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("files", metavar="FILE", nargs="*", help="instead of the daemon's, the oldest first")
    verb.add_argument("--verify", action="store_true", help="only say whether it is what was written; asks the daemon")
    _json(verb, "one JSON object a line")


def _key(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--name", metavar="NAME", default="clients", help="of the Access that it is for (clients)")
    verb.add_argument("--expires", metavar="TIME|DATE", help="90d, or 2027-01-31: good until that day ends in UTC")
    verb.add_argument("--note", metavar="TEXT", help="whose it is, for people")


def _bundle(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("models", metavar="MODEL", nargs="+", help="a declared model, or a source that is here")
    verb.add_argument("-o", "--output", metavar="FILE", required=True, help="the tar to write; - is stdout")
    verb.add_argument("--yaml", action="store_true", help="carry the files that declare them too")


def _import(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("file", metavar="FILE", help="what `holdfast bundle` wrote; - is stdin")
    verb.add_argument("--yaml", action="store_true", help="put the files that it carries into the fleet, over none")


def _scale(verb: argparse.ArgumentParser) -> None:
    _name(verb)
    verb.add_argument("replicas", metavar="N|auto", type=_replicas, help="so many; auto: what its file says")


def _chat(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", help="a model's name or alias")
    verb.add_argument("message", metavar="MESSAGE", nargs="*", help="one question; without it, a conversation")
    _gateway(verb)


def _afar(add: _Add) -> _Add:
    """The verb can be meant for another machine."""

    def also(verb: argparse.ArgumentParser) -> None:
        add(verb)
        _host(verb)

    return also


def _host(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--host", metavar="HOST", help="of the daemon there, by ssh: gpu2, or ada@gpu2")


def _gateway(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--url", metavar="URL", help="the gateway's address; else what the daemon says")
    _shown_key(verb)


def _shown_key(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--key-file", metavar="FILE", help="the key that is shown; else that in HOLDFAST_KEY")


def _top(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--once", action="store_true", help="print it once")
    _json(verb, "one JSON object a line")


def _look(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--theme", choices=("auto", "dark", "light", "ansi"), help="its colours (HOLDFAST_THEME, else the last choice)"
    )
    verb.add_argument("--interval", metavar="TIME", type=_pace, default=1.0, help="between two readings of meters (1s)")


def _pace(text: str) -> float:
    seconds = _seconds(text)
    if 0.2 <= seconds <= 60:
        return seconds
    raise argparse.ArgumentTypeError(f"cannot be {text!r}; choose 0.2s to 60s")


def _tui(verb: argparse.ArgumentParser) -> None:
    _machines(verb)
    _shown_key(verb)


def _machines(verb: argparse.ArgumentParser) -> None:
    _look(verb)
    verb.add_argument(
        "--host",
        metavar="HOST",
        dest="hosts",
        action="append",
        default=[],
        help="the machine to show, by ssh: gpu2, or ada@gpu2; again for one more; localhost is this one",
    )


def _web(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--listen", metavar="HOST:PORT", default="127.0.0.1:8643", help="where (127.0.0.1:8643)")
    verb.add_argument("--key-file", metavar="FILE", help="who may: browsers are asked for the key in this file")
    verb.add_argument(
        "--name",
        metavar="HOST",
        dest="names",
        action="append",
        default=[],
        help="a name by which browsers reach it, behind a proxy too; again for one more",
    )
    verb.add_argument("--sessions", metavar="N", type=_positive, default=8, help="browsers at once, at most (8)")
    _machines(verb)


def _bench(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("name", metavar="NAME", help="a model's name or alias")
    verb.add_argument(
        "--concurrency",
        metavar="N,…",
        type=_counts,
        default=(1, 4, 16),
        help="requests at once, one after another (1,4,16)",
    )
    much = verb.add_mutually_exclusive_group()
    much.add_argument("--requests", metavar="N", type=_positive, help="for each of these (32)")
    much.add_argument("--duration", metavar="TIME", type=_seconds, help="for each of these, instead of a number")
    verb.add_argument("--prompt-tokens", metavar="N", type=_positive, default=128, help="of each prompt, about (128)")
    verb.add_argument("--max-tokens", metavar="N", type=_positive, default=128, help="of an answer, at most (128)")
    _gateway(verb)
    _json(verb)


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
    ("up", "lifecycle:up", "start daemon and gateway, and show the fleet: on a terminal in the dashboard", _up),
    ("down", "lifecycle:down", "stop the daemon; gateway and engines go on unless --engines", _down),
    ("run", "lifecycle:run", "the daemon in the foreground, for systemd", _run),
    ("gateway", "gateway:gateway", "one address for every model, in the foreground, for systemd", _nothing),
    ("where", "where:where", "where the fleet, its daemon and its gateway are", _afar(_json)),
    ("validate", "offline:validate", "check the files, without a daemon", _validate),
    ("plan", "plan:plan", "what would happen, and why", _plan),
    ("apply", "ask:apply", "look again now; consent to what is held", _afar(_apply)),
    ("status", "look:status", "how every model does", _afar(_status)),
    ("top", "top:top", "what clients do and how models and GPUs bear it, live", _afar(_top)),
    ("tui", "dashboard:tui", "the dashboard: the fleet at a glance, live", _tui),
    ("web", "web:web", "the same in browsers, on loopback unless a key is set", _web),
    ("metrics", "look:metrics", "requests, tokens and times, as the engines count them", _afar(_metrics)),
    ("logs", "look:logs", "what an instance has written", _afar(_logs)),
    ("events", "look:events", "what happened", _afar(_events)),
    ("audit", "audit:audit", "who did what by command", _audit),
    ("models", "models:models", "the weights on this machine, who needs them and what could go", _json),
    ("models prune", "models:prune", "delete weights that nobody needs, after showing them", _prune),
    ("key", "key:known", "the keys of the gateway that the fleet knows", _json),
    ("key new", "key:new", "make a key, shown once, and what the fleet is to know of it", _key),
    ("key check", "key:check", "read a key from stdin, and say whose it is", _nothing),
    ("bundle", "carry:bundle", "write models into one tar, for a machine without internet", _bundle),
    ("import", "carry:take", "take the models of such a tar into this machine's cache", _import),
    ("restart", "ask:restart", "replace its instances, or one of them", _afar(_slot)),
    ("stop", "ask:stop", "stop it until it is resumed", _afar(_name)),
    ("pause", "ask:pause", "do nothing to it, or to the whole fleet, until it is resumed", _afar(_anything)),
    ("resume", "ask:resume", "undo stop and pause, or the pause of the whole fleet", _afar(_anything)),
    ("scale", "ask:scale", "run so many instances, whatever its file says", _afar(_scale)),
    ("chat", "chat:chat", "talk to a model, through the gateway", _afar(_chat)),
    ("bench", "bench:bench", "how fast a model answers, through the gateway", _bench),
    ("install", "install:install", "make daemon and gateway services of this machine (systemd)", _install),
    ("uninstall", "install:uninstall", "take the services away; the fleet and its state stay", _uninstall),
    ("inventory", "offline:inventory", "this machine's GPUs, as a file for plan --inventory", _nothing),
    ("doctor", "doctor:doctor", "what is missing or unsafe here, and the command that mends it", _nothing),
    ("schema", "offline:schema", "write the JSON Schema of the files and the description of the API", _schema),
)
