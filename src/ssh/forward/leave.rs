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
    #[error("{place} is not in this login's `forwarding.{list}`")]
    List {
        /// Where to.
        place: String,
        /// The list's name.
        list: &'static str,
    },
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

/// Whether the guest may connect there (`ssh -L`, `-D`, `-W`).
pub(super) fn open(guest: &Guest, place: Place<'_>) -> Result<(), Forbidden> {
    let (forwarding, grants) = rules(guest)?;
    switch("local", forwarding.local)?;
    allow(forwarding, grants, place)?;
    let lists = (&forwarding.permit_open, "permit_open");
    listed(place, lists, (&grants.open, "permitopen"))
}

/// Whether the guest may listen there (`ssh -R`).
pub(super) fn listen(guest: &Guest, place: Place<'_>) -> Result<(), Forbidden> {
    let (forwarding, grants) = rules(guest)?;
    switch("remote", forwarding.remote)?;
    allow(forwarding, grants, place)?;
    let lists = (&forwarding.permit_listen, "permit_listen");
    listed(place, lists, (&grants.listen, "permitlisten"))
}

/// Whether the guest may forward its agent (`ssh -A`).
pub(in crate::ssh) fn agent(guest: &Guest) -> Result<(), Forbidden> {
    let (forwarding, grants) = rules(guest)?;
    switch("agent", forwarding.agent)?;
    if grants.agent {
        Ok(())
    } else {
        Err(Forbidden::Key)
    }
}

fn rules(guest: &Guest) -> Result<(&Forwarding, &Grants), Forbidden> {
    let login = guest.login().ok_or(Forbidden::Switch("local"))?;
    Ok((&login.forwarding, guest.principal().grants()))
}

fn switch(name: &'static str, on: bool) -> Result<(), Forbidden> {
    if on {
        Ok(())
    } else {
        Err(Forbidden::Switch(name))
    }
}

fn allow(forwarding: &Forwarding, grants: &Grants, place: Place<'_>) -> Result<(), Forbidden> {
    if matches!(place, Place::Socket(_)) {
        switch("sockets", forwarding.sockets)?;
    }
    if grants.forwarding {
        Ok(())
    } else {
        Err(Forbidden::Key)
    }
}

type Listed<'a> = (&'a Option<PermitList>, &'static str);

fn listed(place: Place<'_>, login: Listed<'_>, key: Listed<'_>) -> Result<(), Forbidden> {
    let lacks = |list: &Option<PermitList>| list.as_ref().is_some_and(|list| !place.is_in(list));
    if lacks(login.0) {
        let (place, list) = (place.name(), login.1);
        return Err(Forbidden::List { place, list });
    }
    if lacks(key.0) {
        return Err(Forbidden::KeyList(place.name(), key.1));
    }
    Ok(())
}
