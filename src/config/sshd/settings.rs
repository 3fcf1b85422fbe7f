//! What the command line and the files say, line by line; of most keywords the first line counts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::keywords::{self, Fate, Keyword};
use super::lexer::{self, Line};
use super::{SshdError, include};

/// How deep files may include files (servconf.h, SERVCONF_MAX_DEPTH).
const DEPTH: usize = 16;

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a file, in its line of this number, from 1.
    File(PathBuf, usize),
    /// Nowhere in it: the file as a whole.
    Whole(PathBuf),
    /// On the command line.
    Command,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}: line {line}", path.display()),
            Self::Whole(path) => path.display().fmt(f),
            Self::Command => f.write_str("command-line: line 0"),
        }
    }
}

/// What is wrong with a line, and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    place: Place,
    problem: String,
}

impl Fault {
    pub(super) fn new(place: Place, problem: String) -> Self {
        Self { place, problem }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

/// A line that counts.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) place: Place,
    pub(super) line: Line,
}

impl Setting {
    /// What this setting is wrong with.
    pub(super) fn fault(&self, problem: impl fmt::Display) -> Fault {
        let problem = format!("{}: {problem}", self.line.keyword);
        Fault::new(self.place.clone(), problem)
    }
}

/// Everything that was said.
#[derive(Debug)]
pub(super) struct Settings {
    /// The file that the server was started with.
    source: PathBuf,
    given: BTreeMap<&'static str, Vec<Setting>>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Settings {
    pub(super) fn new(source: &Path) -> Self {
        Self {
            source: source.to_owned(),
            given: BTreeMap::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Reads a file and what it includes. What is wrong with its lines is kept for `finish`.
    pub(super) fn read(&mut self, path: &Path, depth: usize) -> Result<(), SshdError> {
        let text = std::fs::read_to_string(path).map_err(|source| SshdError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut block = Block::Everybody;
        for (index, line) in text.lines().enumerate() {
            let place = Place::File(path.to_owned(), index + 1);
            match lexer::read(line) {
                Ok(None) => {}
                Ok(Some(line)) if line.keyword.eq_ignore_ascii_case("include") => {
                    self.include(&place, &line, depth)?;
                }
                Ok(Some(line)) => self.take(Setting { place, line }, &mut block),
                Err(problem) => self.faults.push(Fault::new(place, problem)),
            }
        }
        Ok(())
    }

    /// Takes a keyword whose argument is an option of its own on the command line.
    pub(super) fn flag(&mut self, keyword: &str, argument: &str) {
        let line = Line {
            keyword: keyword.to_owned(),
            arguments: vec![argument.to_owned()],
            rest: argument.to_owned(),
        };
        let place = Place::Command;
        self.take(Setting { place, line }, &mut Block::Everybody);
    }

    /// Takes a line of the command line.
    pub(super) fn option(&mut self, text: &str) {
        match lexer::read(text) {
            Ok(Some(line)) if line.keyword.eq_ignore_ascii_case("include") => {
                let problem = "Include: write it into the file that -f names".to_owned();
                self.faults.push(Fault::new(Place::Command, problem));
            }
            Ok(Some(line)) => {
                let place = Place::Command;
                self.take(Setting { place, line }, &mut Block::Everybody);
            }
            Ok(None) => {}
            Err(problem) => self.faults.push(Fault::new(Place::Command, problem)),
        }
    }

    fn include(&mut self, place: &Place, line: &Line, depth: usize) -> Result<(), SshdError> {
        for pattern in &line.arguments {
            let problem = if depth >= DEPTH {
                "Include: too many files include one another".to_owned()
            } else if pattern.contains('[') {
                format!("Include {pattern}: patterns have `*` and `?`, and no brackets here")
            } else {
                match include::files(pattern) {
                    Ok(files) => {
                        for file in files {
                            self.read(&file, depth + 1)?;
                        }
                        continue;
                    }
                    Err(error) => format!("Include {pattern}: {error}"),
                }
            };
            self.faults.push(Fault::new(place.clone(), problem));
        }
        Ok(())
    }

    fn take(&mut self, setting: Setting, block: &mut Block) {
        let name = &setting.line.keyword;
        if name.eq_ignore_ascii_case("match") {
            if *block == Block::Everybody {
                let problem = "everybody gets the same settings here; start one server for each group, \
                     or write a sandgate.yaml, where each login has its own";
                self.faults.push(setting.fault(problem));
            }
            *block = Block::Some;
            return;
        }
        let Some(keyword) = keywords::find(name) else {
            let meant = keywords::nearest(name)
                .map(|meant| format!("; did you mean {meant}?"))
                .unwrap_or_default();
            let problem = format!("Bad configuration option: {name}{meant}");
            self.faults.push(Fault::new(setting.place, problem));
            return;
        };
        if let Err(problem) = keyword.form.check(&setting.line) {
            self.faults.push(setting.fault(problem));
        } else if *block == Block::Everybody {
            self.keep(keyword, setting);
        }
    }

    /// Keeps what counts of a well-formed line.
    fn keep(&mut self, keyword: &Keyword, setting: Setting) {
        let given = self.given.entry(keyword.name).or_default();
        if !given.is_empty() && !matches!(keyword.fate, Fate::Every) {
            return;
        }
        let line = &setting.line;
        let among = |values: &[&str]| {
            values
                .iter()
                .any(|value| value.eq_ignore_ascii_case(&line.arguments.join(" ")))
        };
        match keyword.fate {
            Fate::Always(values, why) if !among(values) => {
                self.faults
                    .push(setting.fault(format_args!("refused: {why}")));
            }
            Fate::Never(why) => self
                .faults
                .push(setting.fault(format_args!("refused: {why}"))),
            Fate::Taste(values, why) if !among(values) => {
                self.warnings
                    .push(setting.fault(format_args!("not followed: {why}")));
            }
            _ => {}
        }
        given.push(setting);
    }

    /// What the first line of a keyword says, or its default.
    pub(super) fn first<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Line) -> Result<T, String>,
    ) -> Result<T, Fault> {
        if let Some(setting) = self.every(name).first() {
            return read(&setting.line).map_err(|problem| setting.fault(problem));
        }
        let default = keywords::find(name).map_or("", |keyword| keyword.default);
        let line = Line {
            keyword: name.to_owned(),
            arguments: default.split_whitespace().map(str::to_owned).collect(),
            rest: default.to_owned(),
        };
        read(&line)
            .map_err(|problem| self.whole(format!("{name} (not given, so {default}): {problem}")))
    }

    /// All lines of a keyword that count.
    pub(super) fn every(&self, name: &str) -> &[Setting] {
        self.given.get(name).map_or(&[], Vec::as_slice)
    }

    /// What is wrong with the configuration as a whole.
    pub(super) fn whole(&self, problem: impl Into<String>) -> Fault {
        Fault::new(Place::Whole(self.source.clone()), problem.into())
    }

    /// The file that the server was started with.
    pub(super) fn source(&self) -> &Path {
        &self.source
    }

    /// Every keyword that has a value, in small letters.
    pub(super) fn effective(&self) -> String {
        let mut lines = Vec::new();
        for keyword in keywords::KEYWORDS {
            let name = keyword.name.to_ascii_lowercase();
            let given = self.every(keyword.name).iter();
            let given: Vec<String> = given
                .map(|setting| setting.line.arguments.join(" "))
                .collect();
            let default = (!keyword.default.is_empty()).then(|| keyword.default.to_owned());
            let values = if given.is_empty() {
                default.into_iter().collect()
            } else {
                given
            };
            lines.extend(values.iter().map(|value| format!("{name} {value}\n")));
        }
        lines.concat()
    }

    /// What an operator should know and may leave.
    pub(super) fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// Whether every line may stand.
    pub(super) fn finish(&mut self) -> Result<(), SshdError> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(SshdError::Rejected {
            source_file: self.source.clone(),
            faults: std::mem::take(&mut self.faults),
        })
    }
}

/// Whose settings the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Before the first `Match`.
    Everybody,
    /// After it.
    Some,
}
