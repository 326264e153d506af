//! Every limit of this server that protects it from its callers, with its unit and its reason.
//! Limits of the data model and of the wire stand in `fsync_core::limits`.

use std::time::Duration;

/// Connections of one replica, sockets included: each may hold 64 KiB of headers and 64 frames.
pub const CONNECTIONS: usize = 20_000;
/// How long a TLS handshake may take.
pub const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a new connection may take to its first request's headers: who only opens connections
/// holds none for long.
pub const FIRST_HEADERS: Duration = Duration::from_secs(10);
/// How long any later request's headers may take, and a connection may be idle: longer than agents
/// keep one (45 s).
pub const HEADERS: Duration = Duration::from_secs(60);
/// Bytes of a request's line and headers: a token, a path and room.
pub const HEADER_BYTES: usize = 32 * 1024;
/// How long a body may come without a byte.
pub const BODY_STALL: Duration = Duration::from_secs(30);
/// Slowest body that is waited for, in bytes per second: what agents wait for too. A body holds
/// room in memory as long as it comes.
pub const BODY_SLOWEST: u64 = 16 * 1024;

/// How often something may happen: so many in a second, and so many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What is counted, for people.
    pub name: &'static str,
    /// In a second, in the long run.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

/// Sockets that one token may open: one machine restarts all its agents.
pub const TOKEN_HANDSHAKES: Rate = rate("handshakes of this token", 50, 1_000);
/// Sockets that one tenant may open: all agents of a tenant come back after an outage.
pub const TENANT_HANDSHAKES: Rate = rate("handshakes of this tenant", 500, 10_000);
/// Sockets that all may open at one replica: what one core checks with an eighth of its time.
pub const REPLICA_HANDSHAKES: Rate = rate("handshakes of this replica", 2_000, 20_000);
/// Requests of one token: a push of many small commits, and the pulls beside it.
pub const TOKEN_REQUESTS: Rate = rate("requests of this token", 1_000, 5_000);
/// Requests of one tenant.
pub const TENANT_REQUESTS: Rate = rate("requests of this tenant", 4_000, 20_000);
/// KiB that one token may send: two gigabit links' worth.
pub const TOKEN_KIB: Rate = rate("KiB of this token", 256 * 1024, 2 * 1024 * 1024);
/// KiB that one tenant may send.
pub const TENANT_KIB: Rate = rate("KiB of this tenant", 512 * 1024, 4 * 1024 * 1024);
/// Open sockets of one token on one replica.
pub const TOKEN_SOCKETS: usize = 2_000;
/// Open sockets of one tenant on one replica: half of all.
pub const TENANT_SOCKETS: usize = CONNECTIONS / 2;
/// Time between two looks at who has not been heard of for so long that nothing needs to be kept.
pub const FORGET: Duration = Duration::from_secs(60);

const fn rate(name: &'static str, per_second: u32, burst: u32) -> Rate {
    Rate {
        name,
        per_second,
        burst,
    }
}
