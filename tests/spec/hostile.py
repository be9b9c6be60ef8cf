"""Hostile YAML and what must come of it: every row of what loaders are known to get wrong. Run as a program, it reads
each row within a memory limit of its own and prints how long that took."""

import os
import resource
import sys
import time
from dataclasses import dataclass

from reconciler.spec.check import Reading
from tests.spec.place import read

MEMORY = 32 * 2**20
SECONDS = 0.05
MODEL = "kind: Model\nname: chat\nsource: hf:org/repo\n"


@dataclass(frozen=True)
class Row:
    name: str
    text: str
    problem: str = ""
    """Part of its one problem; empty where it is good."""
    at: tuple[int, int] = (0, 0)


BOMB = "\n".join(["a0: &a0 [x,x,x,x,x,x,x,x]", *(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 8)}]" for i in range(1, 7))])
ROWS = (
    Row("200 kB of brackets", "[" * 200_000, "cannot be nested more than 64 deep", (1, 65)),
    Row("200 kB of braces", "{a: " * 50_000, "cannot be nested more than 64 deep", (1, 257)),
    Row("200 kB of dashes", "- " * 100_000, "cannot be nested more than 64 deep", (1, 129)),
    Row("200 kB of question marks", "? " * 100_000, "cannot be nested more than 64 deep", (1, 129)),
    Row(
        "a block nested 3,000 deep",
        "".join(f"{' ' * depth}a:\n" for depth in range(500)) + "".join(f"{' ' * 500}- " * 1 for _ in range(2500)),
        "cannot be nested more than 64 deep",
        (65, 65),
    ),
    Row("a list of 65,000 items", "- a\n" * 65_000, "cannot be a list", (1, 1)),
    Row("an alias bomb", BOMB, "cannot be an anchor", (1, 5)),
    Row("a duplicate key", MODEL + "gpus: 1\ngpus: 2\n", "cannot be written twice, on lines 4 and 5", (5, 1)),
    Row("a cycle", MODEL + "params: &a [*a]\n", "cannot be an anchor", (4, 9)),
    Row("a country that is no", MODEL + "labels: {country: no}\n"),
    Row("a key that is on", MODEL + "labels: {on: there}\n"),
    Row("010", MODEL + "labels: {v: 010}\n"),
    Row("12:30:45", MODEL + "labels: {v: 12:30:45}\n"),
    Row("NUL as it is", MODEL + "dtype: a\0b\n", "cannot be read: character U+0000", (4, 9)),
    Row("NUL escaped", MODEL + 'dtype: "a\\0b"\n', "cannot hold the character NUL", (4, 8)),
    Row("two documents", MODEL + "---\n" + MODEL.replace("chat", "other")),
    Row("a Python object", MODEL + "x: !!python/object/apply:os.system [id]\n", "cannot have a tag", (4, 4)),
    Row("a tag of somebody", MODEL + "dtype: !foo bar\n", "cannot have a tag", (4, 8)),
    Row("half a surrogate pair", MODEL + 'dtype: "\\ud800"\n', "cannot be read as YAML", (4, 11)),
    Row("an integer of 5,000 digits", MODEL + f"context: {'1' * 5000}\n", "cannot be this number", (4, 10)),
    Row("an integer of 40 digits", MODEL + f"args: [{'1' * 40}]\n", "cannot be this number", (4, 8)),
    Row("a merge", MODEL + "labels: {<<: {a: b}}\n", "cannot merge", (4, 10)),
    Row(".nan for a number", MODEL + "priority: .nan\n", "cannot be this number", (4, 11)),
    Row(".inf for a duration", MODEL + "update: {drain: .inf}\n", "cannot be this number", (4, 17)),
    Row("-.inf for an argument", MODEL + "args: [-.inf]\n", "cannot be this number", (4, 8)),
)
"""Rows whose name is about a scalar are good files: what they mean is in test_document."""


def measure(row: Row) -> float:
    """Seconds it took to read a row in a process that may take 32 MiB more than it has; raises if it needed more."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
        begun = time.process_time()
        read(row.text.encode(), "f.yaml")
        os.write(w, str(time.process_time() - begun).encode())
        os._exit(0)
    os.close(w)
    _, status = os.waitpid(pid, 0)
    answer = os.read(r, 100)
    os.close(r)
    if status != 0 or not answer:
        raise MemoryError(f"{row.name}: status {status}")
    return float(answer)


def reading(row: Row) -> Reading:
    return read(row.text.encode("utf-8", "surrogatepass"), "f.yaml")


if __name__ == "__main__":
    read(MODEL.encode() + b"x: &a 1\n", "f.yaml")  # what is loaded once is not counted
    for each in ROWS:
        sys.stdout.write(f"{each.name}\t{measure(each)}\n")
