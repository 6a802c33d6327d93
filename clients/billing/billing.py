"""billing.py CONVOLOG_URL NATS_URL FILE SECONDS: follows a tenant's costs, proves now and then that none is missing."""
import asyncio, json, os, sqlite3, sys, urllib.request
from decimal import Context, Decimal, Inexact, InvalidOperation, setcontext
import nats

URL, NATS, FILE, SECONDS = sys.argv[1:]
SIGN = {"convolog.ledger.cost_recorded.v1": 1, "convolog.ledger.cost_voided.v1": -1}  # what it does not know stops it
setcontext(Context(prec=60, traps=[Inexact, InvalidOperation]))  # exact, or an error
headers = {"Content-Type": "application/json"}
db = sqlite3.connect(FILE, isolation_level=None)
db.execute("create table if not exists events (ledger text, version int, event text, primary key (ledger, version))")

def ask(path, body=None):
    return json.load(urllib.request.urlopen(urllib.request.Request(URL + path, body, headers), timeout=30))

def log_in():
    login = {"email": os.environ["BILLING_EMAIL"], "password": os.environ["BILLING_PASSWORD"]}
    reply = ask("/v1/auth/login", json.dumps(login).encode())
    headers["Authorization"] = f"Bearer {reply['access_token']}"
    return reply["tenant"]["id"].replace("-", "")

def keep(event):  # once, however often it comes
    row = (event["subject"], event["streamversion"], json.dumps(event))
    db.execute("insert or ignore into events values (?, ?, ?)", row)

async def follow(message):
    keep(json.loads(message.data))

def gapless(ledger, last):  # the events 1, 2, 3, … up to the last, or to the first that is missing
    rows = db.execute("select version, event from events where ledger = ? and version <= ? order by 1", (ledger, last))
    return [json.loads(event) for number, (version, event) in enumerate(rows, 1) if version == number]

def complete(ledger, last):  # the same, but what NATS has not brought is read from the log
    events, head = gapless(ledger, last), sys.maxsize
    after = int(events[-1]["sequence"]) if events else 0
    while len(events) < last and after < head:
        page = ask(f"/v1/events?category=ledger&limit=200&after={after}")
        for event in page["data"]:
            keep(event)
        events, after, head = gapless(ledger, last), page["next_after"], page["head"]
    return events

def add_up(events):  # per currency: amount, recorded, voided, unpriced
    totals = {}
    for event in events:
        sign, charge = SIGN[event["type"]], event["data"]["charge"]
        total = totals.setdefault(charge.get("currency"), [None, 0, 0, 0])
        total[1 if sign > 0 else 2] += 1
        total[3] += sign * ("amount" not in charge)
        if "amount" in charge:
            total[0] = (total[0] or 0) + sign * Decimal(charge["amount"])
    return totals

def prove(ledger, last, totals):
    ours, theirs = add_up(complete(ledger, last)), {}
    for t in totals:
        theirs[t["currency"]] = [t["amount"] and Decimal(t["amount"]), t["recorded"], t["voided"], t["unpriced"]]
    if ours != theirs:
        sys.exit(f"NOT PROVED: {ledger} up to {last}: {ours} here, {theirs} there")
    print("proved", ledger, last, json.dumps(totals), flush=True)

async def main():
    client = await nats.connect(NATS, max_reconnect_attempts=-1)
    await client.subscribe(f"events.*.{log_in()}.ledger.>", cb=follow)
    await client.flush()
    while True:
        log_in()  # a token lasts five minutes
        for period in ask("/v1/costs/periods?limit=200")["data"]:
            prove(period["stream"], period["last_version"], period["totals"])
        await asyncio.sleep(float(SECONDS))

asyncio.run(main())
