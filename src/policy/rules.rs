//! The rules that judge: the module that is built in, or the operator's own beside it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::fault::LoadError;

/// The version of what rules are asked and of what they answer: docs/policy.md.
pub const VERSION: u32 = 1;

/// A module's or its data's size, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What judges. By default the built-in module alone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rules {
    pub(super) module: Option<Text>,
    /// JSON, which rules see as `data.operator`.
    pub(super) data: Option<Text>,
    #[serde(skip)]
    seat: Seat,
}

/// Where an operator's rules are evaluated. The built-in ones always are where they are asked: what they do is
/// bounded by what they are given.
#[derive(Debug, Clone, Default)]
pub(super) enum Seat {
    /// Nobody has said, so policies under them are refused.
    #[default]
    Nowhere,
    /// In this process.
    Here,
    /// In processes of their own.
    Bench(Arc<Bench>),
}

/// A file as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: String,
}

impl Rules {
    /// Reads an operator's module and its data, without a look at what they say.
    pub fn read(module: &Path, data: Option<&Path>) -> Result<Self, LoadError> {
        Ok(Self {
            module: Some(text(module)?),
            data: data.map(text).transpose()?,
            seat: Seat::Nowhere,
        })
    }

    /// Whether they are an operator's.
    pub fn are_own(&self) -> bool {
        self.module.is_some()
    }

    /// Has an operator's evaluated by `bench`, which was opened for them.
    #[must_use]
    pub fn before(self, bench: Arc<Bench>) -> Self {
        let seat = Seat::Bench(bench);
        Self { seat, ..self }
    }

    /// Has an operator's evaluated in this process, which nothing keeps from taking all memory: for processes that
    /// are bounded themselves, and for tests.
    #[must_use]
    pub fn here(self) -> Self {
        let seat = Seat::Here;
        Self { seat, ..self }
    }

    /// The texts alone.
    pub(super) fn texts(&self) -> Self {
        let seat = Seat::Nowhere;
        Self {
            seat,
            ..self.clone()
        }
    }

    /// Whether both say the same, wherever they are evaluated.
    pub(super) fn say_the_same(&self, other: &Self) -> bool {
        self.module == other.module && self.data == other.data
    }

    pub(super) fn seat(&self) -> &Seat {
        match self.module {
            Some(_) => &self.seat,
            None => &Seat::Here,
        }
    }
}

fn text(path: &Path) -> Result<Text, LoadError> {
    let unread = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let name = path.display().to_string();
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unread)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(LoadError::TooLarge {
            file: name,
            limit: MAX_BYTES,
        });
    }
    Ok(Text { name, text })
}
