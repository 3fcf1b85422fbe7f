//! The form of sshd_config(5): one keyword a line, its arguments behind it.

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// As it is written; keywords are compared without regard to case.
    pub(super) keyword: String,
    /// Without their quotes and escapes.
    pub(super) arguments: Vec<String>,
    /// The same as it stands in the file, for what takes a whole command.
    pub(super) rest: String,
}

/// Reads one line; `None` for a blank one or a comment. Separators, quotes and escapes are those of
/// OpenSSH's strdelim() and argv_split() (misc.c).
pub(super) fn read(line: &str) -> Result<Option<Line>, String> {
    let blank = [' ', '\t', '\r', '\n'];
    // A form feed is blank at a line's end and nowhere else.
    let line = line.trim_end_matches(|c| blank.contains(&c) || c == '\u{c}');
    let line = line.trim_start_matches(blank);
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (keyword, rest) = if let Some(quoted) = line.strip_prefix('"') {
        let (keyword, rest) = quoted.split_once('"').ok_or("invalid quotes")?;
        (keyword, rest.trim_start_matches(blank))
    } else {
        let end = line.find(|c| blank.contains(&c) || c == '=');
        let (keyword, rest) = line.split_at(end.unwrap_or(line.len()));
        // One `=` may stand between the two, with blanks around it.
        let rest = rest.trim_start_matches(blank);
        let rest = rest.strip_prefix('=').unwrap_or(rest);
        (keyword, rest.trim_start_matches(blank))
    };
    let arguments = split(rest)?;
    if arguments.is_empty() {
        return Err(format!("no argument after keyword \"{keyword}\""));
    }
    Ok(Some(Line {
        keyword: keyword.to_owned(),
        arguments,
        rest: rest.to_owned(),
    }))
}

/// Words, up to a `#` at the beginning of one. Quotes of both kinds keep blanks; a backslash keeps a
/// quote, a backslash or, outside quotes, a space.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut text = text.chars().peekable();
    loop {
        while text.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        if matches!(text.peek(), None | Some('#')) {
            return Ok(words);
        }
        let (mut word, mut quote) = (String::new(), None);
        while let Some(c) = text.next() {
            match (c, quote) {
                ('\\', _) => {
                    let kept = |next: &char| {
                        matches!(next, '\'' | '"' | '\\') || (*next == ' ' && quote.is_none())
                    };
                    word.push(text.next_if(kept).unwrap_or('\\'));
                }
                (' ' | '\t', None) => break,
                ('\'' | '"', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                (c, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return Err("invalid quotes".to_owned());
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let line = read(line).unwrap().unwrap();
        [vec![line.keyword], line.arguments].concat()
    }

    #[test]
    fn blanks_and_one_equals_sign_part_a_keyword_from_its_arguments() {
        for line in [
            "Port 22",
            "Port=22",
            "Port = 22",
            "\tPort\t= 22 \u{c}\r",
            "\"Port\" 22",
        ] {
            assert_eq!(words(line), ["Port", "22"], "{line}");
        }
        assert_eq!(words("Port==22"), ["Port", "=22"]);
    }

    #[test]
    fn quotes_and_escapes_are_those_of_openssh() {
        assert_eq!(
            words(r#"A "b c" 'd "e"' f\ g \"h i\j"#),
            ["A", "b c", "d \"e\"", "f g", "\"h", "i\\j"]
        );
        assert_eq!(words("A b\"c d\"e"), ["A", "bc de"]);
        assert_eq!(words("A ''"), ["A", ""]);
        assert_eq!(read("A \"b").unwrap_err(), "invalid quotes");
    }

    #[test]
    fn a_comment_begins_at_a_word_and_not_in_one() {
        assert_eq!(words("A b#c # d"), ["A", "b#c"]);
        for line in ["", "  ", "# A b", "\t#"] {
            assert_eq!(read(line), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn a_keyword_alone_is_named() {
        for line in ["Port", "Port  ", "Port =", "Port # 22"] {
            assert_eq!(
                read(line).unwrap_err(),
                "no argument after keyword \"Port\"",
                "{line}"
            );
        }
    }
}
