//! From the model that a caller asks for to the route that has it, and the body for its upstream.

use std::sync::Arc;

use super::paths::Operation;
use super::prompt::{Mapped, Prompt, PromptError};
use crate::config::inference::{Access, Protocol, Route};

/// The longest name of a model that is written down, in bytes: who asks for it can write what it likes.
const NAME_BYTES: usize = 128;

/// A body that was read.
#[derive(Debug)]
pub(super) struct Translated {
    /// The model that was asked for, cut off where it is no name.
    pub(super) model: String,
    pub(super) streams: bool,
    /// `None` where no route has it.
    pub(super) chosen: Option<Chosen>,
}

#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) route: Arc<Route>,
    /// The upstream's name of the model.
    pub(super) used: String,
    pub(super) mapped: Mapped,
}

pub(super) fn translate(
    body: &[u8],
    access: &Access,
    (protocol, operation): (Protocol, Operation),
) -> Result<Translated, PromptError> {
    let prompt = Prompt::read(body)?;
    let chosen = choose(access, protocol, &prompt.model);
    let chosen = chosen.map(|(route, used)| {
        Ok(Chosen {
            route: Arc::clone(route),
            used: used.to_owned(),
            mapped: prompt.map(operation, used)?,
        })
    });
    Ok(Translated {
        streams: prompt.streams,
        chosen: chosen.transpose()?,
        model: clip(prompt.model),
    })
}

/// The first route that lists the model, or else the first that takes any.
fn choose<'a>(
    access: &'a Access,
    protocol: Protocol,
    model: &str,
) -> Option<(&'a Arc<Route>, &'a str)> {
    let routes = || {
        let all = access.routes.iter();
        all.filter(|route| route.protocol == protocol)
    };
    let listed = routes().find_map(|route| Some((route, route.models.get(model)?.as_str())));
    listed.or_else(|| routes().find_map(|route| Some((route, route.default.as_deref()?))))
}

fn clip(mut name: String) -> String {
    let mut end = name.len().min(NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}
