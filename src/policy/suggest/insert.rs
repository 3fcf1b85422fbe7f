//! A change of a policy file that leaves every other line as it is.

/// Lines around a change that a patch shows.
const CONTEXT: usize = 3;

/// Why a file can't be changed by adding lines.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// `network_policies` is written in braces.
    #[error(
        "`network_policies` at line {line} is written in braces; add this below it by hand:\n{block}"
    )]
    Flow {
        /// Where, from 1.
        line: usize,
        /// What to add.
        block: String,
    },
}

/// A changed text.
#[derive(Debug)]
pub struct Edit {
    before: Vec<String>,
    /// The first line that goes, from 0, and how many do.
    at: usize,
    removed: usize,
    added: Vec<String>,
    text: String,
}

impl Edit {
    fn new(text: &str, at: usize, removed: usize, added: Vec<String>) -> Self {
        let before: Vec<String> = text.lines().map(str::to_owned).collect();
        let head = before.iter().take(at);
        let tail = before.iter().skip(at + removed);
        let mut changed = String::new();
        for line in head.chain(&added).chain(tail) {
            changed.push_str(line);
            changed.push('\n');
        }
        Self {
            at,
            removed,
            added,
            text: changed,
            before,
        }
    }

    /// The text after the change.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The change as a unified diff, which patch(1) applies.
    pub fn patch(&self, file: &str) -> String {
        let start = self.at.saturating_sub(CONTEXT);
        let end = (self.at + self.removed + CONTEXT).min(self.before.len());
        let old = end - start;
        let new = old - self.removed + self.added.len();
        // An empty range names the line before it.
        let first = if old == 0 { 0 } else { start + 1 };
        let mut out = format!(
            "--- {file}
+++ {file}
@@ -{first},{old} +{},{new} @@
",
            start + 1
        );
        let mut lines = |sign: char, lines: &[String]| {
            for line in lines {
                out.extend([
                    sign.to_string().as_str(),
                    line,
                    "
",
                ]);
            }
        };
        let part = |from: usize, to: usize| self.before.get(from..to).unwrap_or_default();
        lines(' ', part(start, self.at));
        lines('-', part(self.at, self.at + self.removed));
        lines('+', &self.added);
        lines(' ', part(self.at + self.removed, end));
        out
    }
}

/// Adds entries to `network_policies`. `block` has them without indentation; `text` is a valid policy.
pub(super) fn policies(text: &str, block: &str) -> Result<Edit, InsertError> {
    let lines: Vec<&str> = text.lines().collect();
    let key = lines
        .iter()
        .position(|line| line.starts_with("network_policies:"));
    let Some(key) = key else {
        let added = std::iter::once("network_policies:".to_owned()).chain(indented(block, 2));
        return Ok(Edit::new(text, lines.len(), 0, added.collect()));
    };
    let value = lines
        .get(key)
        .and_then(|line| line.strip_prefix("network_policies:"))
        .map(|value| value.split(" #").next().unwrap_or(value).trim())
        .unwrap_or_default();
    match value {
        "" => {}
        "{}" => {
            let added = std::iter::once("network_policies:".to_owned()).chain(indented(block, 2));
            return Ok(Edit::new(text, key, 1, added.collect()));
        }
        _ => {
            return Err(InsertError::Flow {
                line: key + 1,
                block: block.to_owned(),
            });
        }
    }
    let belongs = |line: &&&str| line.starts_with([' ', '\t']) && !is_empty(line);
    let below = lines.get(key + 1..).unwrap_or_default();
    let depth = below
        .iter()
        .find(belongs)
        .map_or(2, |line| line.len() - line.trim_start().len());
    // After the last line that is part of it; a comment or blank lines may lead to what follows.
    let length = below
        .iter()
        .take_while(|line| line.starts_with([' ', '\t', '#']) || line.trim().is_empty())
        .enumerate()
        .filter(|(_, line)| belongs(line))
        .map(|(number, _)| number + 1)
        .last()
        .unwrap_or(0);
    Ok(Edit::new(
        text,
        key + 1 + length,
        0,
        indented(block, depth).collect(),
    ))
}

fn is_empty(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

fn indented(block: &str, depth: usize) -> impl Iterator<Item = String> {
    let margin = " ".repeat(depth);
    block.lines().map(move |line| format!("{margin}{line}"))
}
