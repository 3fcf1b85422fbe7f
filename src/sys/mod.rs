//! Wrapped system calls; no project concepts.
