//! The way out: the proxy inside each sandbox's namespace, and the dialling outside it.
