//! The audit trail, as an operator's tools would read it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::run::wait_until;

/// One line of the audit trail.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event(pub(crate) Value);

impl Event {
    /// Every line of the file; one that is no JSON fails the test.
    pub(crate) fn read_all(path: &Path) -> Vec<Self> {
        let mut text = String::new();
        // A line that is just being written is whole a moment later.
        wait_until(Duration::from_secs(1), || {
            text = fs::read_to_string(path).unwrap_or_default();
            text.is_empty() || text.ends_with('\n')
        });
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        text.lines().map(parse).map(Self).collect()
    }

    /// The value under a path such as `/destination/host`, as text; empty where there is none.
    pub(crate) fn text(&self, pointer: &str) -> String {
        match self.0.pointer(pointer) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }

    pub(crate) fn verdict(&self) -> String {
        self.text("/verdict")
    }

    /// Whether it is about a connection out of a sandbox to this host, as the program wrote it.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        self.text("/destination/host") == host
    }
}
