"""Records costs of every kind, and remembers what they must come to, counted in whole 10^-12: the other way than the
consumer that it examines.

billing_costs.py record <URL> <file> <rounds>    billing_costs.py expect <file>
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone

UNITS = 10**12
NOW = datetime.now(timezone.utc)
# Late, and in another ledger.
LAST_MONTH = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=1)


def call(url, token, path, body):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
    while True:
        request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise RuntimeError(f"{path}: {error.code} {error.read().decode()}") from error
            time.sleep(0.2)


def units(amount):
    whole, _, part = amount.lstrip("-").partition(".")
    number = int(whole) * UNITS + int(part.ljust(12, "0") or 0)
    return -number if amount.startswith("-") else number


def text(number):
    if number is None:
        return None
    whole, part = divmod(abs(number), UNITS)
    return ("-" if number < 0 else "") + f"{whole}.{part:012}".rstrip("0").rstrip(".")


class Expected:
    """What each ledger must come to."""

    def __init__(self, file):
        self.file = file
        self.ledgers = json.load(open(file)) if os.path.exists(file) else {}

    def row(self, cost):
        month = cost["occurred_at"][:7]
        ledger = self.ledgers.setdefault(f"ledger/{month}", {"version": 0, "totals": {}})
        ledger["version"] += 1
        none = {"amount": None, "recorded": 0, "voided": 0, "unpriced": 0}
        return ledger["totals"].setdefault(cost.get("currency", ""), none)

    def recorded(self, cost, sign=1):
        row = self.row(cost)
        row["recorded" if sign > 0 else "voided"] += 1
        if "amount" in cost:
            row["amount"] = (row["amount"] or 0) + sign * units(cost["amount"])
        else:
            row["unpriced"] += sign

    def save(self):
        with open(self.file, "w") as out:
            json.dump(self.ledgers, out)


def costs():
    """One of each kind."""
    usage = [{"type": "output_text", "quantity": 42}]
    now, late = {"occurred_at": NOW.isoformat()}, {"occurred_at": LAST_MONTH.isoformat()}
    llm = {"service": "llm", "provider": "openai", "model": "gpt-4o", "usage": usage, **now}
    usd = {**llm, "currency": "USD"}
    return [
        {**usd, "amount": "0.000000000001"},
        {**usd, "amount": "999999999999.999999999999"},
        {**usd, "amount": "0.1"},
        {**usd, "amount": "-0.05"},
        {**llm, "currency": "EUR", "amount": "12.30"},
        {"service": "voice", "provider": "elevenlabs", **now},
        {**llm, "currency": "JPY"},
        {**usd, "amount": "7", **late},
        {**usd, "amount": "0.25", **late},
    ]


def record(url, file, rounds):
    login = {"email": os.environ["BILLING_EMAIL"], "password": os.environ["BILLING_PASSWORD"]}
    token = call(url, "", "/v1/auth/login", login)["access_token"]
    expected = Expected(file)
    for _ in range(int(rounds)):
        # Each alone, and all again in a batch; of both some are voided.
        for cost in costs():
            cost["id"] = call(url, token, "/v1/costs", cost)["id"]
            expected.recorded(cost)
            if cost.get("amount") in (None, "0.1", "0.25"):
                call(url, token, f"/v1/costs/{cost['id']}/void", {})
                expected.recorded(cost, -1)
        batch = [{**cost, "id": str(uuid.uuid4())} for cost in costs()]
        results = call(url, token, "/v1/costs/batch", {"items": [*batch, batch[0]]})["results"]
        assert [result["status"] for result in results] == ["created"] * len(batch) + ["duplicate"], results
        for cost in batch:
            expected.recorded(cost)
        expected.save()


def expect(file):
    """The lines that a consumer must print, without their beginning."""
    for ledger, row in Expected(file).ledgers.items():
        totals = [{"currency": currency or None, **total, "amount": text(total["amount"])}
                  for currency, total in sorted(row["totals"].items())]
        print(ledger, row["version"], json.dumps(totals))


{"record": record, "expect": expect}[sys.argv[1]](*sys.argv[2:])
