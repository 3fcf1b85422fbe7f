//! The way out: the proxy inside each sandbox's namespace, and the dialling outside it.

mod admission;
mod answer;
mod conduit;
mod credentials;
mod door;
mod fetch;
mod forward;
mod framing;
mod gateway;
mod inference;
mod inspect;
mod intake;
mod parent;
mod peer;
mod proxy;
mod resolver;
mod tenure;
mod turns;
mod upstream;

#[doc(hidden)]
pub use credentials::replay as replay_credentials;
pub use credentials::{Bindings, Secrets, Values};
pub use door::Door;
pub use fetch::{Errand, FetchError, Fetched, fetch};
pub use gateway::{Gateway, Granted, OpenError, Way};
pub use inference::Book;
#[doc(hidden)]
pub use inference::replay as replay_inference;
#[doc(hidden)]
pub use inspect::replay;
pub use inspect::{Authority, InspectError, Inspector, Roots};
pub use intake::{Malformed, Target, targets};
#[doc(hidden)]
pub use parent::replay as replay_parent;
pub use parent::{Parent, ParentError};
pub use peer::Whois;
pub use proxy::serve;
pub use resolver::{ResolveError, Resolver};
pub use upstream::{OwnAddresses, UpstreamError};
