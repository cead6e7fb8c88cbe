"""/metrics: the Prometheus gauges and counters that vLLM names, as far as this server has them."""

from __future__ import annotations

from nightlab.servers.embedded.scheduler import Counts


def metrics_text(counts: Counts, model: str) -> str:
    """The text of /metrics; adapters are no label, as in vLLM."""
    label = f'model_name="{_escaped(model)}"'
    lines: list[str] = []

    def put(name: str, kind: str, value: float, more: str = "") -> None:
        lines.append(f"vllm:{name}{{{label}{more}}} {float(value)}")

    for name, kind, value in (
        ("num_requests_running", "gauge", counts.running),
        ("num_requests_waiting", "gauge", counts.waiting),
        ("prompt_tokens_total", "counter", counts.prompted),
        ("generation_tokens_total", "counter", counts.generated),
        ("iterations_total", "counter", counts.steps),
        ("busy_seconds_total", "counter", counts.busy_seconds),
    ):
        lines.append(f"# TYPE vllm:{name} {kind}")
        put(name, kind, value)
    lines.append("# TYPE vllm:request_success_total counter")
    for reason in ("stop", "length", "abort"):
        put("request_success_total", "counter", counts.finished.get(reason, 0), f',finished_reason="{reason}"')
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
