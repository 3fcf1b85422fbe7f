//! Rego's verdicts: the built-in module over the data of one file, in regorus and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{CompiledPolicy, Value};
use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::check::{Checked, Endpoint, Inspection, Middleware};
use super::host::{HostRule, Shape};
use super::rules::{Rules, Seat};

mod own;
mod requests;

pub(super) use own::{About, Answer};
pub(super) use requests::{Inquiry, Ruling};

const MODULE: &str = include_str!("../../policies/sandbox.rego");
const CONNECTIONS: &str = "data.sandgate.decision";
const REQUESTS: &str = "data.sandgate.request";
/// The same of an operator's module, which stands beside the built-in one and may ask it.
const OWN_CONNECTIONS: &str = "data.sandgate.rules.decision";
const OWN_REQUESTS: &str = "data.sandgate.rules.request";
const OWN_VERSION: &str = "data.sandgate.rules.version";
const CONSIDERED: &str = "data.sandgate.considered";
const STAGES: &str = "data.sandgate.stages";

/// Bounds a module that runs away. A judgement takes well under a millisecond; the rest is room for
/// a host that is too busy to let it run.
pub(super) const TIME: Duration = Duration::from_secs(1);
const TIMER: ExecutionTimerConfig = ExecutionTimerConfig {
    limit: TIME,
    check_interval: NonZeroU32::MIN.saturating_add(63),
};

/// Regular expressions that regorus keeps compiled, over all files; `check` bounds what one file has.
const PATTERNS: usize = 8192;

/// What regorus says; its own type is `anyhow::Error`, which is not for libraries.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why rules can't be compiled or evaluated.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(Cause);

/// Who is calling, as far as rules ask.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caller<'a> {
    /// A program with its ancestors.
    Known { paths: &'a [&'a str] },
    /// A client of the SSH server, by a forward.
    Client,
    /// Nobody could be named.
    Unknown,
    /// Rules are asked for anyone's sake, as `identity_required: false` in a test case.
    Anyone,
}

/// What the rules are asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// The name in lower case, or the address without brackets.
    pub(super) host: &'a str,
    /// Whether `host` is a name.
    pub(super) is_name: bool,
    pub(super) port: u16,
    pub(super) caller: Caller<'a>,
}

/// How far a refused connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// No endpoint names the host.
    Host,
    /// None of those has the port.
    Port,
    /// None of those is for the caller.
    Caller,
}

/// What the rules answer. Endpoints are positions in the file's list.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Decision {
    Allow {
        policy: String,
        endpoints: Vec<usize>,
        middlewares: Vec<String>,
    },
    Deny {
        stage: Stage,
        policy: Option<String>,
        endpoints: Vec<usize>,
    },
}

/// Compiled rules; any number of threads may ask at once.
#[derive(Debug)]
pub(super) struct Engine {
    judge: Judge,
    considered: CompiledPolicy,
    stages: CompiledPolicy,
}

/// Who evaluates what decides.
#[derive(Debug)]
enum Judge {
    Here {
        connections: CompiledPolicy,
        requests: CompiledPolicy,
    },
    /// Processes of their own, which have the policy under this number.
    Bench(Arc<Bench>, usize),
}

impl Engine {
    /// Compiles rules with the data of a file, which `name` and `text` are. An operator's rules are compiled
    /// and evaluated on the bench alone; for explanations the built-in ones are here as well.
    pub(super) fn compile(
        (name, text): (&str, &str),
        checked: &Checked,
        rules: &Rules,
    ) -> Result<Self, EngineError> {
        match rules.seat() {
            Seat::Here => Self::here(checked, rules),
            Seat::Nowhere => Err(EngineError(
                "nobody is there to evaluate an operator's rules".into(),
            )),
            Seat::Bench(bench) => {
                let number = bench.add(name, text).map_err(EngineError)?;
                Ok(Self {
                    judge: Judge::Bench(Arc::clone(bench), number),
                    ..Self::here(checked, &Rules::default())?
                })
            }
        }
    }

    /// The same for evaluation in this process.
    pub(super) fn here(checked: &Checked, rules: &Rules) -> Result<Self, EngineError> {
        Self::build(MODULE, data(checked), rules)
    }

    /// Rules that a test makes up, in Rego without its preamble.
    #[cfg(test)]
    pub(super) fn of(rules: &str) -> Self {
        Self::build(
            &format!(
                "package sandgate\nimport rego.v1\nrequest := false\nconsidered := []\nstages := {{}}\n{rules}"
            ),
            Value::new_object(),
            &Rules::default(),
        )
        .unwrap()
    }

    fn build(module: &str, data: Value, rules: &Rules) -> Result<Self, EngineError> {
        // Both are process-wide in regorus, and always set to the same.
        regorus::cache::configure(regorus::cache::Config {
            regex: PATTERNS,
            glob: 0,
        });
        regorus::utils::limits::set_fallback_execution_timer_config(Some(TIMER));
        let mut engine = regorus::Engine::new();
        engine.set_strict_builtin_errors(true);
        engine
            .add_policy("sandbox.rego".to_owned(), module.to_owned())
            .map_err(|error| EngineError(error.into()))?;
        engine
            .add_data(object([("policy", data)]))
            .map_err(|error| EngineError(error.into()))?;
        let own = own::add(&mut engine, rules).map_err(EngineError)?;
        let mut compile = |entrypoint: &str| {
            engine
                .compile_with_entrypoint(&entrypoint.into())
                .map_err(|error| EngineError(error.into()))
        };
        Ok(Self {
            judge: Judge::Here {
                connections: compile(if own { OWN_CONNECTIONS } else { CONNECTIONS })?,
                requests: compile(if own { OWN_REQUESTS } else { REQUESTS })?,
            },
            considered: compile(CONSIDERED)?,
            stages: compile(STAGES)?,
        })
    }

    /// Asks the rules.
    pub(super) fn decide(&self, question: &Question<'_>) -> Result<Decision, EngineError> {
        match self.ask(About::Connection, input(question))? {
            Answer::Decision(decision) => Ok(decision),
            Answer::Ruling(_) => Err(EngineError("an answer to something else".into())),
        }
    }

    /// Whether asking waits for a process.
    pub(super) fn is_away(&self) -> bool {
        matches!(self.judge, Judge::Bench(..))
    }

    /// The endpoints that have the host, those of them that have the port, and of these those that are
    /// for the caller.
    pub(super) fn stages(
        &self,
        question: &Question<'_>,
    ) -> Result<[BTreeSet<usize>; 3], EngineError> {
        let answer = self
            .stages
            .eval_with_input(input(question))
            .map_err(|error| EngineError(error.into()))?;
        let stage = |name: &str| numbers(&answer[name]).map_err(EngineError);
        Ok([stage("host")?, stage("port")?, stage("caller")?])
    }
}

fn numbers(set: &Value) -> Result<BTreeSet<usize>, Cause> {
    set.as_set()?
        .iter()
        .map(|n| Ok(usize::try_from(n.as_u32()?)?))
        .collect()
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    fields
        .into_iter()
        .map(|(key, value)| (Value::from(key), value))
        .collect::<BTreeMap<_, _>>()
        .into()
}

fn strings<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    items
        .into_iter()
        .map(Value::from)
        .collect::<Vec<_>>()
        .into()
}

/// Hosts as the module looks them up: each kind of key with what stands under it.
#[derive(Default)]
struct Hosts {
    named: BTreeMap<Value, Vec<Value>>,
    children: BTreeMap<Value, Vec<Value>>,
    below: BTreeMap<Value, Vec<Value>>,
    wildcards: Vec<(Value, Value)>,
    anywhere: Vec<Value>,
}

impl Hosts {
    fn add(&mut self, host: &HostRule, value: Value) {
        let (map, key) = match host {
            HostRule::Anywhere => return self.anywhere.push(value),
            HostRule::Name(name) => (&mut self.named, name.clone()),
            HostRule::Address(address) => (&mut self.named, address.to_string()),
            HostRule::Wildcard(wildcard) => match wildcard.shape() {
                Shape::Children(domain) => (&mut self.children, domain.clone()),
                Shape::Below(domain) => (&mut self.below, domain.clone()),
                Shape::Regex(regex) => return self.wildcards.push((regex.as_str().into(), value)),
            },
        };
        map.entry(key.into()).or_default().push(value);
    }
}

/// A map from each key to a list.
fn lists(map: BTreeMap<Value, Vec<Value>>) -> Value {
    map.into_iter()
        .map(|(key, values)| (key, Value::from(values)))
        .collect::<BTreeMap<_, _>>()
        .into()
}

/// The keys alone.
fn keys(map: BTreeMap<Value, Vec<Value>>) -> Value {
    map.into_keys().collect::<BTreeSet<_>>().into()
}

fn data(checked: &Checked) -> Value {
    let mut hosts = Hosts::default();
    for (number, endpoint) in checked.endpoints.iter().enumerate() {
        hosts.add(&endpoint.host, number.into());
    }
    let wildcards = hosts
        .wildcards
        .into_iter()
        .map(|(regex, number)| object([("regex", regex), ("endpoint", number)]));
    let binaries: BTreeMap<Value, Value> = checked
        .binaries
        .iter()
        .map(|(policy, binaries)| {
            let exact: BTreeSet<Value> = binaries
                .exact
                .iter()
                .map(|path| path.as_str().into())
                .collect();
            let globs = strings(binaries.globs.iter().map(String::as_str));
            (
                policy.as_str().into(),
                object([("exact", exact.into()), ("globs", globs)]),
            )
        })
        .collect();
    object([
        (
            "endpoints",
            checked
                .endpoints
                .iter()
                .map(endpoint)
                .collect::<Vec<_>>()
                .into(),
        ),
        ("named", lists(hosts.named)),
        ("children", lists(hosts.children)),
        ("below", lists(hosts.below)),
        ("wildcards", wildcards.collect::<Vec<_>>().into()),
        ("anywhere", hosts.anywhere.into()),
        ("binaries", binaries.into()),
        (
            "middlewares",
            checked
                .middlewares
                .iter()
                .map(middleware)
                .collect::<Vec<_>>()
                .into(),
        ),
    ])
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let ports: BTreeSet<Value> = endpoint
        .ports
        .iter()
        .map(|port| Value::from(u32::from(*port)))
        .collect();
    let (allows, denies) = match &endpoint.inspection {
        Inspection::Tunnel { .. } => (Value::new_array(), Value::new_array()),
        Inspection::Requests(requests) => (
            requests::conditions(&requests.rules.allows),
            requests::conditions(&requests.rules.denies),
        ),
    };
    object([
        ("policy", endpoint.policy.as_str().into()),
        ("ports", ports.into()),
        ("allows", allows),
        ("denies", denies),
    ])
}

fn middleware(middleware: &Middleware) -> Value {
    object([
        ("name", middleware.name.as_str().into()),
        ("include", hosts(&middleware.include)),
        ("exclude", hosts(&middleware.exclude)),
    ])
}

/// The hosts that one side of a middleware lists.
fn hosts(rules: &[HostRule]) -> Value {
    let mut hosts = Hosts::default();
    for rule in rules {
        hosts.add(rule, Value::Null);
    }
    object([
        ("named", keys(hosts.named)),
        ("children", keys(hosts.children)),
        ("below", keys(hosts.below)),
        (
            "wildcards",
            hosts
                .wildcards
                .into_iter()
                .map(|(regex, _)| regex)
                .collect::<Vec<_>>()
                .into(),
        ),
        ("anywhere", (!hosts.anywhere.is_empty()).into()),
    ])
}

fn input(question: &Question<'_>) -> Value {
    let (caller, paths) = match question.caller {
        Caller::Known { paths } => ("known", paths),
        Caller::Client => ("client", &[][..]),
        Caller::Unknown => ("unknown", &[][..]),
        Caller::Anyone => ("anyone", &[][..]),
    };
    let parents =
        std::iter::successors(Some(question.host), |name| Some(name.split_once('.')?.1)).skip(1);
    let parents = if question.is_name {
        strings(parents)
    } else {
        Value::new_array()
    };
    let exact: Vec<Value> = paths
        .iter()
        .map(|path| Value::from(&*super::check::merged(path)))
        .collect();
    object([
        ("host", question.host.into()),
        ("is_name", question.is_name.into()),
        ("parents", parents),
        ("port", u32::from(question.port).into()),
        ("caller", caller.into()),
        ("paths", strings(paths.iter().copied())),
        ("exact", exact.into()),
    ])
}

fn read(answer: &Value) -> Result<Decision, Cause> {
    let endpoints = || -> Result<Vec<usize>, Cause> {
        match &answer["endpoints"] {
            Value::Undefined => Ok(Vec::new()),
            set => Ok(numbers(set)?.into_iter().collect()),
        }
    };
    if *answer["allow"].as_bool()? {
        let middlewares = answer["middlewares"].as_set()?;
        return Ok(Decision::Allow {
            policy: answer["policy"].as_string()?.to_string(),
            endpoints: endpoints()?,
            middlewares: middlewares
                .iter()
                .map(|m| Ok(m.as_string()?.to_string()))
                .collect::<Result<_, Cause>>()?,
        });
    }
    let stage = match &**answer["stage"].as_string()? {
        "host" => Stage::Host,
        "port" => Stage::Port,
        "caller" => Stage::Caller,
        other => return Err(format!("the module answers an unknown stage {other:?}").into()),
    };
    let policy = match &answer["policy"] {
        Value::Undefined => None,
        name => Some(name.as_string()?.to_string()),
    };
    Ok(Decision::Deny {
        stage,
        policy,
        endpoints: endpoints()?,
    })
}
