//! The parameters of `append_batch`: what a batch has, as columns, with every event's place in its tenant and its stream.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::TenantId;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};
use uuid::Uuid;

use super::append::{Answers, Appended, Command, DecidedOn, LastCommits, Streams, meta};
use super::cache::StreamKey;

/// One array per parameter. Tenants, streams and commands are named by their places, counted from 1.
#[derive(Default)]
pub(super) struct Arrays<'a> {
    tenants: Vec<Uuid>,
    /// How many events each tenant gets; while the arrays are filled, how many it has got so far.
    tenant_events: Vec<i32>,
    last_commits: Vec<Option<Uuid>>,

    stream_tenants: Vec<i32>,
    streams: Vec<Uuid>,
    expected: Vec<Option<i64>>,
    known: Vec<Option<i64>>,
    /// The group that each stream belongs to; no parameter.
    pub(super) groups: Vec<Option<i32>>,

    command_tenants: Vec<i32>,
    actors: Vec<Uuid>,
    keys: Vec<Option<&'a str>>,
    hashes: Vec<Option<&'a [u8]>>,
    receipts: Vec<&'a str>,
    command_seqs: Vec<i32>,
    command_streams: Vec<Option<i32>>,
    command_versions: Vec<Option<i32>>,

    claim_commands: Vec<i32>,
    claims: Vec<&'a str>,
    claim_backs: Vec<i32>,

    event_tenants: Vec<i32>,
    event_seqs: Vec<i32>,
    event_streams: Vec<i32>,
    event_versions: Vec<i32>,
    categories: Vec<&'a str>,
    ids: Vec<Uuid>,
    names: Vec<&'a str>,
    schemas: Vec<i16>,
    data: Vec<&'a str>,
    metas: Vec<String>,
    occurred: Vec<DateTime<Utc>>,
}

impl<'a> Arrays<'a> {
    pub(super) fn of(commands: &[Command<'a>], touched: &Streams, last_commits: Option<&LastCommits>) -> Self {
        let mut arrays = Self::default();
        arrays.tenants.extend(commands.iter().map(|command| command.context.caller.tenant().0));
        // As PostgreSQL orders them: all writers lock the heads in this order.
        arrays.tenants.sort_unstable();
        arrays.tenants.dedup();
        arrays.tenant_events = vec![0; arrays.tenants.len()];
        let last_commit = |tenant| last_commits?.get(&TenantId(tenant)).copied().flatten();
        arrays.last_commits = arrays.tenants.iter().copied().map(last_commit).collect();
        let mut places = HashMap::with_capacity(touched.len());
        for (key, decided) in touched {
            arrays.stream_tenants.push(count(arrays.place_of(key.tenant) + 1));
            arrays.streams.push(key.stream);
            let expected = |on: DecidedOn| on.expected.cast_signed();
            arrays.expected.push(decided.map(expected));
            arrays.known.push(decided.filter(|on| on.vouched_for).map(expected));
            arrays.groups.push(decided.map(|on| on.group));
            places.insert(*key, Counted { place: count(arrays.streams.len()), events: 0 });
        }
        for command in commands {
            arrays.push(command, &mut places);
        }
        arrays
    }

    fn push(&mut self, command: &Command<'a>, streams: &mut HashMap<StreamKey, Counted>) {
        let Command { context, events, claims, .. } = *command;
        let tenant = context.caller.tenant();
        let key_of = |stream| StreamKey { tenant, stream };
        let at = self.place_of(tenant);
        let meta = meta(context);
        for event in events {
            let Some(stream) = streams.get_mut(&key_of(event.stream)) else {
                unreachable!("every stream that gets events was touched")
            };
            stream.events += 1;
            self.tenant_events[at] += 1;
            self.event_tenants.push(count(at + 1));
            self.event_seqs.push(self.tenant_events[at]);
            self.event_streams.push(stream.place);
            self.event_versions.push(stream.events);
            self.categories.push(event.category);
            self.ids.push(event.id);
            self.names.push(event.event_type.name);
            self.schemas.push(event.event_type.schema.cast_signed());
            self.data.push(event.data.get());
            self.metas.push(meta.clone());
            self.occurred.push(event.occurred_at.unwrap_or(context.occurred_at));
        }
        for claim in claims {
            self.claim_commands.push(count(self.actors.len() + 1));
            self.claim_backs.push(count(events.len().saturating_sub(claim.event + 1)));
            self.claims.push(&claim.name);
        }
        let key = context.key.as_ref();
        let primary = streams.get(&key_of(command.primary));
        self.command_tenants.push(count(at + 1));
        self.actors.push(context.caller.actor().id);
        self.keys.push(key.map(|key| key.key.as_str()));
        self.hashes.push(key.map(|key| key.request_hash.as_slice()));
        self.receipts.push(command.receipt);
        self.command_seqs.push(self.tenant_events[at]);
        self.command_streams.push(primary.map(|stream| stream.place));
        self.command_versions.push(primary.map(|stream| stream.events));
    }

    fn place_of(&self, tenant: TenantId) -> usize {
        self.tenants.binary_search(&tenant.0).unwrap_or_else(|_| unreachable!("all tenants of the batch are there"))
    }

    /// The call, with every array in its place.
    pub(super) fn query(&self, commit: Option<Uuid>) -> Query<'_, Postgres, PgArguments> {
        sqlx::query(
            "select * from append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                                        $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)",
        )
        .bind(commit)
        .bind(&self.tenants)
        .bind(&self.tenant_events)
        .bind(&self.last_commits)
        .bind(&self.stream_tenants)
        .bind(&self.streams)
        .bind(&self.expected)
        .bind(&self.known)
        .bind(&self.command_tenants)
        .bind(&self.actors)
        .bind(&self.keys)
        .bind(&self.hashes)
        .bind(&self.receipts)
        .bind(&self.command_seqs)
        .bind(&self.command_streams)
        .bind(&self.command_versions)
        .bind(&self.claim_commands)
        .bind(&self.claims)
        .bind(&self.claim_backs)
        .bind(&self.event_tenants)
        .bind(&self.event_seqs)
        .bind(&self.event_streams)
        .bind(&self.event_versions)
        .bind(&self.categories)
        .bind(&self.ids)
        .bind(&self.names)
        .bind(&self.schemas)
        .bind(&self.data)
        .bind(&self.metas)
        .bind(&self.occurred)
    }

    /// The answers when everything was stored: what each command got follows from what there was before.
    pub(super) fn stored(&self, row: &PgRow) -> Result<Answers, sqlx::Error> {
        let heads: Vec<i64> = row.try_get("heads")?;
        let last_commits: Vec<Option<Uuid>> = row.try_get("last_commits")?;
        let versions: Vec<i64> = row.try_get("versions")?;
        let commands = self.command_tenants.iter().zip(&self.command_seqs);
        let streams = self.command_streams.iter().zip(&self.command_versions);
        let commands = commands.zip(streams).map(|((tenant, seq), (stream, version))| Appended::Stored {
            seq: (at(&heads, *tenant) + i64::from(*seq)).cast_unsigned(),
            version: stream
                .zip(*version)
                .map_or(0, |(stream, version)| at(&versions, stream) + i64::from(version))
                .cast_unsigned(),
        });
        let found = heads.iter().map(|head| head.cast_unsigned()).zip(last_commits);
        let tenants = self.tenants.iter().copied().map(TenantId);
        Ok(Answers { commands: commands.collect(), heads: tenants.zip(found).collect() })
    }
}

/// What is at a place, which counts from 1.
fn at(numbers: &[i64], place: i32) -> i64 {
    usize::try_from(place - 1).ok().and_then(|place| numbers.get(place)).copied().unwrap_or_default()
}

/// A stream's place, and how many events of the batch it has got so far.
struct Counted {
    place: i32,
    events: i32,
}

/// Of a batch, which is bounded.
fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
