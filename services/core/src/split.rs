//! Where long lists are cut into nodes: by the items themselves, so that an edit never shifts the
//! cuts.
//!
//! Each item has a hash and a weight (an upper bound of its encoded bytes). An item ends its group
//! with a chance of weight / target, taken from its hash; a group that would pass the maximum is
//! cut before the item. The state is reset at every cut, so two equal runs of items are cut alike
//! whatever stands before them. Directory items hash their names only; file items hash their ids.

use crate::limits::{NODE_BYTES, NODE_FRAME_BYTES, NODE_TARGET_BYTES};

/// Most weight that one node may hold.
pub const MAX_WEIGHT: usize = NODE_BYTES - NODE_FRAME_BYTES;

/// How one item counts.
#[derive(Debug, Clone, Copy)]
pub struct Weighed {
    /// Uniform hash of what identifies the item at this level.
    pub hash: u64,
    /// Upper bound of its encoded size in bytes.
    pub weight: usize,
}

impl Weighed {
    fn ends_group(&self) -> bool {
        let drawn = (u128::from(self.hash) * NODE_TARGET_BYTES as u128) >> 64;
        drawn < self.weight as u128
    }
}

/// Returns the ends (exclusive) of the groups that `items` fall into; empty input gives no group.
pub fn group_ends(items: impl Iterator<Item = Weighed>) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut filled = 0;
    let mut count = 0;
    for item in items {
        if filled > 0 && filled + item.weight > MAX_WEIGHT {
            ends.push(count);
            filled = 0;
        }
        filled += item.weight;
        count += 1;
        if item.ends_group() {
            ends.push(count);
            filled = 0;
        }
    }
    if ends.last() != Some(&count) && count > 0 {
        ends.push(count);
    }
    ends
}
