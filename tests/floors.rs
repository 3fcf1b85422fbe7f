//! Holds the tree to its floors: imports only go down, `unsafe` stays in `sys`, no file outgrows
//! its idea.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, from the ground up. A module may use what is below it, and what shares its floor
/// where the floor is marked so.
const FLOORS: [(Neighbours, &[&str]); 7] = [
    (Neighbours::Apart, &["sys", "yaml", "sftp"]),
    (Neighbours::Together, &["config", "model"]),
    (Neighbours::Apart, &["policy"]),
    (Neighbours::Together, &["audit"]),
    (Neighbours::Apart, &["sandbox", "egress"]),
    (Neighbours::Apart, &["ssh"]),
    (Neighbours::Together, &["main", "server", "admin", "cli"]),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Neighbours {
    Together,
    Apart,
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS
        .iter()
        .position(|(_, modules)| modules.contains(&module))
}

/// Why `module` may not import `imported`, if it may not.
fn objection(module: &str, imported: &str) -> Option<String> {
    let (Some(own), Some(other)) = (floor_of(module), floor_of(imported)) else {
        return Some(format!(
            "{module} imports {imported}, and one of them has no floor"
        ));
    };
    let allowed = module == imported
        || other < own
        || (other == own && FLOORS[own].0 == Neighbours::Together);
    (!allowed).then(|| format!("{module} (floor {own}) imports {imported} (floor {other})"))
}

/// A piece of Rust: a name, or one other character.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    Other(char),
}

/// Rust without its comments, strings, characters and lifetimes.
fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let next = text.get(at + 1).copied().unwrap_or(' ');
        match text[at] {
            '/' if next == '/' => at = end_of_line(&text, at),
            '/' if next == '*' => at = end_of_block(&text, at),
            '"' => at = end_of_string(&text, at + 1),
            '\'' => at = end_of_character_or_lifetime(&text, at),
            c if c.is_alphabetic() || c == '_' => {
                let end = end_of_name(&text, at);
                let name: String = text[at..end].iter().collect();
                at = match raw_string_hashes(&text, end) {
                    Some(hashes) if matches!(name.as_str(), "r" | "br" | "cr") => {
                        end_of_raw_string(&text, end + hashes + 1, hashes)
                    }
                    _ => {
                        found.push(Token::Name(name));
                        end
                    }
                };
            }
            c if c.is_whitespace() => at += 1,
            c => {
                found.push(Token::Other(c));
                at += 1;
            }
        }
    }
    found
}

fn end_of_line(text: &[char], at: usize) -> usize {
    text[at..]
        .iter()
        .position(|c| *c == '\n')
        .map_or(text.len(), |n| at + n)
}

fn end_of_block(text: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') if depth == 1 => return at + 2,
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn end_of_string(text: &[char], mut at: usize) -> usize {
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn end_of_name(text: &[char], at: usize) -> usize {
    let ends = |c: &char| !(c.is_alphanumeric() || *c == '_');
    text[at..]
        .iter()
        .position(ends)
        .map_or(text.len(), |n| at + n)
}

fn raw_string_hashes(text: &[char], at: usize) -> Option<usize> {
    let hashes = text[at..].iter().take_while(|c| **c == '#').count();
    (text.get(at + hashes) == Some(&'"')).then_some(hashes)
}

fn end_of_raw_string(text: &[char], mut at: usize, hashes: usize) -> usize {
    while at < text.len() {
        let closes = text[at] == '"' && text[at + 1..].iter().take(hashes).all(|c| *c == '#');
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    text.len()
}

fn end_of_character_or_lifetime(text: &[char], at: usize) -> usize {
    match (text.get(at + 1), text.get(at + 2)) {
        (Some('\\'), _) => {
            // '\n', '\'', '\u{1F600}': the closing quote is not the escaped character.
            let rest = text.get(at + 3..).unwrap_or_default();
            rest.iter()
                .position(|c| *c == '\'')
                .map_or(text.len(), |n| at + 4 + n)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => end_of_name(text, at + 1),
    }
}

/// The crate's top-level modules that a file names, by `crate::x`, `sandgate::x`, groups of these,
/// or `super::…` that climbs to the root from a file `depth` modules deep.
fn imports(source: &str, depth: usize) -> Vec<String> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Token::Name(name) = token else { continue };
        if name == "crate" || name == "sandgate" {
            found.extend(first_segments(&tokens, at + 1));
        }
        if name == "super" && !follows_colons(&tokens, at) {
            let mut end = at + 1;
            let mut climbed = 1;
            while is_colons(&tokens, end)
                && tokens.get(end + 2) == Some(&Token::Name("super".into()))
            {
                (end, climbed) = (end + 3, climbed + 1);
            }
            if climbed >= depth {
                // An inline module's own `super` names the file's items, which have no floor.
                let named = first_segments(&tokens, end);
                found.extend(named.into_iter().filter(|name| floor_of(name).is_some()));
            }
        }
    }
    found
}

fn is_colons(tokens: &[Token], at: usize) -> bool {
    tokens.get(at..at + 2) == Some(&[Token::Other(':'), Token::Other(':')])
}

fn follows_colons(tokens: &[Token], at: usize) -> bool {
    at >= 2 && is_colons(tokens, at - 2)
}

/// What stands right after `crate`: `::a::b` gives a; `::{a::b, c}` gives a and c.
fn first_segments(tokens: &[Token], at: usize) -> Vec<String> {
    if !is_colons(tokens, at) {
        return Vec::new();
    }
    match tokens.get(at + 2) {
        Some(Token::Name(name)) => vec![name.clone()],
        Some(Token::Other('{')) => {
            let (mut found, mut depth, mut first) = (Vec::new(), 1, true);
            for token in &tokens[at + 3..] {
                match token {
                    Token::Other('{') => depth += 1,
                    Token::Other('}') => depth -= 1,
                    Token::Other(',') if depth == 1 => first = true,
                    Token::Name(name) if depth == 1 && first => {
                        found.push(name.clone());
                        first = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            found
        }
        _ => vec!["*".to_owned()],
    }
}

fn source_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)
        .expect("a source directory")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            found.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every file below src: its path from there, its top-level module, its depth, its text.
fn tree() -> Vec<(PathBuf, String, usize, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let describe = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let path = path.strip_prefix(&root).expect("below src").to_owned();
        let parts: Vec<_> = path
            .iter()
            .map(|part| part.to_str().expect("UTF-8"))
            .collect();
        let module = parts[0].trim_end_matches(".rs").to_owned();
        let depth = parts.len() - usize::from(parts.ends_with(&["mod.rs"]));
        (path, module, depth, text)
    };
    source_files(&root).into_iter().map(describe).collect()
}

#[test]
fn imports_only_go_down() {
    let mut wrong = Vec::new();
    for (path, module, depth, text) in tree() {
        // lib.rs lists the modules and names none of their items.
        let module = if module == "lib" { "main" } else { &module };
        let objections = imports(&text, depth)
            .into_iter()
            .filter_map(|to| objection(module, &to));
        wrong.extend(objections.map(|why| format!("src/{}: {why}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_sys() {
    let mut files = tree();
    files.retain(|(_, module, _, text)| {
        module != "sys" && tokens(text).contains(&Token::Name("unsafe".into()))
    });
    let wrong: Vec<_> = files.into_iter().map(|(path, ..)| path).collect();
    assert!(wrong.is_empty(), "unsafe outside src/sys: {wrong:?}");
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let lengths = tree()
        .into_iter()
        .map(|(path, _, _, text)| (text.lines().count(), path));
    let wrong: Vec<_> = lengths.filter(|(lines, _)| *lines > 500).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_file_opens_with_a_sentence_of_its_own() {
    let mut files = tree();
    files.retain(|(.., text)| !text.starts_with("//! "));
    let wrong: Vec<_> = files.into_iter().map(|(path, ..)| path).collect();
    assert!(wrong.is_empty(), "without a //! sentence on top: {wrong:?}");
}

#[test]
fn the_tree_is_really_read() {
    let tree = tree();
    assert!(tree.len() > 10, "only {} files below src", tree.len());
    let read = |wanted: &str| tree.iter().any(|(_, module, ..)| module == wanted);
    for module in ["sys", "model", "policy", "sandbox", "egress", "ssh", "main"] {
        assert!(read(module), "no file of {module}");
    }
    assert!(tree.iter().any(|(_, module, depth, text)| {
        module != "model" && imports(text, *depth).contains(&"model".to_owned())
    }));
}

#[test]
fn imports_are_found_in_every_form() {
    let source = "use crate::model::{LoginName, Host};\n\
        use crate::{policy::Snapshot, audit, self as root};\n\
        pub(crate) use crate::sandbox as box_;\n\
        fn f() -> crate::config::Config { sandgate::server::serve() }";
    let found = [
        "model", "policy", "audit", "self", "sandbox", "config", "server",
    ];
    assert_eq!(imports(source, 1), found);
}

#[test]
fn super_counts_where_it_climbs_to_the_root() {
    assert_eq!(imports("use super::egress;", 1), ["egress"]);
    assert_eq!(imports("use super::super::egress::dial;", 2), ["egress"]);
    assert_eq!(imports("use super::{egress, Event};", 1), ["egress"]);
    assert!(imports("use super::egress;", 2).is_empty());
    assert!(imports("mod tests { use super::*; use super::Event; }", 1).is_empty());
}

#[test]
fn comments_strings_and_lifetimes_are_no_imports() {
    let source = r##"
        // use crate::ssh;
        /* crate::ssh /* crate::ssh */ crate::ssh */
        fn f<'a>(x: &'a str) -> char { let _ = "crate::ssh \" crate::ssh"; '\'' }
        const R: &str = r#"crate::ssh " crate::ssh"#;
        const Q: char = '"'; use crate::model; const S: &[u8] = b"crate::ssh";
    "##;
    assert_eq!(imports(source, 1), ["model"]);
}

#[test]
fn upward_and_sideways_imports_are_objected_to() {
    assert!(objection("ssh", "sandbox").is_none());
    assert!(objection("config", "model").is_none());
    assert!(objection("policy", "policy").is_none());
    assert!(objection("main", "cli").is_none());
    assert!(objection("sandbox", "egress").is_some());
    assert!(objection("egress", "sandbox").is_some());
    assert!(objection("policy", "audit").is_some());
    assert!(objection("sys", "model").is_some());
    assert!(objection("egress", "helpers").is_some());
}

#[test]
fn unsafe_is_seen_as_a_word_only() {
    let words = |source| tokens(source).contains(&Token::Name("unsafe".into()));
    assert!(words("fn f() { unsafe { g() } }"));
    assert!(!words(
        "#![deny(unsafe_code)] // unsafe\nconst S: &str = \"unsafe\";"
    ));
}
