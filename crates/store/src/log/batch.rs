//! The commands that go into one commit.

use std::collections::HashSet;

use domain::TenantId;
use uuid::Uuid;

use super::append::{Command, DecidedOn, LastCommits, Streams};
use super::cache::StreamKey;
use super::job::Job;
use super::unit::{Claim, NewEvent, Touched, Work};

/// A decided command.
pub(super) struct Entry {
    pub(super) job: Box<dyn Job>,
    pub(super) touched: Vec<Touched>,
    pub(super) events: Vec<NewEvent>,
    pub(super) claims: Vec<Claim>,
    /// Commands that share a decided stream are stored together or not at all.
    pub(super) group: i32,
}

impl Entry {
    pub(super) fn tenant(&self) -> TenantId {
        self.job.tenant()
    }

    /// The stream whose version is answered: the first that the command touched.
    pub(super) fn primary(&self) -> Uuid {
        self.touched.first().map_or(Uuid::nil(), |touched| touched.key.stream)
    }

    pub(super) fn as_command(&self) -> Command<'_> {
        Command {
            context: self.job.context(),
            group: self.group,
            primary: self.primary(),
            receipt: self.job.receipt(),
            claims: &self.claims,
            events: &self.events,
        }
    }
}

/// One batch in the making.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) streams: Streams,
    pub(super) tenants: LastCommits,
    keys: HashSet<(TenantId, Uuid, String)>,
    claims: HashSet<(TenantId, String)>,
    pub(super) bytes: usize,
    next_group: i32,
}

impl Batch {
    /// Whether a command with this key is in the batch already; its answer is not known before the commit.
    pub(super) fn has_key_of(&self, job: &dyn Job) -> bool {
        let context = job.context();
        context.key.as_ref().is_some_and(|key| {
            self.keys.contains(&(context.caller.tenant(), context.caller.actor().id, key.key.clone()))
        })
    }

    /// Whether another command of the batch takes one of these claims.
    pub(super) fn has_claim_of(&self, tenant: TenantId, work: &Work) -> bool {
        work.claims.iter().any(|claim| self.claims.contains(&(tenant, claim.name.clone())))
    }

    /// What is left of a batch: the streams of the others are nothing to it.
    pub(super) fn of_rest(entries: Vec<Entry>, mut tenants: LastCommits, mut streams: Streams) -> Self {
        let touched: HashSet<StreamKey> =
            entries.iter().flat_map(|entry| &entry.touched).map(|touched| touched.key).collect();
        streams.retain(|key, _| touched.contains(key));
        let involved: HashSet<TenantId> = entries.iter().map(Entry::tenant).collect();
        tenants.retain(|tenant, _| involved.contains(tenant));
        let bytes = entries.iter().map(|entry| bytes(&entry.events)).sum();
        Self { entries, streams, tenants, bytes, ..Self::default() }
    }

    /// Adds a decided command, of a tenant whose head this process has left with that commit, if ever.
    pub(super) fn push(&mut self, job: Box<dyn Job>, work: Work, last_commit: Option<Uuid>) {
        let context = job.context();
        let tenant = context.caller.tenant();
        self.tenants.entry(tenant).or_insert(last_commit);
        if let Some(key) = &context.key {
            self.keys.insert((tenant, context.caller.actor().id, key.key.clone()));
        }
        self.claims.extend(work.claims.iter().map(|claim| (tenant, claim.name.clone())));
        self.bytes += bytes(&work.events);
        let group = self.group_of(&work.touched);
        for touched in &work.touched {
            let vouched_for = touched.vouched_for;
            let first = touched.expected.map(|expected| DecidedOn { expected, vouched_for, group });
            self.streams.entry(touched.key).or_insert(first);
        }
        let Work { touched, events, claims, .. } = work;
        self.entries.push(Entry { job, touched, events, claims, group });
    }

    /// The group of the streams that were decided on, merged into one when they belonged to several.
    fn group_of(&mut self, touched: &[Touched]) -> i32 {
        let known: HashSet<i32> = touched
            .iter()
            .filter_map(|touched| self.streams.get(&touched.key).copied().flatten())
            .map(|decided_on| decided_on.group)
            .collect();
        let Some(group) = known.iter().min().copied() else {
            self.next_group += 1;
            return self.next_group;
        };
        if known.len() > 1 {
            for stream in self.streams.values_mut().flatten().filter(|stream| known.contains(&stream.group)) {
                stream.group = group;
            }
            for entry in self.entries.iter_mut().filter(|entry| known.contains(&entry.group)) {
                entry.group = group;
            }
        }
        group
    }
}

/// Of event data.
fn bytes(events: &[NewEvent]) -> usize {
    events.iter().map(|event| event.data.get().len()).sum()
}
