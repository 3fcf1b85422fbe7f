//! Where an operator's rules are evaluated: in processes of their own, which may be ended at any moment.
//!
//! ```text
//! gate ── chamber (compiles rules and policies, then only forks) ─┬─ juror (evaluates, one question at a time)
//!      └───────────────────── a socket to each ───────────────────┴─ juror …
//! ```

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::engine::{About, Answer, Cause, TIME};
use super::rules::Rules;
use crate::sys::frames;
use wire::{Answered, End, Inquiry, LONGEST, LONGEST_ANSWER, Order, Reply};

mod chamber;
mod juror;
mod wire;

pub use chamber::preside;

/// How much later than the rules' own clock a juror is ended: that clock does not tick within a builtin.
const GRACE: Duration = Duration::from_millis(500);
/// How long a chamber may take to compile one policy.
const COMPILING: Duration = Duration::from_secs(10);
/// How long it may take to end a juror or to start one.
const SEATING: Duration = Duration::from_secs(5);
/// How soon after one chamber is lost another may be opened.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts a process that runs `preside`, and gives the socket to it.
pub type Convene = Box<dyn Fn() -> io::Result<UnixStream> + Send + Sync>;

/// The caller's side of one set of rules. Any number of threads may ask at once; each has a juror of its own.
pub struct Bench {
    convene: Convene,
    rules: Rules,
    /// Bytes that each process may have.
    memory: u64,
    chamber: Mutex<Chamber>,
    idle: Mutex<Vec<Juror>>,
}

/// The process that compiles and forks.
struct Chamber {
    /// `Err`: when it was lost.
    socket: Result<UnixStream, Instant>,
    /// What it has compiled, or is to compile again: names and texts.
    policies: Vec<(String, String)>,
}

/// A process that evaluates.
struct Juror {
    socket: UnixStream,
    pid: i32,
    /// How many policies there were when it was forked.
    policies: usize,
}

/// Why a juror gave no answer.
enum Lost {
    /// It has ended.
    Gone,
    /// It is late.
    Late,
}

impl Bench {
    /// Opens a chamber for an operator's rules; `memory` bounds each of its processes, in bytes.
    pub fn open(convene: Convene, rules: &Rules, memory: u64) -> io::Result<Self> {
        let bench = Self {
            convene,
            rules: rules.texts(),
            memory,
            chamber: Mutex::new(Chamber {
                socket: Err(Instant::now()),
                policies: Vec::new(),
            }),
            idle: Mutex::default(),
        };
        let socket = bench.reopen(&[]).map_err(io::Error::other)?;
        bench.chamber().socket = Ok(socket);
        Ok(bench)
    }

    /// Has a policy compiled; its number.
    pub(super) fn add(&self, name: &str, text: &str) -> Result<usize, Cause> {
        let mut chamber = self.chamber();
        let known = chamber.policies.iter().position(|(_, known)| known == text);
        if let Some(number) = known {
            return Ok(number);
        }
        let socket = self.attend(&mut chamber)?;
        let compiled = self.compile(socket, name, text);
        if let Err(Refused::Lost(_)) = compiled {
            chamber.socket = Err(Instant::now());
        }
        compiled?;
        chamber.policies.push((name.to_owned(), text.to_owned()));
        Ok(chamber.policies.len() - 1)
    }

    /// Asks the rules over a policy. Blocks for little longer than the rules may take.
    pub(super) fn ask(&self, policy: usize, about: About, input: &str) -> Result<Answer, Cause> {
        let inquiry = Inquiry {
            policy,
            about,
            input,
        };
        let inquiry = postcard::to_allocvec(&inquiry)?;
        if inquiry.len() > LONGEST {
            return Err(format!("what they are asked is longer than {LONGEST} bytes").into());
        }
        let used = self.idle().pop();
        // One that was forked before the policy came does not know it.
        let used = used.filter(|juror| juror.policies > policy);
        if let Some(juror) = used {
            match juror.ask(&inquiry) {
                Ok(answered) => return self.release(juror, answered),
                Err(Lost::Late) => return Err(self.dismiss(juror, Lost::Late)),
                // What it kept of other questions may be why it ended: a fresh one shows whether it is this one.
                Err(Lost::Gone) => drop(self.dismiss(juror, Lost::Gone)),
            }
        }
        let juror = self.seat()?;
        match juror.ask(&inquiry) {
            Ok(answered) => self.release(juror, answered),
            Err(lost) => Err(self.dismiss(juror, lost)),
        }
    }

    fn release(&self, juror: Juror, answered: Answered) -> Result<Answer, Cause> {
        self.idle().push(juror);
        answered.map_err(Into::into)
    }

    /// A fresh juror.
    fn seat(&self) -> Result<Juror, Cause> {
        let mut chamber = self.chamber();
        let policies = chamber.policies.len();
        let socket = self.attend(&mut chamber)?;
        let (near, far) = UnixStream::pair()?;
        match order(socket, &Order::Seat, Some(&far), SEATING) {
            Ok(Reply::Seated(pid)) => Ok(Juror {
                socket: near,
                pid,
                policies,
            }),
            Ok(Reply::Refused(why)) => Err(why.into()),
            other => {
                chamber.socket = Err(Instant::now());
                Err(unexpected(other))
            }
        }
    }

    /// Ends a juror; why it is to be ended, or has ended.
    fn dismiss(&self, juror: Juror, lost: Lost) -> Cause {
        let mut chamber = self.chamber();
        let Juror { socket, pid, .. } = juror;
        drop(socket);
        let end = match &chamber.socket {
            Ok(chamber) => order(chamber, &Order::Dismiss(pid), None, SEATING),
            Err(_) => Err(io::ErrorKind::NotConnected.into()),
        };
        match (lost, end) {
            (Lost::Late, Ok(Reply::Ended(_))) => {
                format!("evaluation ended: time limit of {} s", TIME.as_secs()).into()
            }
            (Lost::Gone, Ok(Reply::Ended(end))) => {
                format!("evaluation ended: {}", self.describe(end)).into()
            }
            (_, other) => {
                chamber.socket = Err(Instant::now());
                unexpected(other)
            }
        }
    }

    fn describe(&self, end: End) -> String {
        match end {
            End::Memory => format!("memory limit of {}", Size(self.memory)),
            End::Stack => "stack limit: it nests too deeply".to_owned(),
            End::Panic => "it came upon a fault of the evaluator's".to_owned(),
            End::Signal(number) => format!("its process was ended by signal {number}"),
        }
    }

    /// The chamber's socket. A lost one is opened anew, but not more often than each `PAUSE`.
    fn attend<'a>(&self, chamber: &'a mut Chamber) -> Result<&'a UnixStream, Cause> {
        if let Err(lost) = chamber.socket {
            self.idle().clear();
            if lost.elapsed() < PAUSE {
                return Err("their process has ended and is started anew within a second".into());
            }
            let opened = self.reopen(&chamber.policies);
            chamber.socket = opened.as_ref().map_or(Err(Instant::now()), |socket| {
                socket.try_clone().map_err(|_| Instant::now())
            });
            opened?;
        }
        chamber
            .socket
            .as_ref()
            .map_err(|_| "their process could not be started".into())
    }

    fn reopen(&self, policies: &[(String, String)]) -> Result<UnixStream, Cause> {
        let socket = (self.convene)()?;
        let open = Order::Open {
            rules: &self.rules,
            memory: self.memory,
        };
        match order(&socket, &open, None, SEATING) {
            Ok(Reply::Done) => {}
            other => return Err(unexpected(other)),
        }
        for (name, text) in policies {
            self.compile(&socket, name, text)?;
        }
        Ok(socket)
    }

    fn compile(&self, socket: &UnixStream, name: &str, text: &str) -> Result<(), Refused> {
        match order(socket, &Order::Add { name, text }, None, COMPILING) {
            Ok(Reply::Done) => Ok(()),
            Ok(Reply::Refused(why)) => Err(Refused::Bad(why)),
            Ok(_) => Err(Refused::Lost("an answer to something else".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Refused::Lost(format!(
                    "compiling ended its process: they take more than the memory limit of {}, {} s, or nest too deeply",
                    Size(self.memory),
                    COMPILING.as_secs()
                )))
            }
            Err(error) => Err(Refused::Lost(format!("their process: {error}"))),
        }
    }

    fn chamber(&self) -> MutexGuard<'_, Chamber> {
        self.chamber.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Juror>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench")
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

/// Why a policy was not compiled.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Bad(String),
    /// The chamber is of no more use.
    #[error("{0}")]
    Lost(String),
}

impl Juror {
    fn ask(&self, inquiry: &[u8]) -> Result<Answered, Lost> {
        let until = Instant::now() + TIME + GRACE;
        let asked = frames::send(&self.socket, inquiry, None, Some(until))
            .and_then(|()| frames::receive(&self.socket, LONGEST_ANSWER, Some(until)));
        match asked {
            Ok(Some((answer, _))) => postcard::from_bytes(&answer).map_err(|_| Lost::Gone),
            Err(error) if late(&error) => Err(Lost::Late),
            Ok(None) | Err(_) => Err(Lost::Gone),
        }
    }
}

/// A socket's timeout is told as `WouldBlock` (socket(7), SO_RCVTIMEO).
fn late(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn order(
    chamber: &UnixStream,
    order: &Order<'_>,
    juror: Option<&UnixStream>,
    patience: Duration,
) -> io::Result<Reply> {
    let until = Some(Instant::now() + patience);
    let order = postcard::to_allocvec(order).map_err(io::Error::other)?;
    frames::send(chamber, &order, juror.map(AsFd::as_fd), until)?;
    match frames::receive(chamber, LONGEST_ANSWER, until)? {
        Some((reply, _)) => postcard::from_bytes(&reply).map_err(io::Error::other),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn unexpected(reply: io::Result<Reply>) -> Cause {
    match reply {
        Ok(Reply::Refused(why)) => why.into(),
        Ok(_) => "their process answered something else".into(),
        Err(error) => format!("their process: {error}").into(),
    }
}

/// Bytes, in the unit that the configuration has them in.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1 << 20) {
            write!(f, "{} MiB", self.0 >> 20)
        } else {
            write!(f, "{} KiB", self.0 >> 10)
        }
    }
}
