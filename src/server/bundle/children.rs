//! The two children that touch what a server sends, each for one time and with next to nothing.

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::{Bundle, Config, Source};
use crate::egress::{Errand, Fetched, Resolver, Roots};
use crate::policy::bundle::{self, Bring, Contents, MOST_PACKED, Trust};
use crate::sandbox::{self, Account, Filter, Footing, Kernel, LandlockError};
use crate::server::supervisor;
use crate::sys;
use crate::sys::clone::{Child, SingleThreaded, fork_with};

/// The longest that verifying and unpacking may take: some milliseconds, on a host with better things to do.
const UNPACKING: Duration = Duration::from_secs(20);

/// What a download may take beyond its own time: a process, and the bytes through a pipe.
const MARGIN: Duration = Duration::from_secs(5);

/// The most bytes that a child answers.
const LONGEST: usize = 48 << 20;

/// Whose account the children have, and what can hold them.
#[derive(Debug, Clone)]
pub(in crate::server) struct Who {
    /// `None` where a user asks who has but his own.
    account: Option<Account>,
    footing: Footing,
    kernel: Kernel,
    /// Variables of the environment that are none of their business.
    secrets: Vec<CString>,
}

impl Who {
    /// The gate's account, where the daemon would have it.
    pub(in crate::server) fn of(config: &Config, footing: Footing) -> Result<Self, LandlockError> {
        let gate = config.uids.gate;
        let root = rustix::process::geteuid().is_root();
        let sources = config.providers.values().flat_map(|p| p.secrets.values());
        let variable = |source: &Source| match source {
            Source::Environment(name) => CString::new(name.as_str()).ok(),
            _ => None,
        };
        Ok(Self {
            account: root.then_some(Account {
                uid: gate,
                gid: gate,
            }),
            footing,
            kernel: Kernel::probe()?,
            secrets: sources.filter_map(variable).collect(),
        })
    }
}

/// What a download brought.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Brought {
    Unchanged,
    Whole {
        packed: Vec<u8>,
        etag: Option<String>,
    },
}

/// Asks the server, in a process of its own. The inner error is the server's, the network's or the token's.
pub(super) fn fetch(
    proof: &SingleThreaded,
    who: &Who,
    settings: &Bundle,
    etag: Option<&str>,
) -> io::Result<Result<Brought, String>> {
    let limit = settings.timeout + MARGIN;
    in_child((proof, who), c"sg-fetch", limit, |parent| {
        let token = super::token(settings)?;
        let roots = settings.ca.as_slice();
        let roots = Roots::read(roots).map_err(|error| format!("bundle.ca: {error}"))?;
        let resolver = Resolver::from_system().map_err(|error| super::super::explain(&error))?;
        confine(who, parent, Filter::gate)?;
        let errand = Errand {
            server: &settings.server,
            target: &settings.target,
            etag,
            token: token.as_ref(),
            most: MOST_PACKED,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let fetching = async {
            let fetching = crate::egress::fetch(&errand, &resolver, &roots);
            tokio::time::timeout(settings.timeout, fetching).await
        };
        match runtime.block_on(fetching) {
            Ok(Ok(Fetched::Unchanged)) => Ok(Brought::Unchanged),
            Ok(Ok(Fetched::Whole { bytes, etag })) => Ok(Brought::Whole {
                packed: bytes,
                etag,
            }),
            Ok(Err(error)) => Err(super::super::explain(&error)),
            Err(_) => Err(format!(
                "nothing within {:?}; `bundle.timeout` is longer, if it has to be",
                settings.timeout
            )),
        }
    })
}

/// Verifies and unpacks a bundle, in a process that has nothing but its bytes.
pub(super) fn unpack(
    proof: &SingleThreaded,
    who: &Who,
    packed: &[u8],
    (trust, bring): (&Trust, Bring),
) -> io::Result<Result<Contents, String>> {
    in_child((proof, who), c"sg-unpack", UNPACKING, |parent| {
        confine(who, parent, Filter::reader)?;
        bundle::open(packed, trust, bring).map_err(|error| super::super::explain(&error))
    })
}

/// Own account, no capability, no path, a filter; for good.
fn confine(
    who: &Who,
    parent: Pid,
    filter: impl FnOnce() -> Result<Filter, sandbox::SeccompError>,
) -> Result<(), String> {
    fn wrong(error: impl std::error::Error) -> String {
        format!("cannot be confined: {}", super::super::explain(&error))
    }
    sandbox::forbid_core_dumps().map_err(wrong)?;
    if let Some(account) = who.account {
        sandbox::drop_to(account, who.footing).map_err(wrong)?;
    }
    // After the change of ids, which clears it.
    supervisor::die_with(parent).map_err(wrong)?;
    sandbox::hide_memory().map_err(wrong)?;
    sandbox::enforce(who.kernel.blind().map_err(wrong)?).map_err(wrong)?;
    filter().and_then(|filter| filter.apply()).map_err(wrong)?;
    Ok(())
}

/// Runs `body` in a child of this name and gives what it says.
fn in_child<T: Serialize + DeserializeOwned>(
    (proof, who): (&SingleThreaded, &Who),
    name: &CStr,
    limit: Duration,
    body: impl FnOnce(Pid) -> Result<T, String>,
) -> io::Result<Result<T, String>> {
    let parent = rustix::process::getpid();
    let ends = pipe_with(PipeFlags::CLOEXEC)?;
    let (child, (reader, writer)) = fork_with(proof, 0, ends, |(_reader, writer)| {
        supervisor::begin_child(name, &[]);
        for name in &who.secrets {
            sys::environment::wipe(proof, name);
        }
        // A child inherits its parent's lines, and is not to speak on them.
        let said = sys::descriptors::close_all_but([writer.as_fd()], 3)
            .map_err(|error| error.to_string())
            .and_then(|()| body(parent));
        let written = postcard::to_allocvec(&said).map_err(io::Error::other);
        let sent = written.and_then(|bytes| std::fs::File::from(writer).write_all(&bytes));
        sys::clone::exit_now(i32::from(sent.is_err()))
    })?;
    drop(writer);
    let said = listen(&reader, Instant::now() + limit);
    // It may be of another account, and at work for ever.
    end(&child)?;
    let Some(bytes) = said? else {
        let problem = format!("{} did not end in time", name.to_string_lossy());
        return Ok(Err(problem));
    };
    Ok(postcard::from_bytes(&bytes).unwrap_or_else(|_| {
        let problem = format!("{} ended without an answer", name.to_string_lossy());
        Err(problem)
    }))
}

/// All that is written until the pipe's end; `None` if that does not come in time, or too much does.
fn listen(reader: &OwnedFd, until: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(reader, PollFlags::IN)];
        match rustix::event::poll(&mut ready, Some(&left)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let read = rustix::io::retry_on_intr(|| rustix::io::read(reader, &mut block))?;
        if read == 0 {
            return Ok(Some(bytes));
        }
        bytes.extend_from_slice(block.get(..read).unwrap_or_default());
        if bytes.len() > LONGEST {
            return Ok(None);
        }
    }
}

fn end(child: &Child) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    let wait = || rustix::process::waitid(WaitId::Pid(child.pid), WaitIdOptions::EXITED);
    rustix::io::retry_on_intr(wait)?;
    Ok(())
}
