//! An operator's module in the built-in one's place, and who evaluates what decides.

use regorus::Value;
use serde::{Deserialize, Serialize};

use super::requests::{self, Ruling};
use super::{
    Cause, Decision, Engine, EngineError, Judge, OWN_CONNECTIONS, OWN_REQUESTS, OWN_VERSION, object,
};
use crate::policy::rules::{Rules, VERSION};

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::policy) enum About {
    Connection,
    Request,
}

/// What the rules answer.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::policy) enum Answer {
    Decision(Decision),
    Ruling(Ruling),
}

impl Engine {
    /// Asks the rules, wherever they are evaluated.
    pub(super) fn ask(&self, about: About, input: Value) -> Result<Answer, EngineError> {
        match &self.judge {
            Judge::Here {
                connections,
                requests,
            } => {
                let rules = match about {
                    About::Connection => connections,
                    About::Request => requests,
                };
                let answer = rules
                    .eval_with_input(input)
                    .map_err(|error| EngineError(error.into()))?;
                match about {
                    About::Connection => super::read(&answer).map(Answer::Decision),
                    About::Request => requests::ruling(&answer).map(Answer::Ruling),
                }
                .map_err(EngineError)
            }
            Judge::Bench(bench, policy) => {
                let input = input.to_json_str();
                let input = input.map_err(|error| EngineError(error.into()))?;
                bench.ask(*policy, about, &input).map_err(EngineError)
            }
        }
    }

    /// The same of an input document in JSON, which arrays, objects, texts, numbers and truths pass unchanged.
    pub(in crate::policy) fn answer(
        &self,
        about: About,
        input: &str,
    ) -> Result<Answer, EngineError> {
        let input = Value::from_json_str(input).map_err(|error| EngineError(error.into()))?;
        self.ask(about, input)
    }
}

/// Adds the operator's module and data; whether there is a module.
pub(super) fn add(engine: &mut regorus::Engine, rules: &Rules) -> Result<bool, Cause> {
    if let Some(data) = &rules.data {
        let value = Value::from_json_str(&data.text)
            .map_err(|error| format!("{} is no JSON: {error}", data.name))?;
        engine.add_data(object([("operator", value)]))?;
    }
    let Some(module) = &rules.module else {
        return Ok(false);
    };
    let package = engine.add_policy(module.name.clone(), module.text.clone())?;
    if package != "data.sandgate.rules" {
        return Err(format!(
            "{} is of {package}; begin it with `package sandgate.rules`",
            module.name
        )
        .into());
    }
    match engine.eval_rule(OWN_VERSION.to_owned()) {
        Ok(version) if version == Value::from(VERSION) => {}
        Ok(version) => {
            return Err(format!(
                "{} is written for version {version}; this is {VERSION}",
                module.name
            )
            .into());
        }
        Err(_) => {
            return Err(format!(
                "{} does not say what it is written for; add `version := {VERSION}`",
                module.name
            )
            .into());
        }
    }
    for (rule, entrypoint) in [("decision", OWN_CONNECTIONS), ("request", OWN_REQUESTS)] {
        if engine.compile_with_entrypoint(&entrypoint.into()).is_err() {
            return Err(format!(
                "{} has no rule `{rule}`; `{rule} := data.sandgate.{rule}` is the built-in one",
                module.name
            )
            .into());
        }
    }
    Ok(true)
}
