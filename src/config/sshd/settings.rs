//! What the command line and the files say, line by line; of most keywords the first line counts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::conditions::{self, Condition};
use super::keywords::{self, Fate, Keyword};
use super::lexer::{self, Line};
use super::{SshdError, include, manners};

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

/// Lines that count, by their keywords.
type Given = BTreeMap<&'static str, Vec<Setting>>;

/// Everything that was said.
#[derive(Debug)]
pub(super) struct Settings {
    /// The file that the server was started with.
    source: PathBuf,
    given: Given,
    /// What stands after each Match.
    blocks: Vec<(Condition, Given)>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Settings {
    pub(super) fn new(source: &Path) -> Self {
        Self {
            source: source.to_owned(),
            given: Given::new(),
            blocks: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Reads a file and what it includes. What is wrong with its lines is kept for `finish`.
    pub(super) fn read(&mut self, path: &Path) -> Result<(), SshdError> {
        self.read_within(path, 0, Block::Everybody)
    }

    fn read_within(&mut self, path: &Path, depth: usize, outer: Block) -> Result<(), SshdError> {
        let text = std::fs::read_to_string(path).map_err(|source| SshdError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut block = outer;
        for (index, line) in text.lines().enumerate() {
            let place = Place::File(path.to_owned(), index + 1);
            match lexer::read(line) {
                Ok(None) => {}
                Ok(Some(line)) if line.keyword.eq_ignore_ascii_case("include") => {
                    self.include(&place, &line, depth, block)?;
                    // What was included comes before the lines that follow.
                    if let Block::Of(_) = block {
                        block = self.begin(block, Condition::default());
                    }
                }
                Ok(Some(line)) if line.keyword.eq_ignore_ascii_case("match") => {
                    block = match Condition::read(&line) {
                        Ok(condition) => self.begin(outer, condition),
                        Err(problem) => {
                            self.faults.push(Setting { place, line }.fault(problem));
                            Block::Unknown
                        }
                    };
                }
                Ok(Some(line)) => self.take(Setting { place, line }, block),
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
        self.take(Setting { place, line }, Block::Everybody);
    }

    /// Takes a line of the command line.
    pub(super) fn option(&mut self, text: &str) {
        match lexer::read(text) {
            Ok(Some(line))
                if ["include", "match"].contains(&&*line.keyword.to_ascii_lowercase()) =>
            {
                let problem = format!("{}: write it into the file that -f names", line.keyword);
                self.faults.push(Fault::new(Place::Command, problem));
            }
            Ok(Some(line)) => {
                let place = Place::Command;
                self.take(Setting { place, line }, Block::Everybody);
            }
            Ok(None) => {}
            Err(problem) => self.faults.push(Fault::new(Place::Command, problem)),
        }
    }

    /// Begins a block within another.
    fn begin(&mut self, outer: Block, condition: Condition) -> Block {
        let condition = match outer {
            Block::Everybody => condition,
            Block::Of(index) => match self.blocks.get(index) {
                Some((outer, _)) => outer.and(&condition),
                None => return Block::Unknown,
            },
            Block::Unknown => return Block::Unknown,
        };
        self.blocks.push((condition, Given::new()));
        Block::Of(self.blocks.len() - 1)
    }

    fn include(
        &mut self,
        place: &Place,
        line: &Line,
        depth: usize,
        block: Block,
    ) -> Result<(), SshdError> {
        for pattern in &line.arguments {
            let problem = if depth >= DEPTH {
                "Include: too many files include one another".to_owned()
            } else if pattern.contains('[') {
                format!("Include {pattern}: patterns have `*` and `?`, and no brackets here")
            } else {
                match include::files(pattern) {
                    Ok(files) => {
                        for file in files {
                            self.read_within(&file, depth + 1, block)?;
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

    fn take(&mut self, setting: Setting, block: Block) {
        let name = &setting.line.keyword;
        let Some(keyword) = keywords::find(name) else {
            let meant = keywords::nearest(name)
                .map(|meant| format!("; did you mean {meant}?"))
                .unwrap_or_default();
            let problem = format!("Bad configuration option: {name}{meant}");
            self.faults.push(Fault::new(setting.place, problem));
            return;
        };
        let form = keyword.form.check(&setting.line);
        let allowed = || match block {
            Block::Everybody => Ok(()),
            Block::Of(_) | Block::Unknown => conditions::check(keyword.name),
        };
        match form.and_then(|()| allowed()) {
            Ok(()) => self.keep(keyword, setting, block),
            Err(problem) => self.faults.push(setting.fault(problem)),
        }
    }

    /// Keeps what counts of a well-formed line.
    fn keep(&mut self, keyword: &Keyword, setting: Setting, block: Block) {
        let given = match block {
            Block::Everybody => Some(&mut self.given),
            Block::Of(index) => self.blocks.get_mut(index).map(|(_, given)| given),
            Block::Unknown => None,
        };
        let Some(given) = given.map(|given| given.entry(keyword.name).or_default()) else {
            return;
        };
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

    /// What is said for one login: what stands after a Match that is for it comes before what is said for
    /// everybody (sshd_config(5)).
    pub(super) fn of(&self, login: &str) -> Self {
        let mut own = Given::new();
        for (_, given) in (self.blocks.iter()).filter(|(condition, _)| condition.holds(login)) {
            for (name, settings) in given {
                let settings = settings.iter().cloned();
                own.entry(name).or_default().extend(settings);
            }
        }
        let mut given = self.given.clone();
        given.extend(own);
        Self {
            given,
            ..Self::new(&self.source)
        }
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

    /// What a keyword is wrong with, wherever it stands.
    pub(super) fn fault(&self, name: &str, problem: impl fmt::Display) -> Fault {
        match self.every(name).first() {
            Some(setting) => setting.fault(problem),
            None => self.whole(format!("{name}: {problem}")),
        }
    }

    /// What is wrong with the configuration as a whole.
    pub(super) fn whole(&self, problem: impl Into<String>) -> Fault {
        Fault::new(Place::Whole(self.source.clone()), problem.into())
    }

    /// The file that the server was started with.
    pub(super) fn source(&self) -> &Path {
        &self.source
    }

    /// Every keyword that has a value, in small letters; addresses as they are listened on.
    pub(super) fn effective(&self, listen: &[SocketAddr]) -> String {
        let mut lines = Vec::new();
        for keyword in keywords::KEYWORDS {
            if keyword.name == "ListenAddress" {
                lines.extend(
                    listen
                        .iter()
                        .map(|address| format!("listenaddress {address}\n")),
                );
                continue;
            }
            let name = keyword.name.to_ascii_lowercase();
            let given: Vec<String> = (self.every(keyword.name).iter())
                .map(|setting| written(keyword, &setting.line))
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

/// What a line says, in numbers where sshd does so.
fn written(keyword: &Keyword, line: &Line) -> String {
    match manners::rekey_limit(line) {
        Ok((bytes, seconds)) if keyword.name == "RekeyLimit" => format!("{bytes} {seconds}"),
        _ => line.arguments.join(" "),
    }
}

/// Whose settings the lines are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// Before the first `Match`.
    Everybody,
    /// After one, in the block of this index.
    Of(usize),
    /// After one that could not be read.
    Unknown,
}
