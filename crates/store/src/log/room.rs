//! How much a log takes on: a bound on commands that are not answered yet, in number and in bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room of a log.
pub(super) struct Room {
    commands: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    most_bytes: u32,
    most_commands: usize,
}

/// Room for one command, given back when dropped: when the command is answered, wherever it has been until then.
pub(super) struct Place {
    _command: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(commands: usize, bytes: usize) -> Self {
        let most_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let most_commands = commands.min(Semaphore::MAX_PERMITS);
        Self {
            commands: Arc::new(Semaphore::new(most_commands)),
            bytes: Arc::new(Semaphore::new(most_bytes as usize)),
            most_bytes,
            most_commands,
        }
    }

    /// How many commands have a place, and their bytes.
    pub(super) fn load(&self) -> (usize, usize) {
        let commands = self.most_commands.saturating_sub(self.commands.available_permits());
        (commands, (self.most_bytes as usize).saturating_sub(self.bytes.available_permits()))
    }

    /// A place for a command of about so many bytes, if there is one. A command larger than the whole room is let in
    /// alone.
    pub(super) fn take(&self, bytes: usize) -> Option<Place> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.most_bytes);
        let command = self.commands.clone().try_acquire_owned().ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(bytes).ok()?;
        Some(Place { _command: command, _bytes: bytes })
    }

    pub(super) fn is_full(&self) -> bool {
        self.commands.available_permits() == 0 || self.bytes.available_permits() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_commands_and_bytes_until_they_are_answered() {
        let room = Room::new(2, 100);
        let first = room.take(60).unwrap();
        assert!(room.take(41).is_none(), "too many bytes");
        let second = room.take(40).unwrap();
        assert!(room.is_full() && room.take(0).is_none(), "too many commands");
        assert_eq!(room.load(), (2, 100));
        drop(first);
        assert!(!room.is_full());
        drop(second);
        let large = room.take(1_000_000).unwrap();
        assert!(room.is_full() && room.take(1).is_none());
        drop(large);
        assert!(room.take(100).is_some());
    }
}
