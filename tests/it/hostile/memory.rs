//! Memory that one request or connection can take, before anybody is authenticated.
