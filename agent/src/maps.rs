//! Hash maps with a quicker hash than std's, seeded at random all the same: keys come off the wire.

/// A map.
pub type Map<K, V> = std::collections::HashMap<K, V, hashlink::DefaultHashBuilder>;
/// A set.
pub type Set<K> = std::collections::HashSet<K, hashlink::DefaultHashBuilder>;
