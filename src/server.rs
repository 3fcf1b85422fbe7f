//! Wiring: one `serve` from configuration to processes.
