//! A text that a pattern matches.

/// The shortest plain text that a file's or a rule's glob matches: a wildcard is `x`, of a set or a
/// choice the first is taken.
pub(super) fn of(glob: &str) -> String {
    let mut out = String::new();
    let mut chars = glob.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '*' => {
                while chars.next_if_eq(&'*').is_some() {}
                out.push('x');
            }
            '?' => out.push('x'),
            '[' => {
                let members: String = chars.by_ref().take_while(|c| *c != ']').collect();
                out.push(member(&members));
            }
            '{' => {
                let choices: String = chars.by_ref().take_while(|c| *c != '}').collect();
                let first = choices.split(',').next().unwrap_or_default();
                out.push_str(&of(first));
            }
            '\\' => out.extend(chars.next()),
            plain => out.push(plain),
        }
    }
    out
}

/// A character of a set; of a negated one, one that it lacks.
fn member(members: &str) -> char {
    match members.strip_prefix(['!', '^']) {
        None => members.chars().next().unwrap_or('x'),
        Some(others) => {
            let within = |c: char| {
                let ranged: Vec<char> = others.chars().collect();
                others.contains(c)
                    || ranged
                        .windows(3)
                        .any(|w| matches!(w, [a, '-', z] if (*a..=*z).contains(&c)))
            };
            ('a'..='z')
                .chain('A'..='Z')
                .chain('0'..='9')
                .find(|c| !within(*c))
                .unwrap_or('_')
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::pattern::{file_regex, glob_regex};

    #[test]
    fn a_sample_is_matched_by_its_pattern() {
        let matches = |regex: &str, text: &str| {
            let engine = regorus::Engine::new();
            let mut engine = engine;
            engine
                .eval_bool_query(format!("regex.match({regex:?}, {text:?})"), false)
                .unwrap()
        };
        for glob in [
            "/a/*", "/a/**", "/a/**/b", "/v[12]/?", "/{a,b}/c", "/[!a-c]", "/a\\*b",
        ] {
            let text = super::of(glob);
            assert!(
                matches(&glob_regex(glob, "/").unwrap(), &text),
                "{glob} {text}"
            );
        }
        for glob in [
            "/usr/bin/*",
            "/opt/**",
            "/opt/**/tool",
            "/usr/{bin,sbin}/x?",
        ] {
            let text = super::of(glob);
            assert!(matches(&file_regex(glob).unwrap(), &text), "{glob} {text}");
        }
    }
}
