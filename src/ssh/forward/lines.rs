//! What comes from the client for its forwarded connections, by channel.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::ChannelId;
use tokio_util::sync::CancellationToken;

use crate::ssh::spill::{self, CAPACITY, Reader, SpillDir, Writer};

/// The forwarded channels of one connection.
///
/// Data may come for a channel that the client has just confirmed before the task that asked for it
/// goes on, so either of the two makes its entry.
pub(in crate::ssh) struct Lines {
    spill: Arc<SpillDir>,
    over: CancellationToken,
    entries: Mutex<HashMap<ChannelId, Entry>>,
}

/// russh's end of a line.
struct Entry {
    writer: Writer,
    reader: Option<Reader>,
    finished: bool,
    closed: CancellationToken,
    end: CancellationToken,
}

/// A task's end of a line; dropping it forgets the channel.
pub(super) struct Line {
    /// The client's data; `None` only if the line was taken twice.
    pub(super) input: Option<Reader>,
    /// The client wants nothing more.
    pub(super) closed: CancellationToken,
    /// All of it has to end now.
    pub(super) end: CancellationToken,
    lines: Arc<Lines>,
    id: ChannelId,
}

impl Lines {
    pub(super) fn new(spill: Arc<SpillDir>, over: CancellationToken) -> Self {
        Self {
            spill,
            over,
            entries: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self) -> Entry {
        let (writer, reader) = spill::spill(self.spill.clone(), CAPACITY);
        Entry {
            writer,
            reader: Some(reader),
            finished: false,
            closed: CancellationToken::new(),
            end: self.over.child_token(),
        }
    }

    /// Keeps what will come on a channel.
    pub(super) fn expect(&self, id: ChannelId) {
        self.lock().entry(id).or_insert_with(|| self.entry());
    }

    /// The task's end of a channel.
    pub(super) fn take(self: &Arc<Self>, id: ChannelId) -> Line {
        let mut entries = self.lock();
        let entry = entries.entry(id).or_insert_with(|| self.entry());
        Line {
            input: entry.reader.take(),
            closed: entry.closed.clone(),
            end: entry.end.clone(),
            lines: Arc::clone(self),
            id,
        }
    }

    /// Data for a forwarded connection; `false` if the channel is none. Never waits.
    pub(in crate::ssh) fn data(&self, id: ChannelId, data: &[u8]) -> bool {
        let entries = self.lock();
        let Some(entry) = entries.get(&id) else {
            return false;
        };
        if let Err(error) = entry.writer.push(data) {
            tracing::error!(channel = %id, error = &error as &dyn std::error::Error, "forward ended");
            entry.end.cancel();
        }
        true
    }

    /// The client sends no more data; `false` if the channel is no forwarded connection.
    pub(in crate::ssh) fn finish(&self, id: ChannelId) -> bool {
        let mut entries = self.lock();
        let entry = entries.get_mut(&id);
        if let Some(entry) = &entry {
            entry.writer.finish();
        }
        entry.map(|entry| entry.finished = true).is_some()
    }

    /// The client closed the channel. What it sent before an EOF is still delivered; without one the
    /// connection was cut. `false` if the channel is no forwarded connection.
    pub(in crate::ssh) fn close(&self, id: ChannelId) -> bool {
        let entries = self.lock();
        let Some(entry) = entries.get(&id) else {
            return false;
        };
        if entry.finished {
            entry.closed.cancel();
        } else {
            entry.end.cancel();
        }
        true
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.lines.lock().remove(&self.id);
    }
}
