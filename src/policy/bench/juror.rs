//! The process that evaluates: a question in, an answer out, and nothing else that it could do.

use std::io;
use std::os::unix::net::UnixStream;

use super::wire::{Answered, Inquiry, LONGEST, LONGEST_ANSWER};
use crate::policy::engine::Engine;
use crate::sys::frames;

/// Answers until nobody asks any more.
pub(super) fn hear(gate: &UnixStream, policies: &[Engine]) -> io::Result<()> {
    while let Some((inquiry, _)) = frames::receive(gate, LONGEST, None)? {
        let inquiry = postcard::from_bytes(&inquiry).map_err(io::Error::other)?;
        let mut answer = encode(&answer(policies, &inquiry))?;
        if answer.len() > LONGEST_ANSWER {
            let answered = Err(format!("they answer more than {LONGEST_ANSWER} bytes"));
            answer = encode(&answered)?;
        }
        frames::send(gate, &answer, None, None)?;
    }
    Ok(())
}

fn answer(policies: &[Engine], inquiry: &Inquiry<'_>) -> Answered {
    let engine = policies.get(inquiry.policy);
    let engine = engine.ok_or_else(|| "the policy is not there".to_owned())?;
    let answered = engine.answer(inquiry.about, inquiry.input);
    answered.map_err(|error| error.to_string())
}

fn encode(answered: &Answered) -> io::Result<Vec<u8>> {
    postcard::to_allocvec(answered).map_err(io::Error::other)
}
