//! Who may forward what: the operator's switches and the key's grants, which both have to say yes.

use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;

use super::dial::PROHIBITED;
use crate::config::Forwarding;
use crate::model::PermitList;
use crate::policy::Grants;
use crate::ssh::guest::Guest;

/// Why something is not forwarded, in words for the client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::ssh) enum Forbidden {
    /// There is no such login.
    #[error("this login is not configured")]
    Login,
    /// The operator has not switched it on.
    #[error("this login has no `forwarding.{0}`")]
    Switch(&'static str),
    /// The key's line in `authorized_keys` rules it out.
    #[error("this key may not forward")]
    Key,
    /// A display's clients see one another's keys and windows: no wall would stand around the sandbox.
    #[error("sandboxes have no displays")]
    Display,
    /// What a tunnel carries cannot be judged.
    #[error("sandboxes have no tunnel devices")]
    Tunnel,
    /// The login's list does not hold the place.
    #[error("{0} is not in this login's `forwarding.{1}`")]
    LoginList(String, &'static str),
    /// The key's list does not hold the place.
    #[error("{0} is not among the places of this key's {1}")]
    KeyList(String, &'static str),
}

impl Forbidden {
    /// Refuses a channel on this ground.
    pub(in crate::ssh) async fn reject(self, reply: ChannelOpenHandle) {
        let (code, reason) = (PROHIBITED, self.to_string());
        reply
            .reject(ChannelOpenFailure::Other { code, reason })
            .await;
    }
}

/// Something to connect to or to listen on, as the client named it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    Tcp(&'a str, u32),
    Socket(&'a [u8]),
}

impl Place<'_> {
    fn is_in(self, list: &PermitList) -> bool {
        match self {
            Self::Tcp(host, port) => u16::try_from(port).is_ok_and(|port| list.allows(host, port)),
            Self::Socket(path) => list.allows_socket(path),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Tcp(host, port) => format!("{host} port {port}"),
            Self::Socket(path) => path.escape_ascii().to_string(),
        }
    }
}

/// The two sets of rules that a connection is under.
pub(super) struct Rules<'a> {
    login: &'a Forwarding,
    key: &'a Grants,
}

impl<'a> Rules<'a> {
    /// A guest's.
    pub(super) fn of(guest: &'a Guest) -> Result<Self, Forbidden> {
        let login = guest.login().ok_or(Forbidden::Login)?;
        Ok(Self {
            login: &login.forwarding,
            key: guest.principal().grants(),
        })
    }

    /// Whether a place may be connected to (`ssh -L`, `-D`, `-W`).
    pub(super) fn open(&self, place: Place<'_>) -> Result<(), Forbidden> {
        switch("local", self.login.local)?;
        self.forward(place)?;
        listed(self.login.permit_open.as_ref(), place, |place| {
            Forbidden::LoginList(place, "permit_open")
        })?;
        listed(self.key.open.as_ref(), place, |place| {
            Forbidden::KeyList(place, "permitopen")
        })
    }

    /// Whether a place may be listened on (`ssh -R`).
    pub(super) fn listen(&self, place: Place<'_>) -> Result<(), Forbidden> {
        switch("remote", self.login.remote)?;
        self.forward(place)?;
        listed(self.login.permit_listen.as_ref(), place, |place| {
            Forbidden::LoginList(place, "permit_listen")
        })?;
        listed(self.key.listen.as_ref(), place, |place| {
            Forbidden::KeyList(place, "permitlisten")
        })
    }

    /// Whether the agent may be forwarded (`ssh -A`).
    pub(super) fn agent(&self) -> Result<(), Forbidden> {
        switch("agent", self.login.agent)?;
        if self.key.agent {
            Ok(())
        } else {
            Err(Forbidden::Key)
        }
    }

    fn forward(&self, place: Place<'_>) -> Result<(), Forbidden> {
        if matches!(place, Place::Socket(_)) {
            switch("sockets", self.login.sockets)?;
        }
        if self.key.forwarding {
            Ok(())
        } else {
            Err(Forbidden::Key)
        }
    }
}

fn switch(name: &'static str, on: bool) -> Result<(), Forbidden> {
    if on {
        Ok(())
    } else {
        Err(Forbidden::Switch(name))
    }
}

/// No list holds every place.
fn listed(
    list: Option<&PermitList>,
    place: Place<'_>,
    refuse: impl FnOnce(String) -> Forbidden,
) -> Result<(), Forbidden> {
    match list {
        Some(list) if !place.is_in(list) => Err(refuse(place.name())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place<'_> = Place::Tcp("localhost", 8000);
    const SOCKET: Place<'_> = Place::Socket(b"/tmp/s");

    fn everything() -> Forwarding {
        Forwarding {
            remote: true,
            agent: true,
            ..Forwarding::default()
        }
    }

    /// What is allowed: connecting and listening by TCP, the same by sockets, the agent.
    fn allowed(login: &Forwarding, key: &Grants) -> [bool; 5] {
        let rules = Rules { login, key };
        [
            rules.open(HERE).is_ok(),
            rules.listen(HERE).is_ok(),
            rules.open(SOCKET).is_ok(),
            rules.listen(SOCKET).is_ok(),
            rules.agent().is_ok(),
        ]
    }

    #[test]
    fn a_key_without_options_has_what_its_login_has() {
        let full = Grants::full();
        assert_eq!(allowed(&everything(), &full), [true; 5]);
        let default = Forwarding::default();
        assert_eq!(allowed(&default, &full), [true, false, true, false, false]);
    }

    #[test]
    fn a_key_takes_away_and_adds_nothing() {
        let bare = Grants {
            forwarding: false,
            agent: false,
            ..Grants::full()
        };
        assert_eq!(allowed(&everything(), &bare), [false; 5]);
        let none = Forwarding {
            local: false,
            ..Forwarding::default()
        };
        assert_eq!(allowed(&none, &Grants::full()), [false; 5]);
        let forwards = Grants {
            agent: false,
            ..Grants::full()
        };
        assert_eq!(
            allowed(&everything(), &forwards),
            [true, true, true, true, false]
        );
    }

    #[test]
    fn both_lists_have_to_hold_the_place_whatever_its_kind() {
        let list = |entries: &[&str]| {
            let mut list = PermitList::default();
            for entry in entries {
                list.open(entry).unwrap();
            }
            Some(list)
        };
        for (login, key, expected) in [
            (None, list(&["localhost:8000"]), [true, false]),
            (None, list(&["/tmp/s"]), [false, true]),
            (list(&["localhost:*"]), list(&["*:8000"]), [true, false]),
            (list(&["localhost:*"]), list(&["*:8001"]), [false, false]),
            (list(&["localhost:1"]), None, [false, false]),
            (list(&[]), None, [false, false]),
            (None, list(&[]), [false, false]),
        ] {
            let login = Forwarding {
                permit_open: login.clone(),
                permit_listen: login,
                ..everything()
            };
            let key = Grants {
                open: key.clone(),
                listen: key,
                ..Grants::full()
            };
            let found = allowed(&login, &key);
            let [tcp, socket] = expected;
            assert_eq!(found, [tcp, tcp, socket, socket, true], "{login:?} {key:?}");
        }
    }

    #[test]
    fn a_port_that_is_none_is_in_no_list() {
        let mut every = PermitList::default();
        every.open("*:*").unwrap();
        assert!(!Place::Tcp("localhost", 65_536).is_in(&every));
    }
}
