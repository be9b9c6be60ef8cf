"""What a daemon says of one workload when it is asked."""

from dataclasses import replace

from reconciler.model.answers import About, Launched, Run, Written
from reconciler.model.metrics import Histogram, ReplicaMetrics
from tests.api.daemon import METRICS as TOLD
from tests.tui.worlds import WALL

YAML = """\
# what most people talk to
kind: Model
name: chat
source: hf:Qwen/Qwen3-32B
engine: vllm
gpus: {count: 1, memory: 60GiB}
replicas: 2
env:
  HF_TOKEN: {secret: hf-token}
args: ["--max-num-seqs", 64]   # measured
"""
ARGV = (
    "/usr/bin/vllm", "serve", "/var/lib/holdfast/models/Qwen3-32B", "--served-model-name", "chat", "--host",
    "127.0.0.1", "--port", "9000", "--max-model-len", "32768", "--enable-prefix-caching",
    "--override-generation-config", '{"temperature": 0.6}', "--max-num-seqs", "64",
)  # fmt: skip


def about(name: str = "chat") -> About:
    return About(
        name=name,
        written=(Written(path="fleet.d/chat.yaml", line=1, text=YAML),),
        launches=tuple(
            Launched(
                slot=f"{name}/{index}", run=3, engine="vllm", runtime="process", argv=ARGV, gpus=(index,),
                port=9000 + index, env={"HF_TOKEN": "{secret: hf-token}", "CUDA_VISIBLE_DEVICES": f"GPU-{index}"},
            )
            for index in range(2)
        ),
        runs=(
            Run(
                slot=f"{name}/0", run=3, began=WALL - 4000, ended=None, outcome="runs", first_failure=False, size=90_000
            ),
            Run(
                slot=f"{name}/0", run=2, began=WALL - 4100, ended=WALL - 4010, first_failure=False, size=40_000,
                outcome="exited with status 1 (torch.OutOfMemoryError: CUDA out of memory)",
            ),
            Run(
                slot=f"{name}/0", run=1, began=WALL - 90_000, ended=WALL - 4100, first_failure=True, size=3_000_000,
                outcome="was killed by signal 9",
            ),
            Run(
                slot=f"{name}/1", run=1, began=None, ended=None, outcome="how it ended is not known",
                first_failure=False, size=0,
            ),
        ),
    )  # fmt: skip


_FIRST = TOLD[0]
assert _FIRST.metrics is not None
METRICS = (
    replace(_FIRST, metrics=replace(_FIRST.metrics, next_token=Histogram(count=10, sum=0.12))),
    ReplicaMetrics(slot="chat/1", engine="vllm", detail="it is not ready"),
)
_SAID = b"".join(
    b"INFO 11-21 12:00:%02d [loggers.py:118] Engine 000: Avg generation throughput: %d tokens/s\n" % (n, n * 3)
    for n in range(40)
)
LOG = _SAID + b"WARNING 11-21 12:01:00 [scheduler.py:12] preempted a request: the cache is full\n"
