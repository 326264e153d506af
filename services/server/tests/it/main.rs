//! The server from outside: real requests and sockets against a server on a free port.

mod agent;
mod contract;
mod gc;
mod http;
mod socket;
