//! The door in: connections, authentication, channels.
