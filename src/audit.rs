//! The audit trail: one JSON line for each security decision, written where it is decided.
