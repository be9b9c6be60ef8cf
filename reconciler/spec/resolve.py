"""What all files claim → what the fleet holds: one place for each name, engines and their users, last good versions.

Incremental: the cost of a change grows with what it touches, not with the fleet.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, TypeVar, cast

from reconciler import engines as dialects
from reconciler.model.fleet import Workload
from reconciler.model.gateway import Access, Route, is_loopback
from reconciler.model.kinds import Engine, Model, Node, Workable
from reconciler.model.source import Problem, Source
from reconciler.spec.check import Declared, Key, Reading, Space
from reconciler.spec.document import Keys
from reconciler.spec.explain import Finding, dotted, show
from reconciler.spec.params import params_findings

Place = Callable[[str, Declared, Keys], tuple[int, int]]
"""Line and column of a key of what a file declares."""
Mark = str | tuple[str, ...]
"""What only one resource may have: a model name, the hash of a key, a host with a prefix."""
T = TypeVar("T")


@dataclass(slots=True)
class Holdings:
    """What is declared, all together. Mappings are replaced, never changed: an older Fleet keeps its own."""

    workloads: Mapping[str, Workload] = field(default_factory=dict[str, Workload])
    engines: Mapping[str, Engine] = field(default_factory=dict[str, Engine])
    nodes: Mapping[str, Node] = field(default_factory=dict[str, Node])
    access: Mapping[str, Access] = field(default_factory=dict[str, Access])
    routes: Mapping[str, Route] = field(default_factory=dict[str, Route])
    slots: Mapping[str, str] = field(default_factory=dict[str, str])


class Resolver:
    """Claims by name, and what comes of them."""

    def __init__(self, root: str, name: str, place: Place) -> None:
        self._root = root
        self._name = name
        self._place = place
        self._claims: dict[Key, tuple[tuple[str, Declared], ...]] = {}
        self._marked: dict[Mark, tuple[Key, ...]] = {}
        self._shared: set[Key] = set()
        self._clashing: set[Mark] = set()
        self._users: dict[str, set[Key]] = {}
        self._fallers: dict[str, set[Key]] = {}
        self._draft = _Draft(Holdings())
        self.holdings = Holdings()
        self.problems: dict[Key, tuple[Problem, ...]] = {}

    def shared(self, keys: set[Key]) -> set[Key]:
        """Of these names, those that are claimed more than once."""
        return keys & self._shared

    def holders(self, key: Key) -> tuple[str, ...]:
        """The files that claim a name."""
        return tuple(path for path, _ in self._claims.get(key, ()))

    def replace(self, path: str, old: Iterable[Declared], new: Iterable[Declared]) -> set[Key]:
        """A file declares something else now. The names to resolve again."""
        touched: set[Key] = set()
        for claim in old:
            touched.add(claim.key)
            self._drop(path, claim, touched)
        for claim in new:
            touched.add(claim.key)
            self._add(path, claim, touched)
        return touched

    def resolve(self, touched: set[Key]) -> None:
        """Decide again for these names, and for what hangs on them."""
        self._draft = _Draft(self.holdings)
        rest: set[Key] = set()
        for key in touched:
            if key[0] == "runs":
                rest.add(key)
        plain = touched - rest
        access = {key for key in plain if key[0] == "access"}
        for key in sorted(access):
            self._resolve_plain(key)
        if bool(self._draft.access) != bool(self.holdings.access):
            plain |= {key for key in self._claims if key[0] == "nodes"}
        for key in sorted(plain - access):
            self._resolve_plain(key)
            if key[0] == "engines":
                rest |= self._users.get(key[1], set())
        for key in sorted(rest, key=itemgetter(1)):
            self._resolve_workload(key)
        self.holdings = self._draft.done()

    def _add(self, path: str, claim: Declared, touched: set[Key]) -> None:
        key, spec = claim.key, claim.spec
        others = self._claims.get(key)
        if others is None:
            self._claims[key] = ((path, claim),)
        else:
            self._claims[key] = (*others, (path, claim))
            self._shared.add(key)
        for mark in _marks(claim):
            others = self._marked.get(mark)
            if others is None:
                self._marked[mark] = (key,)
            else:
                touched.update(others)
                self._marked[mark] = (*others, key)
                self._clashing.add(mark)
        if spec.kind == "Model":
            engine = spec.engine or dialects.default_engine(spec.source)
            self._users.setdefault(engine, set()).add(key)
            for name in spec.fallback:
                self._fallers.setdefault(name, set()).add(key)
            touched.update(self._fallers.get(key[1], ()))

    def _drop(self, path: str, claim: Declared, touched: set[Key]) -> None:
        key, spec = claim.key, claim.spec
        kept = tuple(pair for pair in self._claims.get(key, ()) if pair[0] != path or pair[1] is not claim)
        if kept:
            self._claims[key] = kept
        else:
            self._claims.pop(key, None)
        if len(kept) < 2:
            self._shared.discard(key)
        for mark in _marks(claim):
            others = list(self._marked.get(mark, ()))
            if key in others:
                others.remove(key)
            touched.update(others)
            if others:
                self._marked[mark] = tuple(others)
            else:
                self._marked.pop(mark, None)
            if len(others) < 2:
                self._clashing.discard(mark)
        if spec.kind == "Model" and not kept:
            engine = spec.engine or dialects.default_engine(spec.source)
            self._users.get(engine, set()).discard(key)
            for name in spec.fallback:
                self._fallers.get(name, set()).discard(key)
            touched.update(self._fallers.get(key[1], ()))

    def _resolve_plain(self, key: Key) -> None:
        """Anything that does not run."""
        claims = self._claims.get(key, ())
        self.problems.pop(key, None)
        if len(claims) > 1:
            self.problems[key] = self._twice(claims, key)
            return
        problems: list[Problem] = []
        for path, claim in claims:
            problems += self._clashes(path, claim) if self._clashing else []
            if isinstance(claim.spec, Node) and not self._draft.access:
                problems += [self._problem(path, claim, finding) for finding in _open(claim.spec)]
        if problems:
            self.problems[key] = tuple(problems)
        else:
            self._draft.plain(*key, next((claim.spec for _, claim in claims), None))

    def _resolve_workload(self, key: Key) -> None:
        claims = self._claims.get(key)
        self.problems.pop(key, None)
        if claims is None:
            self._draft.workload(key[1], None)
            return
        (path, claim), *others = claims
        if others:
            self.problems[key] = self._twice(claims, key)
            return
        problems = self._clashes(path, claim) if self._clashing else []
        if claim.spec.kind == "Model" and claim.spec.fallback:
            problems += [self._problem(path, claim, finding) for finding in self._fallbacks(claim.spec)]
        if not problems:
            made = self._build(path, claim)
            if isinstance(made, Workload):
                self._draft.workload(key[1], made)
                return
            problems = [self._problem(path, claim, finding) for finding in made]
        self.problems[key] = tuple(problems)

    def _build(self, path: str, claim: Declared) -> Workload | list[Finding]:
        if claim.made is not None and claim.made.engine not in self._draft.engines:
            return claim.made
        spec = cast("Workable", claim.spec)
        above = path.rpartition("/")[0]
        made = dialects.workload(
            spec,
            source=Source(path=f"{self._name}/{path}", line=claim.line, pause=claim.pause),
            directory=f"{self._root}/{above}" if above else self._root,
            engines=self._draft.engines,
        )
        if isinstance(made, dialects.Unfit):
            return [Finding((made.field,), made.why)]
        if made.template is not None and isinstance(spec, Model):
            findings = params_findings(spec.params, made.template.params, made.template.name)
            if findings:
                return findings
        return made

    def _fallbacks(self, spec: Model) -> list[Finding]:
        """Models that cannot answer in its place."""
        found: list[Finding] = []
        for index, name in enumerate(spec.fallback):
            claims = self._claims.get(("runs", name), ())
            why = "" if any(claim.spec.kind == "Model" for _, claim in claims) else "no model of that name is declared"
            why = "it would answer in its own place" if name == spec.name else why
            if why:
                found.append(Finding(("fallback", index), f"cannot be {show(name)}: {why}; name another model"))
        return found

    def _clashes(self, path: str, claim: Declared) -> list[Problem]:
        """What somebody else has that only one may have."""
        problems: list[Problem] = []
        for mark in _marks(claim):
            if mark not in self._clashing:
                continue
            others = sorted({key for key in self._marked.get(mark, ()) if key != claim.key})
            for other in others:
                where, rival = self._claims[other][0]
                if _weighed(claim) and _weighed(rival):
                    continue  # they share its requests
                line = self._place(where, rival, ("name",))[0]
                finding = _clash(claim, mark, f"{other[1]} ({self._name}/{where}:{line})")
                problems.append(self._problem(path, claim, finding))
        return problems

    def _twice(self, claims: tuple[tuple[str, Declared], ...], key: Key) -> tuple[Problem, ...]:
        """One name in several places: every place names the others."""
        places = [(path, claim, self._place(path, claim, ("name",))) for path, claim in claims]
        texts = [f"{self._name}/{path}:{line}" for path, _, (line, _) in places]
        problems: list[Problem] = []
        for index, (path, claim, _) in enumerate(places):
            others = ", ".join(sorted(texts[:index] + texts[index + 1 :]))
            message = f"cannot be {key[1]}: declared in {others} too; rename one or remove it"
            problems.append(self._problem(path, claim, Finding(("name",), message)))
        return tuple(problems)

    def _problem(self, path: str, claim: Declared, finding: Finding) -> Problem:
        line, column = self._place(path, claim, finding.keys)
        return Problem(
            path=f"{self._name}/{path}",
            line=line,
            column=column,
            key=dotted(finding.keys),
            message=finding.message,
            names=(claim.key[1],) if claim.key[0] == "runs" else (),
        )


def _marks(claim: Declared) -> tuple[Mark, ...]:
    """What only it may have, once each: model names that requests may use for it, hashes of keys, sites."""
    spec = claim.spec
    match claim.key[0]:
        case "runs":
            if spec.kind == "Model" and (spec.aliases or spec.adapters):
                return tuple(dict.fromkeys((spec.name, *spec.aliases, *(adapter.name for adapter in spec.adapters))))
            return (spec.name,)
        case "access":
            return tuple(("key", key.sha256) for key in cast("Access", spec).keys)
        case "routes":
            return tuple(("site", *site) for site in cast("Route", spec).sites)
        case _:
            return ()


def _clash(claim: Declared, mark: Mark, other: str) -> Finding:
    """That somebody else has it too."""
    spec = claim.spec
    if isinstance(mark, str):
        keys: Keys = ("name",) if mark == claim.key[1] else ("aliases",)
        if isinstance(spec, Model) and mark in {adapter.name for adapter in spec.adapters}:
            keys = ("adapters",)
        advice = "choose another name for one of them, or give both a weight to share its requests"
        return Finding(keys, f"cannot answer to {mark}: {other} answers to it too; {advice}")
    if isinstance(spec, Access):
        index = [key.sha256 for key in spec.keys].index(mark[1])
        return Finding(("keys", index), f"cannot have this key: {other} has it too; remove it from one of them")
    place = f"{mark[1] or 'every host'}{mark[2]}"
    keys = ("hosts",) if mark[1] else ("prefix",)
    return Finding(keys, f"cannot be for {place}: {other} is for it too; choose another host or prefix for one of them")


def _open(node: Node) -> list[Finding]:
    """Addresses that others can reach: not where nobody needs a key."""
    advice = "declare a kind: Access (`holdfast key new` makes a key), or listen on 127.0.0.1"
    return [
        Finding(
            ("gateway", "listen", index),
            f"cannot listen on {address}, where others can reach it: no key is asked for; {advice}",
        )
        for index, address in enumerate(node.gateway.listen)
        if not is_loopback(address)
    ]


def _weighed(claim: Declared) -> bool:
    return isinstance(claim.spec, Model) and claim.spec.weight is not None


def declares(reading: Reading) -> set[Key]:
    """The names in a reading."""
    return {claim.key for claim in reading.declared}


class _Draft:
    """Holdings in the making: each mapping is copied when it is first changed."""

    def __init__(self, before: Holdings) -> None:
        self._before = before
        self._workloads: dict[str, Workload] | None = None
        self._slots: dict[str, str] | None = None
        self._plain: dict[Space, dict[str, Any]] = {}

    @property
    def engines(self) -> Mapping[str, Engine]:
        """As they are by now."""
        return self._plain.get("engines", self._before.engines)

    @property
    def access(self) -> Mapping[str, Access]:
        """As they are by now."""
        return self._plain.get("access", self._before.access)

    def plain(self, space: Space, name: str, spec: object) -> None:
        """Anything that does not run; None: nothing any more."""
        draft = _put(getattr(self._before, space), self._plain.get(space), name, spec)
        if draft is not None:
            self._plain[space] = draft

    def workload(self, name: str, made: Workload | None) -> None:
        now = self._before.workloads if self._workloads is None else self._workloads
        old = now.get(name)
        if old is made or (old is not None and old == made):
            return
        if self._workloads is None:
            self._workloads = dict(self._before.workloads)
        if made is None:
            del self._workloads[name]
        else:
            self._workloads[name] = made
        if old is not None and made is not None and old.digest == made.digest and old.replicas == made.replicas:
            return
        if self._slots is None:
            self._slots = dict(self._before.slots)
        count = made.replicas[0] if made is not None else 0
        if made is not None:
            digest = made.digest
            for index in range(count):
                self._slots[f"{name}/{index}"] = digest
        # what stays keeps its place: a dict with gaps takes five times as long to copy
        for index in range(count, old.replicas[0] if old is not None else 0):
            del self._slots[f"{name}/{index}"]

    def done(self) -> Holdings:
        """The same object where nothing changed."""
        changed: dict[str, Any] = {**self._plain}
        if self._workloads is not None:
            changed["workloads"] = self._workloads
        if self._slots is not None:
            changed["slots"] = self._slots
        return replace(self._before, **changed) if changed else self._before


def _put(before: Mapping[str, T], draft: dict[str, T] | None, name: str, value: T | None) -> dict[str, T] | None:
    """The draft with a name set, or removed; none is made for what is so already."""
    now = before if draft is None else draft
    if now.get(name) == value:
        return draft
    made = dict(before) if draft is None else draft
    if value is None:
        del made[name]
    else:
        made[name] = value
    return made
