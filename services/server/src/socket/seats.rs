//! How many sockets each token and each tenant has open.
//!
//! Guarantees: a seat is given back whatever ends the socket; nothing is kept of who has none.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fsync_core::label::TenantName;
use fsync_core::rights::TokenName;

use crate::auth::Identity;
use crate::limits::{TENANT_SOCKETS, TOKEN_SOCKETS};
use crate::rates::Passed;

/// When to come back if all seats are taken.
const BACK: Duration = Duration::from_secs(10);

type Token = (TenantName, TokenName);

/// The seats of one replica; clones are the same thing.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    tokens: HashMap<Token, usize>,
    tenants: HashMap<TenantName, usize>,
}

/// One socket's seat.
#[derive(Debug)]
pub(super) struct Seat {
    token: Option<Token>,
    seats: Seats,
}

impl Seats {
    /// Takes a seat; who needs no token takes none.
    pub(super) fn take(&self, identity: &Identity) -> Result<Seat, Passed> {
        let token = identity.bearer();
        let token = token.map(|bearer| (bearer.rights.tenant().clone(), bearer.id.clone()));
        if let Some(token) = &token {
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            check(
                &taken.tokens,
                token,
                "open sockets of this token",
                TOKEN_SOCKETS,
            )?;
            check(
                &taken.tenants,
                &token.0,
                "open sockets of this tenant",
                TENANT_SOCKETS,
            )?;
            *taken.tokens.entry(token.clone()).or_default() += 1;
            *taken.tenants.entry(token.0.clone()).or_default() += 1;
        }
        Ok(Seat {
            token,
            seats: self.clone(),
        })
    }
}

fn check<K: Hash + Eq>(
    taken: &HashMap<K, usize>,
    key: &K,
    name: &'static str,
    limit: usize,
) -> Result<(), Passed> {
    if taken.get(key).is_none_or(|count| *count < limit) {
        return Ok(());
    }
    Err(Passed {
        name,
        limit: limit.to_string(),
        after: BACK,
    })
}

fn give_back<K: Hash + Eq>(taken: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = taken.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            taken.remove(key);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(token) = &self.token {
            let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
            give_back(&mut taken.tokens, token);
            give_back(&mut taken.tenants, &token.0);
        }
    }
}
