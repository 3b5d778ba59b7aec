//! The one port: listener, TLS, admission, routes, endpoints.
