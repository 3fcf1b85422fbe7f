//! GraphQL documents (October 2021 edition, §2), read as far as their operations' root fields.
//!
//! All of the syntax is checked but for what stands in parentheses and in values, which is only
//! balanced: no root field can hide there.

use std::collections::{BTreeMap, BTreeSet};

use super::token::{Token, Tokens};
use crate::policy::schema::OperationType;

/// Selections within selections. Introspection, the deepest that tools send, has 13.
const MAX_DEPTH: usize = 100;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Kind {
    Query,
    Mutation,
    Subscription,
}

impl Kind {
    /// The kind as the file spells it; `*` is none.
    pub(in crate::policy) fn of(written: OperationType) -> Option<Self> {
        match written {
            OperationType::Query => Some(Self::Query),
            OperationType::Mutation => Some(Self::Mutation),
            OperationType::Subscription => Some(Self::Subscription),
            OperationType::Any => None,
        }
    }

    /// The keyword.
    pub(in crate::policy) fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// An operation of a document.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) struct Operation {
    pub(in crate::policy) kind: Kind,
    pub(in crate::policy) name: Option<String>,
    /// The names of root fields (not their aliases), fragments resolved.
    pub(in crate::policy) fields: BTreeSet<String>,
}

/// The operation that `wanted` selects (§6.1), or the only one.
pub(super) fn operation(text: &str, wanted: Option<&str>) -> Result<Operation, String> {
    let mut document = Document::default();
    let mut reader = Reader {
        tokens: Tokens::of(text)?,
    };
    while reader.tokens.peek().is_some() {
        reader.definition(&mut document)?;
    }
    document.select(wanted)
}

/// Root fields and the fragments that add to them.
#[derive(Default)]
struct Roots<'a> {
    fields: BTreeSet<&'a str>,
    spreads: BTreeSet<&'a str>,
}

#[derive(Default)]
struct Document<'a> {
    operations: Vec<(Kind, Option<&'a str>, Roots<'a>)>,
    fragments: BTreeMap<&'a str, Roots<'a>>,
}

impl Document<'_> {
    fn select(&self, wanted: Option<&str>) -> Result<Operation, String> {
        let names: BTreeSet<_> = self.operations.iter().map(|(_, name, _)| name).collect();
        if names.len() != self.operations.len() || (names.len() > 1 && names.contains(&None)) {
            return Err("two operations of the document can't be told apart".to_owned());
        }
        let (kind, name, roots) = match (wanted, self.operations.as_slice()) {
            (_, []) => return Err("the document has no operation".to_owned()),
            (None, [only]) => only,
            (None, _) => {
                return Err(
                    "the document has several operations and the request names none".to_owned(),
                );
            }
            (Some(wanted), all) => all
                .iter()
                .find(|(_, name, _)| *name == Some(wanted))
                .ok_or("the document lacks the operation that the request names")?,
        };
        Ok(Operation {
            kind: *kind,
            name: name.map(str::to_owned),
            fields: self.fields(roots)?,
        })
    }

    fn fields(&self, roots: &Roots<'_>) -> Result<BTreeSet<String>, String> {
        let mut fields = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut todo = vec![roots];
        while let Some(roots) = todo.pop() {
            fields.extend(roots.fields.iter().map(|field| (*field).to_owned()));
            for spread in roots.spreads.iter().filter(|name| seen.insert(**name)) {
                let fragment = self.fragments.get(spread);
                todo.push(fragment.ok_or("the document lacks a fragment that it uses")?);
            }
        }
        Ok(fields)
    }
}

struct Reader<'a> {
    tokens: Tokens<'a>,
}

impl<'a> Reader<'a> {
    fn definition(&mut self, document: &mut Document<'a>) -> Result<(), String> {
        let kind = match self.tokens.peek() {
            Some(Token::Sign('{')) => {
                let roots = self.roots()?;
                document.operations.push((Kind::Query, None, roots));
                return Ok(());
            }
            Some(Token::Name("query")) => Kind::Query,
            Some(Token::Name("mutation")) => Kind::Mutation,
            Some(Token::Name("subscription")) => Kind::Subscription,
            Some(Token::Name("fragment")) => return self.fragment(document),
            _ => return Err("the document holds what is no operation and no fragment".to_owned()),
        };
        self.tokens.next();
        let name = self.optional_name();
        self.group()?;
        self.directives()?;
        let roots = self.roots()?;
        document.operations.push((kind, name, roots));
        Ok(())
    }

    fn fragment(&mut self, document: &mut Document<'a>) -> Result<(), String> {
        self.tokens.next();
        let name = self.name()?;
        if name == "on" || self.name()? != "on" {
            return Err("a fragment of the document has no type".to_owned());
        }
        self.name()?;
        self.directives()?;
        let roots = self.roots()?;
        match document.fragments.insert(name, roots) {
            Some(_) => Err("two fragments of the document have one name".to_owned()),
            None => Ok(()),
        }
    }

    fn roots(&mut self) -> Result<Roots<'a>, String> {
        let mut roots = Roots::default();
        self.selections(Some(&mut roots), 0)?;
        Ok(roots)
    }

    /// A selection set; below the root, nothing is collected.
    fn selections(
        &mut self,
        mut roots: Option<&mut Roots<'a>>,
        depth: usize,
    ) -> Result<(), String> {
        if depth == MAX_DEPTH {
            return Err(format!(
                "the document nests deeper than {MAX_DEPTH} selections"
            ));
        }
        self.sign('{')?;
        loop {
            if self.tokens.take(Token::Spread) {
                self.spread(roots.as_deref_mut(), depth)?;
            } else {
                self.field(roots.as_deref_mut(), depth)?;
            }
            if self.tokens.take(Token::Sign('}')) {
                return Ok(());
            }
        }
    }

    fn field(&mut self, roots: Option<&mut Roots<'a>>, depth: usize) -> Result<(), String> {
        let mut name = self.name()?;
        if self.tokens.take(Token::Sign(':')) {
            name = self.name()?;
        }
        if let Some(roots) = roots {
            roots.fields.insert(name);
        }
        self.group()?;
        self.directives()?;
        if self.tokens.peek() == Some(Token::Sign('{')) {
            self.selections(None, depth + 1)?;
        }
        Ok(())
    }

    /// What follows `...`: a fragment's name, or a fragment in place with or without a type.
    fn spread(&mut self, roots: Option<&mut Roots<'a>>, depth: usize) -> Result<(), String> {
        match self.optional_name() {
            Some("on") => {
                self.name()?;
            }
            Some(name) => {
                if let Some(roots) = roots {
                    roots.spreads.insert(name);
                }
                return self.directives();
            }
            None => {}
        }
        self.directives()?;
        self.selections(roots, depth + 1)
    }

    fn directives(&mut self) -> Result<(), String> {
        while self.tokens.take(Token::Sign('@')) {
            self.name()?;
            self.group()?;
        }
        Ok(())
    }

    /// Arguments or variables in parentheses, if they are there.
    fn group(&mut self) -> Result<(), String> {
        if self.tokens.peek() != Some(Token::Sign('(')) {
            return Ok(());
        }
        let mut open = Vec::new();
        loop {
            match self.tokens.next() {
                Some(Token::Sign('(')) => open.push(')'),
                Some(Token::Sign('[')) => open.push(']'),
                Some(Token::Sign('{')) => open.push('}'),
                Some(Token::Sign(close @ (')' | ']' | '}'))) if open.pop() != Some(close) => {
                    return Err("the document's brackets don't match".to_owned());
                }
                Some(_) => {}
                None => return Err("the document ends too soon".to_owned()),
            }
            if open.is_empty() {
                return Ok(());
            }
        }
    }

    fn optional_name(&mut self) -> Option<&'a str> {
        let Some(Token::Name(name)) = self.tokens.peek() else {
            return None;
        };
        self.tokens.next();
        Some(name)
    }

    fn name(&mut self) -> Result<&'a str, String> {
        self.optional_name()
            .ok_or_else(|| "the document lacks a name where one must stand".to_owned())
    }

    fn sign(&mut self, sign: char) -> Result<(), String> {
        if self.tokens.take(Token::Sign(sign)) {
            Ok(())
        } else {
            Err(format!("the document lacks `{sign}` where it must stand"))
        }
    }
}
