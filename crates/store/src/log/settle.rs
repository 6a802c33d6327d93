//! What a commit has come to: clients are answered, states kept or forgotten, and what was not stored is tried again.

use std::collections::HashMap;

use domain::TenantId;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::append::{Answers, Appended, failure};
use super::batch::{Batch, Entry};
use super::commit::{Commit, Failed};
use super::job::{Finish, Job};
use super::snapshot;
use super::writer::Writer;
use crate::error::{is_connection_end, is_lock_timeout, is_taken_version};
use crate::tasks::spawn;
use crate::{CrashPoint, Error};

/// How often a command is decided again because another process was faster, or its commit's outcome is unknown.
const MAX_LOST_RACES: u32 = 100;

/// Commands whose commits have ended and whose clients wait for nothing but to be told.
#[derive(Default)]
pub(super) struct Stored {
    /// With the number and the version of the last event.
    commands: Vec<(Box<dyn Job>, u64, u64)>,
    /// The last number of each tenant.
    heads: HashMap<TenantId, u64>,
}

impl Stored {
    fn push(&mut self, job: Box<dyn Job>, seq: u64, version: u64) {
        let head = self.heads.entry(job.tenant()).or_default();
        *head = seq.max(*head);
        self.commands.push((job, seq, version));
    }
}

impl Writer {
    /// Answers everybody in the batch but those whose events were stored, or lines them up once more.
    pub(super) fn settle(&mut self, Commit { id, batch, connection, answers }: Commit) {
        self.release(batch.tenants.keys());
        let (connection, rest) = match answers {
            Ok(answers) => {
                CrashPoint::AfterCommit.reached();
                (connection, self.answer(id, batch, answers))
            }
            Err(failed) => (self.fail(batch, failed, connection), None),
        };
        self.end(connection, rest);
    }

    /// Keeps the states of what was stored, answers the other clients, decides again on what has moved. Answers what is still to
    /// be appended as it is, if anything.
    fn answer(&mut self, commit: Uuid, batch: Batch, answers: Answers) -> Option<Batch> {
        for (tenant, found) in answers.heads {
            self.states.moved(tenant, found, commit);
        }
        let (mut again, mut held) = (Vec::new(), Vec::new());
        for (entry, answer) in batch.entries.into_iter().zip(answers.commands) {
            match answer {
                Appended::Stored { seq, version } => {
                    self.meters.events.increment(entry.events.len() as u64);
                    self.keep(&entry, seq);
                    self.stored.push(entry.job, seq, version);
                }
                Appended::Replayed { seq, version, receipt } => {
                    entry.job.finish(Finish::Replayed { seq, version, receipt });
                }
                Appended::KeyReused => entry.job.finish(Finish::KeyReused),
                Appended::Claimed(claim) => entry.job.finish(Finish::Claimed(claim)),
                Appended::UnknownTenant => entry.job.finish(Finish::Failed(Error::UnknownTenant)),
                Appended::Conflict => {
                    self.meters.conflicts.increment(1);
                    for touched in &entry.touched {
                        self.states.forget(&touched.key);
                    }
                    again.push(entry.job);
                }
                Appended::Held => held.push(entry),
            }
        }
        for job in again.into_iter().rev() {
            self.retry_or(job, |_| true, Error::Overloaded);
        }
        (!held.is_empty()).then(|| Batch::of_rest(held, batch.tenants, batch.streams))
    }

    /// Tells the clients of stored commands, and whoever is to hear of a commit.
    pub(super) fn answer_stored(&mut self) {
        if self.stored.heads.is_empty() {
            return;
        }
        for (job, seq, version) in self.stored.commands.drain(..) {
            job.finish(Finish::Stored { seq, version });
        }
        (self.on_commit)(&self.stored.heads.drain().collect::<Vec<_>>());
    }

    /// Nothing is known to be stored. Answers the connection if it can be used again.
    fn fail(&mut self, batch: Batch, failed: Failed, connection: Option<PgConnection>) -> Option<PgConnection> {
        for tenant in batch.tenants.keys() {
            self.states.forget_head(*tenant);
        }
        match failed {
            Failed::NotConnected(error) => {
                let mut error = Some(error);
                for entry in batch.entries {
                    let error = error.take().map_or(Error::Unavailable(sqlx::Error::PoolTimedOut), Error::from);
                    entry.job.finish(Finish::Failed(error));
                }
            }
            Failed::Append(error) if is_connection_end(&error) => {
                tracing::warn!(%error, commands = batch.entries.len(), "the connection was lost during a commit");
                self.meters.lost_commits.increment(1);
                self.states_are_unsure(&batch);
                for mut entry in batch.entries {
                    entry.job.outcome_is_unknown();
                    self.retry_or(entry.job, |job| job.context().key.is_some(), Error::OutcomeUnknown);
                }
                return None;
            }
            // Something in it makes PostgreSQL refuse it as a whole: find out what, and store the rest. It was rolled back, so
            // what is known of committed states still holds.
            Failed::Append(error) if batch.entries.len() > 1 => {
                tracing::warn!(%error, commands = batch.entries.len(), "a batch failed and is tried command by command");
                self.alone.extend(batch.entries.into_iter().map(|entry| entry.job));
            }
            Failed::Append(error) if is_taken_version(&error) => {
                tracing::warn!(%error, "a version that was taken for granted was another's");
                self.states_are_unsure(&batch);
                for entry in batch.entries {
                    self.retry_or(entry.job, |_| true, Error::Overloaded);
                }
            }
            Failed::Append(error) => {
                self.states_are_unsure(&batch);
                if is_lock_timeout(&error) {
                    self.give_up_on(&batch);
                }
                let mut error = Some(error);
                for entry in batch.entries {
                    entry.job.finish(Finish::Failed(error.take().map_or(Error::OutcomeUnknown, failure)));
                }
            }
        }
        connection
    }

    /// A tenant whose head is locked by somebody else is tried once: each further attempt of those that go alone would keep
    /// all others waiting as long.
    fn give_up_on(&mut self, batch: &Batch) {
        let locked = |job: &dyn Job| batch.entries.iter().any(|entry| entry.tenant() == job.tenant());
        let (given_up, others) = std::mem::take(&mut self.alone).into_iter().partition(|job| locked(job.as_ref()));
        self.alone = others;
        for job in given_up {
            job.finish(Finish::Failed(Error::Overloaded));
        }
    }

    /// Moves the states after a stored command into the cache; now and then also into the database.
    fn keep(&mut self, entry: &Entry, seq: u64) {
        for touched in &entry.touched {
            self.states.commit(&touched.key, seq);
            let (Some(before), Some((after, fold))) = (touched.expected, &touched.after) else { continue };
            if before / self.settings.snapshot_every != after.version / self.settings.snapshot_every {
                let (database, key, known, fold) = (self.database.clone(), touched.key, after.clone(), *fold);
                let meters = self.meters.clone();
                spawn("snapshot", async move {
                    match snapshot::store(&database, key, &known, fold).await {
                        Ok(()) => meters.snapshots.increment(1),
                        Err(error) => tracing::debug!(tenant = %key.tenant, %error, "a snapshot was not stored"),
                    }
                });
            }
        }
    }

    fn states_are_unsure(&mut self, batch: &Batch) {
        for key in batch.streams.keys() {
            self.states.forget(key);
        }
    }

    fn retry_or(&mut self, mut job: Box<dyn Job>, may_retry: impl Fn(&dyn Job) -> bool, error: Error) {
        if may_retry(job.as_ref()) && job.lost_race() <= MAX_LOST_RACES {
            self.next.push_front(job);
        } else {
            job.finish(Finish::Failed(error));
        }
    }
}
