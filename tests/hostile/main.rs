//! Attacks: a hostile server before a real agent, and hostile peers behind a real server.
//!
//! What must hold for each: nothing is written or read outside of the folder, the agent lives and
//! its memory is bounded, the folder's contents are unharmed, and an error says what was wrong.
//! [`trial::Trial`] checks all but the last of them after every attack.

mod answers;
mod forge;
mod heads;
mod http;
mod names;
mod packs;
mod peer;
mod server;
mod socket;
mod traced;
mod trees;
mod trial;
