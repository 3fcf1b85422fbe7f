//! Dialogues with a program on a terminal.

use std::process::Command;

use serde_json::{Value, json};

use super::run::{Finished, run};

/// What to do on the terminal, in order.
#[derive(Default)]
pub(crate) struct Dialogue(Vec<Value>);

impl Dialogue {
    pub(crate) fn send(mut self, text: &str) -> Self {
        self.0.push(json!(["send", text]));
        self
    }

    /// Waits until this regular expression matches after the last match.
    pub(crate) fn expect(mut self, pattern: &str) -> Self {
        self.0.push(json!(["expect", pattern]));
        self
    }

    pub(crate) fn resize(mut self, columns: u16, rows: u16, x: u16, y: u16) -> Self {
        self.0.push(json!(["resize", columns, rows, x, y]));
        self
    }

    pub(crate) fn pause(mut self, seconds: f64) -> Self {
        self.0.push(json!(["pause", seconds]));
        self
    }
}

/// Runs the program on a terminal of 100x30 characters and 1000x600 pixels, and plays the dialogue.
pub(crate) fn dialogue(program: &Command, steps: &Dialogue) -> Finished {
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg("-I")
        .arg(super::terminal_driver())
        .args(["100", "30", "1000", "600"]);
    command.arg(Value::Array(steps.0.clone()).to_string());
    command.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    run(&mut command, 60)
}
