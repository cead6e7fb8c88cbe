"""Message batches of a fake Messages API: they end after some polls, and their results come out of order.

Each request is answered by the script, once; an error of the script comes back as errored. A request whose text
contains FAIL_THIS comes back as errored too, one with EXPIRE_THIS as expired.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

from aiohttp import web

from nightlab.testing.messages_script import KINDS, Fail

ROUTE = "/v1/messages/batches"
Answer = Callable[[dict[str, Any]], "dict[str, Any] | Fail"]


class Batches:
    """The batches that were sent, and how far each is."""

    def __init__(
        self,
        answer: Answer,
        now: Callable[[], str],
        record: Callable[[web.Request, dict[str, Any], int], None] = lambda request, body, status: None,
        *,
        polls: int = 2,
    ) -> None:
        self.polls = polls
        """How often a batch is asked for before it has ended."""
        self.expired = 0
        """So many of the next requests in batches expire."""
        self._answer, self._now, self._record = answer, now, record
        self._batches: dict[str, dict[str, Any]] = {}

    def routes(self) -> list[web.RouteDef]:
        """Where batches are made, asked for, listed, cancelled and deleted."""
        return [
            web.post(ROUTE, self._create),
            web.get(ROUTE, self._list),
            web.get(ROUTE + "/{id}", self._retrieve),
            web.delete(ROUTE + "/{id}", self._delete),
            web.post(ROUTE + "/{id}/cancel", self._cancel),
            web.get(ROUTE + "/{id}/results", self._results),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = f"msgbatch_{uuid.uuid4().hex[:20]}"
        url = f"{request.url.origin()}{ROUTE}/{name}/results"
        kept = {
            "id": name,
            "requests": body["requests"],
            "asked": 0,
            "made": self._now(),
            "url": url,
            "cancelled": False,
        }
        self._batches[name] = kept
        self._record(request, body, 200)
        return web.json_response(self._shown(kept))

    async def _retrieve(self, request: web.Request) -> web.Response:
        batch = self._find(request)
        batch["asked"] += 1
        return web.json_response(self._shown(batch))

    async def _list(self, _: web.Request) -> web.Response:
        rows = [self._shown(batch) for batch in reversed(self._batches.values())]
        first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
        return web.json_response({"data": rows, "has_more": False, "first_id": first, "last_id": last})

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self._find(request)
        batch["cancelled"] = True
        return web.json_response(self._shown(batch))

    async def _delete(self, request: web.Request) -> web.Response:
        batch = self._find(request)
        del self._batches[batch["id"]]
        return web.json_response({"id": batch["id"], "type": "message_batch_deleted"})

    async def _results(self, request: web.Request) -> web.Response:
        batch = self._find(request)
        rows = [
            {"custom_id": item["custom_id"], "result": self._result(batch, item)}
            for item in reversed(batch["requests"])
        ]
        self._record(request, {}, 200)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        return web.Response(text=text, content_type="application/x-jsonl")

    def _find(self, request: web.Request) -> dict[str, Any]:
        batch = self._batches.get(request.match_info["id"])
        if batch is None:
            error = {"type": "not_found_error", "message": f"no batch {request.match_info['id']}"}
            text = json.dumps({"type": "error", "error": error})
            raise web.HTTPNotFound(text=text, content_type="application/json")
        return batch

    def _result(self, batch: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
        if batch["cancelled"]:
            return {"type": "canceled"}
        if "FAIL_THIS" in json.dumps(item):
            error = {"type": "invalid_request_error", "message": "as the request asks"}
            return {"type": "errored", "error": {"type": "error", "error": error, "request_id": "req_batch"}}
        if "EXPIRE_THIS" in json.dumps(item):
            return {"type": "expired"}
        if "result" not in item:
            item["result"] = self._answered(item["params"])
        result: dict[str, Any] = item["result"]
        return result

    def _answered(self, params: dict[str, Any]) -> dict[str, Any]:
        if self.expired:
            self.expired -= 1
            return {"type": "expired"}
        answer = self._answer(params)
        if isinstance(answer, Fail):
            error = {"type": answer.kind or KINDS.get(answer.status, "api_error"), "message": answer.message}
            return {"type": "errored", "error": {"type": "error", "error": error, "request_id": "req_batch"}}
        return {"type": "succeeded", "message": answer}

    def _shown(self, batch: dict[str, Any]) -> dict[str, Any]:
        ended = batch["asked"] >= self.polls or batch["cancelled"]
        kinds = [self._result(batch, item)["type"] for item in batch["requests"]] if ended else []
        counts = {kind: kinds.count(kind) for kind in ("succeeded", "errored", "canceled", "expired")}
        return {
            "id": batch["id"],
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": {"processing": 0 if ended else len(batch["requests"]), **counts},
            "created_at": batch["made"],
            "expires_at": batch["made"],
            "ended_at": self._now() if ended else None,
            "cancel_initiated_at": batch["made"] if batch["cancelled"] else None,
            "archived_at": None,
            "results_url": batch["url"] if ended else None,
        }
