// What a tree with `counted` or `digest` keeps beside each child reference: how many records are
// below the child, and the sum of their digests.
//
// The digest of a record depends on its key and its value alone, not on where or how it is stored:
//
//     content = XXH3-64(value)
//     digest  = XXH3-128(le64 length of the value | le64 content | key), seeded by a constant;
//               of a long key its first 1024 bytes, le64 length and le64 XXH3-64 stand for it
//
// and the digest of a set of records is the sum of theirs, each half modulo 2^64 (an incremental
// multiset hash: AdHash of Bellare & Micciancio 1997; Clarke et al. 2003). So the order of changes
// and the shape of the tree leave no trace in it, a change of one record adds a difference to each
// ancestor, and two trees hold the same records in a range if the digests of the range agree, up to
// accident (2^-64 for a pair of values of one length under one key, 2^-128 for the rest). It is
// protection from accidents and bugs, not from adversaries: who chooses records can make sums
// agree.
//
// The content hash of a value in one run is the checksum of its reference. With a map it stands
// behind the reference: the checksum there is that of the map, which depends on
// where the runs are.
//
// I1 In a counted tree that is not being dropped the aggregate of each child reference is the total
//    of the child, at the end of every tick.
#pragma once

#include "btree/tree.hh"

namespace pleach::btree {

/// RETURNS: the sum of the one record with this key and a value of `length` bytes whose XXH3-64 is
/// `content`. Digest included.
aggregate record_sum(cbytes key, u64 length, u64 content);
/// The same of a record as it is stored, with its key as it is stored, prefix included; the digest
/// is left zero without `digest`.
aggregate record_sum(cbytes stored_key, const record& r, bool digest);
/// RETURNS: the sum of records [begin, end) of a leaf, or of the subtrees of these children.
/// REQUIRES: an inner node is aggregated().
aggregate sum_of(const node_view& n, u32 begin, u32 end, bool digest);
inline aggregate sum_of(const node_view& n, bool digest) {
  return sum_of(n, 0, n.count(), digest);
}

/// A reference as it is written into a leaf, with `content` where it has a map.
struct stored_reference {
  value_reference ref;
  le64 content;
};
static_assert(sizeof(stored_reference) == sizeof(value_reference) + 8);

}  // namespace pleach::btree
