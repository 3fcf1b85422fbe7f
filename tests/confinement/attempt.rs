//! The vocabulary of the attack suite: what an attempt is, and where it succeeds.

use Control::{Ablated, Differs, Gate, Held, Host, Nobody, Root, Shown};

/// One attempt.
pub(crate) struct Attempt {
    /// A verb of programs/attack.c and its argument, in which names in braces stand for what the suite
    /// has set up (`Stage` in suite.rs); or, for `Shown` and `Held`, what is done.
    pub(crate) attack: &'static str,
    /// What it would give.
    pub(crate) tries: &'static str,
    /// What stops it; each of them alone would.
    pub(crate) by: &'static str,
    /// Where it succeeds.
    pub(crate) control: Control,
    /// The answers that count as stopped.
    pub(crate) stopped: &'static [&'static str],
}

/// Where an attempt succeeds, so that its failure in a sandbox means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Outside, by an ordinary user without any capability: only the sandbox is missing.
    Nobody,
    /// Outside, by root in namespaces that are thrown away.
    Root,
    /// Outside, by root in the system's namespaces, on the very same target.
    Host,
    /// In the network namespace of the gate.
    Gate,
    /// In a sandbox without some layers (tests/layers.rs).
    Ablated(&'static str),
    /// On some kernels only: root in fresh namespaces is let in, or gets this answer. That it is another
    /// one inside shows that the sandbox answers, before what is missing or malformed is seen.
    Differs(&'static [&'static str]),
    /// In a test of its own: file, function, and where it succeeds there.
    Shown(&'static str, &'static str, &'static str),
    /// Nowhere: a test of its own shows that it is stopped, and no place where it is not.
    Held(&'static str, &'static str),
}

/// What an attempt's failure in a sandbox rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proof {
    /// It succeeds at its control.
    Succeeds,
    /// Root outside is let in or gets another answer: it depends on the kernel which.
    Answers,
    /// A test that it is stopped.
    Alone,
    /// None: it is allowed, so that others mean something, or is not stopped, and said to be.
    Allowed,
}

impl Attempt {
    pub(crate) fn proof(&self) -> Proof {
        match self.control {
            _ if self.by == "-" => Proof::Allowed,
            Differs(_) => Proof::Answers,
            Held(..) => Proof::Alone,
            Nobody | Root | Host | Gate | Ablated(_) | Shown(..) => Proof::Succeeds,
        }
    }
}

/// The sandbox in which attempts are made, by what its definition allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inside {
    Plain,
    Nesting,
    Tracing,
    Both,
}

/// The attempts of one area.
pub(crate) struct Area {
    pub(crate) name: &'static str,
    pub(crate) inside: Inside,
    pub(crate) attempts: &'static [Attempt],
}
