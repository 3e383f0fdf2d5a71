// Compares two trees, of one store or of two: which records differ.
//
// Where both trees have digests (tree_options::digest) only what differs is read: the digests of a
// range agree, or the range is divided at a separator of the first tree, down to one leaf of it.
// The digest of a range does not depend on the shape of a tree, so the trees may have grown in any
// order, with any node sizes. Otherwise both are walked.
//
// The trees should be at rest: each answer is of its own moment. Blocking; runs both stores.
#pragma once

#include <expected>
#include <functional>

#include "pleach/pleach.hh"

namespace pleach {

enum class difference : std::uint8_t { first_only, second_only, changed };

/// A record that differs. Views, until the function that sees them returns.
struct differing_record {
  difference what;
  std::string_view key;
  std::string_view first_value;   ///< empty with second_only
  std::string_view second_value;  ///< empty with first_only
};

struct compare_options {
  bool ignore_digests = false;  ///< walk both trees all the same
  /// Asked after every record and every range: true ends with `cancelled`.
  std::function<bool()> stop;
};

struct compare_result {
  bool same = true;
  std::uint64_t differences = 0;  ///< told
  std::uint64_t ranges = 0;       ///< pairs of digests that were compared
  std::uint64_t records = 0;      ///< records that were read, of both trees
};

/// Tells every record that differs, in key order, until `tell` returns false. With an empty `tell`
/// it only finds out whether there is one.
/// ERRORS: those of reading either tree; cancelled; invalid if the trees differ in key order: trees
/// with a comparator must name the same one; that of the first store is asked.
std::expected<compare_result, error> compare(
    store& first_store, tree& first, store& second_store, tree& second,
    const std::function<bool(const differing_record&)>& tell, const compare_options& options = {});

}  // namespace pleach
