//! Which sandboxes have models, by the configuration.

use crate::config::Config;
use crate::config::inference::Transport;
use crate::egress::Book;

/// By every login, as each definition that it may get makes it.
pub(super) fn book(config: &Config) -> Book {
    let kinds = config.kinds().into_iter();
    Book::new(kinds.filter_map(|(kind, login)| Some((kind, login.sandbox.inference?))))
}

/// What is legal, and odd.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let bare = config
        .inference
        .values()
        .filter(|route| route.transport == Transport::Plain && route.credential.is_some());
    bare.map(|route| {
        format!(
            "inference.routes.{}: its credential goes to {} unencrypted; give an https:// upstream",
            route.name, route.upstream
        )
    })
    .collect()
}
