//! The decoders of this module on bytes of anybody's, for tests and fuzzing.

use super::paths::Operation;
use super::prompt::Prompt;
use super::screen::Screen;
use super::usage::{Events, Finder, Reader};

/// Reads bytes as a request's body and as an answer's.
///
/// # Panics
///
/// Where what goes on is not what was read, or where it matters how the bytes are cut.
pub fn replay(bytes: &[u8]) {
    if let Ok(prompt) = Prompt::read(bytes)
        && let Ok(mapped) = prompt.map(Operation::ChatCompletions, "real")
    {
        let again = Prompt::read(&mapped.body).map(|again| {
            let streams = again.streams;
            (
                again.model.clone(),
                streams,
                again.map(Operation::ChatCompletions, "real").ok(),
            )
        });
        let settled = matches!(
            &again,
            Ok((model, streams, Some(once_more)))
                if model == "real" && *streams == prompt.streams && once_more.body == mapped.body && !once_more.adds_usage
        );
        assert!(settled, "{again:?}");
    }
    let (one, two) = bytes.split_at(bytes.len() / 2);
    for make in [
        || Reader::Whole(Finder::default()),
        || Reader::Events(Events::default()),
    ] {
        let (mut whole, mut parts) = (make(), make());
        whole.feed(bytes);
        parts.feed(one);
        parts.feed(two);
        assert_eq!(whole.tokens(), parts.tokens());
    }
    let screened = |parts: &[&[u8]]| {
        let mut screen = Screen::default();
        let mut out: Vec<u8> = parts.iter().flat_map(|part| screen.pass(part)).collect();
        out.extend(screen.rest());
        out
    };
    let out = screened(&[bytes]);
    assert_eq!(out, screened(&[one, two]));
    let events = bytes.windows(5).any(|word| word == b"data:");
    assert!(out == bytes || (events && out.len() < bytes.len()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_and_what_is_left_of_them_come_out_alike() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/inference");
        let mut count = 0;
        for seed in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(seed.unwrap().path()).unwrap();
            for end in 0..=bytes.len() {
                replay(&bytes[..end]);
            }
            count += 1;
        }
        assert!(count >= 6, "{count}");
    }
}
