//! What the monitor reads again for the gate, which can open no file, and how it gets there.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::MemfdFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::Kind;
use crate::policy::Rules;
use crate::sys;

/// Texts as they were found good.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Texts {
    /// The configuration; empty where there was none to read.
    pub(super) config: String,
    /// The policy of each kind of sandbox; the built-in one is in none of them.
    pub(super) policies: BTreeMap<Kind, String>,
    /// What judges by them.
    pub(super) rules: Rules,
    /// What clients see before they log in.
    pub(super) banner: Option<String>,
    /// What terminals show at first.
    pub(super) motd: Option<String>,
}

impl Texts {
    /// Into memory that a descriptor names.
    pub(super) fn write(&self) -> io::Result<OwnedFd> {
        to_memory(c"sandgate.texts", self)
    }

    /// What `write` wrote.
    pub(super) fn read(texts: OwnedFd) -> io::Result<Self> {
        from_memory(texts)
    }
}

/// Writes a value into memory that a descriptor names.
pub(super) fn to_memory(name: &CStr, value: &impl Serialize) -> io::Result<OwnedFd> {
    let bytes = postcard::to_allocvec(value).map_err(io::Error::other)?;
    let mut file = File::from(sys::memory::new(name, MemfdFlags::empty())?);
    file.write_all(&bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// What `to_memory` wrote.
pub(super) fn from_memory<T: DeserializeOwned>(memory: OwnedFd) -> io::Result<T> {
    let mut bytes = Vec::new();
    File::from(memory).read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}
